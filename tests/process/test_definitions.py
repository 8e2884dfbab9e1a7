"""Definitions and a running broker: over the control socket, and at its start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from amqpd.server.control import REQUEST_BYTES_MAX
from tests.process.broker_process import BrokerProcess
from tests.process.client import Client

Make = Callable[..., BrokerProcess]


def test_a_file_of_many_requests_goes_in_survives_a_kill_and_comes_out(broker: BrokerProcess, tmp_path: Path) -> None:
    file, back = tmp_path / "in.json", tmp_path / "out.json"
    queues = [
        {"name": f"queue-{number:05d}", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"n": number}}
        for number in range(4000)
    ]
    bindings = [
        {
            "source": "amq.topic",
            "vhost": "/",
            "destination": queue["name"],
            "destination_type": "queue",
            "routing_key": f"key.{queue['name']}",
            "arguments": {},
        }
        for queue in queues
    ]
    file.write_text(json.dumps({"queues": queues, "bindings": bindings}))
    assert file.stat().st_size > 3 * REQUEST_BYTES_MAX
    assert broker.command_line("definitions", "import", str(file)).startswith("8000 added, 0 changed")
    broker.kill()
    broker.start()
    broker.command_line("definitions", "export", str(back))
    exported = json.loads(back.read_text())
    assert exported["queues"] == queues
    assert exported["bindings"] == bindings
    assert broker.command_line("definitions", "diff", str(back)) == ""
    assert broker.command_line("definitions", "import", str(back)).startswith("0 added, 0 changed")


def test_a_broker_starts_with_the_definitions_of_its_configuration(make_broker: Make, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    permission = {"user": "ann", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}
    sections = {
        "users": [{"name": "ann", "password": "secret", "tags": []}],
        "vhosts": [{"name": "shop"}],
        "permissions": [permission],
        "queues": [{"name": "orders", "vhost": "shop", "durable": True, "arguments": {"x-expires": 60000}}],
    }
    file.write_text(json.dumps(sections))
    broker = make_broker({"definitions": {"load_definitions": str(file)}})
    broker.start()
    for _ in range(2):
        with Client(broker.port, "ann", "secret", "shop") as client:
            assert client.count("orders") == 0
        assert {row["name"] for row in broker.ask("users list")} == {"ann"}
        broker.kill()
        broker.start()
    broker.stop()


def test_a_broker_does_not_start_with_a_file_that_is_no_definitions(make_broker: Make, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    file.write_text("{")
    broker = make_broker({"definitions": {"load_definitions": str(file)}})
    broker.launch()
    assert broker.wait() == 2
    (line,) = broker.log().splitlines()
    assert f"cannot load definitions: {file}: not JSON" in line
