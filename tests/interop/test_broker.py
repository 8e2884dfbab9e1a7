"""The amqpd that the suite starts: where it listens, how it runs short of something, how it ends."""

import re
import socket
from pathlib import Path

import pytest

from interop import broker
from interop.broker import AmqpdProcess, has_ipv6

CONNECT_SECONDS = 3.0
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no address ::1")


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def test_it_is_short_of_what_it_is_told_to_be_until_it_is_told_otherwise(tmp_path: Path) -> None:
    with AmqpdProcess(tmp_path) as process:
        for on in (True, False):
            for resource in ("memory", "disk"):
                process.alarm(on, resource)
                process.alarm(on, resource)
    told = re.findall(r"(\w+) resource limit alarm (\w+)", process.log())
    assert told == [("memory", "set"), ("disk", "set"), ("memory", "cleared"), ("disk", "cleared")]


def test_it_may_be_asked_to_end_before_it_is_stopped(tmp_path: Path) -> None:
    with AmqpdProcess(tmp_path) as process:
        process.terminate()
        process.terminate()
    assert "SIGTERM received" in process.log()
    assert not answers("127.0.0.1", process.port)


@needs_ipv6
def test_it_listens_on_both_loopback_addresses(tmp_path: Path) -> None:
    with AmqpdProcess(tmp_path) as process:
        assert answers("127.0.0.1", process.port)
        assert answers("::1", process.port)


def test_without_ipv6_it_listens_on_the_one_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(broker, "has_ipv6", lambda: False)
    with AmqpdProcess(tmp_path) as process:
        assert answers("127.0.0.1", process.port)
        assert not answers("::1", process.port)


@needs_ipv6
def test_a_port_that_somebody_has_on_one_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as held, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (held, free)]
        free.close()
        monkeypatch.setattr(broker, "PORTS", ports)
        assert broker._free_ports(1) == ports[1:]
