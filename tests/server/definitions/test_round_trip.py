"""What is exported and imported is exported again as it was; what RabbitMQ exported goes in whole.

``rabbitmq_3_10_8.json`` is what RabbitMQ 3.10.8 exported for interop/topology.py,
``rabbitmq_3_10_8_vhost.json`` the export of its single vhost, ``rabbitmqctl_3_10_8.json`` what rabbitmqctl
export_definitions wrote, which is not the same. The password of each user is the algorithm's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amqpd.server.definitions.document import SECTIONS, Document, read_document
from amqpd.server.definitions.importing import take_all
from amqpd.server.definitions.target import Target, Verdict
from interop.topology import QUEUES, account
from tests.server.definitions.support import export, import_all, restarted
from tests.server.definitions.test_values import EVERY_TYPE
from tests.support.linked import Linked

HERE = Path(__file__).parent
VHOST = "vhost-demo"


def read(name: str) -> Document:
    return read_document((HERE / name).read_bytes())


def imported(document: Document) -> Linked:
    linked = Linked()
    outcomes = take_all(Target(linked.broker, linked.users, document.version), document.entries())
    assert [one.line() for one in outcomes if one.verdict is None] == []
    assert {one.verdict for one in outcomes} == {Verdict.ADDED}
    linked.commit()
    return linked


def ordered(sections: dict[str, Any]) -> dict[str, Any]:
    """Without what every broker of these tests has, and what 3.10 does not tell of vhosts."""
    found = {name: [one for one in entries if "demo" in json.dumps(one)] for name, entries in sections.items()}
    found["vhosts"] = [{"name": one["name"]} for one in found.get("vhosts", [])]
    return {name: sorted(one, key=lambda entry: json.dumps(entry, sort_keys=True)) for name, one in found.items()}


def test_export_of_rabbitmq_goes_in_whole_and_comes_out_the_same() -> None:
    document = read("rabbitmq_3_10_8.json")
    linked = imported(document)
    assert ordered(export(linked)) == ordered(document.sections)
    durable = ordered(document.sections)
    durable["queues"] = [one for one in durable["queues"] if one["durable"]]
    assert ordered(export(restarted(linked))) == durable


def test_export_of_rabbitmqctl_goes_in_but_for_what_it_lost() -> None:
    """It writes objects as lists of pairs, and leaves out internal exchanges and who is one."""
    document = read("rabbitmqctl_3_10_8.json")
    linked = Linked()
    outcomes = take_all(Target(linked.broker, linked.users, document.version), document.entries())
    lost = {one.line() for one in outcomes if one.verdict is None}
    assert len(lost) == 1
    assert lost.pop().endswith(": no exchange 'unrouted' in vhost 'vhost-demo'")
    whole = ordered(read("rabbitmq_3_10_8.json").sections)
    found = ordered(export(linked))
    for name in ("users", "permissions", "topic_permissions", "parameters", "policies", "queues"):
        assert found[name] == whole[name], name
    assert found["exchanges"] == [one for one in whole["exchanges"] if one["name"] != "unrouted"]


def test_users_of_rabbitmq_log_in() -> None:
    linked = imported(read("rabbitmq_3_10_8.json"))
    for algorithm in ("md5", "sha256", "sha512"):
        assert linked.users.users[f"{algorithm}-demo"].password_hash == account(algorithm)["password_hash"]
        client = linked.client(user=f"{algorithm}-demo", password=algorithm, vhost=VHOST)
        for name, arguments in QUEUES.items():
            client.call("queue.declare", queue=name, durable=True, arguments=arguments)


def test_export_of_one_vhost_goes_into_another() -> None:
    document = read("rabbitmq_3_10_8_vhost.json")
    assert document.of_one_vhost
    linked = imported(document.into("/"))
    whole = ordered(read("rabbitmq_3_10_8.json").sections)
    # The limits of a vhost are part of its export, too.
    for name in ("queues", "exchanges", "bindings", "policies", "parameters"):
        mine = json.loads(json.dumps(export(linked)[name]).replace('"/"', f'"{VHOST}"'))
        assert ordered({name: mine})[name] == whole[name], name


def test_import_of_ones_own_export_changes_nothing() -> None:
    linked = imported(read("rabbitmq_3_10_8.json"))
    before = export(linked)
    outcomes = import_all(linked, before)
    assert {one.verdict for one in outcomes} == {Verdict.SAME}
    assert linked.broker.journal.empty()
    assert export(linked) == before


def declared() -> Linked:
    """A broker whose definitions came from clients."""
    linked = Linked()
    client = linked.client()
    client.call("exchange.declare", exchange="e", type="headers", durable=True)
    client.call("exchange.declare", exchange="passing", type="direct", auto_delete=True)
    client.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 5, "own": 1})
    client.call("queue.declare", queue="passing", auto_delete=True, arguments={"x-expires": 60000})
    client.call("queue.declare", queue="mine", exclusive=True)
    client.call("queue.bind", queue="q", exchange="passing", routing_key="k")
    client.call("queue.bind", queue="mine", exchange="e", routing_key="k")
    client.call("exchange.bind", destination="e", source="amq.fanout", routing_key="k")
    vhost = linked.broker.vhosts["/"]
    vhost.bind(vhost.exchanges["e"], vhost.queues["q"], "every type", EVERY_TYPE)
    linked.commit()
    return linked


def test_topology_of_clients_comes_out_the_same_from_another_broker() -> None:
    before = export(declared())
    assert {one["name"] for one in before["queues"]} == {"q", "passing"}
    assert len(before["bindings"]) == 3
    other = Linked()
    import_all(other, before)
    assert export(other) == before


def test_sections_stand_in_the_order_rabbitmq_has_and_all_are_there() -> None:
    made = export(Linked())
    captured = json.loads((HERE / "rabbitmq_3_10_8.json").read_text())
    assert list(made) == [name for name in captured if name in SECTIONS]
    assert set(made) == set(SECTIONS)


@pytest.mark.parametrize("section", ["queues", "exchanges", "bindings", "policies", "users", "permissions"])
def test_entries_have_the_fields_rabbitmq_has(section: str) -> None:
    document = read("rabbitmq_3_10_8.json")
    made = [set(entry) for entry in ordered(export(imported(document)))[section]]
    assert made == [set(entry) for entry in ordered(document.sections)[section]]
