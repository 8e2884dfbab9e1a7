"""What late comers get."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register as register_delayed
from amqpd_recent_history import KIND, register
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

DURABLE = {"delivery_mode": 2}


def started(length: Any = 3, store: MemoryStore | None = None) -> tuple[Linked, LinkedClient]:
    linked = Linked(store, plugins=[register])
    client = linked.client()
    arguments = {"x-recent-history-length": length}
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments=arguments)
    return linked, client


def bind(client: LinkedClient, queue: str = "q", key: str = "") -> None:
    client.call("queue.declare", queue=queue, durable=True)
    client.call("queue.bind", queue=queue, exchange="x", routing_key=key)


def publish(client: LinkedClient, *lines: bytes, **properties: Any) -> None:
    for line in lines:
        client.publish("x", "k", line, properties)


def again(linked: Linked, crash: bool = False) -> tuple[Linked, LinkedClient]:
    assert isinstance(linked.store, MemoryStore)
    if crash:
        linked.crash()
    else:
        linked.stop()
    linked = Linked(MemoryStore(linked.store.disk), plugins=[register])
    return linked, linked.client()


def test_a_new_binding_gets_the_last_messages_and_then_the_next_ones() -> None:
    _, client = started()
    publish(client, b"1", b"2", b"3", b"4")
    bind(client)
    publish(client, b"5")
    assert client.taken() == [b"2", b"3", b"4", b"5"]
    bind(client, key="another")
    assert client.taken() == [b"3", b"4", b"5"]
    bind(client, key="another")
    assert client.taken() == []


def test_twenty_are_kept_without_a_length() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    client.call("exchange.declare", exchange="x", type=KIND)
    publish(client, *[b"%d" % number for number in range(25)])
    bind(client)
    assert client.taken() == [b"%d" % number for number in range(5, 25)]


def test_keys_and_properties_are_as_they_were() -> None:
    _, client = started()
    client.publish("x", "the key", b"m", {"message_id": "one", "headers": {"a": 1}})
    bind(client)
    client.send("basic.get", queue="q")
    (came,) = client.received()
    assert (came.values["exchange"], came.values["routing_key"]) == ("x", "the key")
    assert came.properties == {"message_id": "one", "headers": {"a": 1}}


def test_some_messages_are_not_kept() -> None:
    _, client = started()
    publish(client, b"kept")
    publish(client, b"not", headers={"x-recent-history-no-store": True})
    publish(client, b"too", headers={"x-recent-history-no-store": False})
    bind(client)
    assert client.taken() == [b"kept", b"too"]


def test_a_bound_exchange_routes_the_history() -> None:
    _, client = started()
    client.publish("x", "a", b"a")
    client.publish("x", "b", b"b")
    client.call("exchange.declare", exchange="y", type="direct")
    client.call("queue.declare", queue="q")
    client.call("queue.bind", queue="q", exchange="y", routing_key="b")
    client.call("exchange.bind", destination="y", source="x", routing_key="")
    assert client.taken() == [b"b"]


def test_what_nobody_takes_is_kept_and_unroutable() -> None:
    _, client = started()
    client.call("confirm.select")
    client.publish("x", "", b"m", mandatory=True)
    assert client.names() == ["basic.return", "basic.ack"]
    bind(client)
    assert client.taken() == [b"m"]


def test_the_alternate_exchange_gets_what_nobody_takes() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    client.call("queue.declare", queue="rest")
    client.call("queue.bind", queue="rest", exchange="amq.fanout", routing_key="")
    client.call("exchange.declare", exchange="x", type=KIND, arguments={"alternate-exchange": "amq.fanout"})
    publish(client, b"m")
    assert client.taken("rest") == [b"m"]


@pytest.mark.parametrize("crash", [False, True])
def test_persistent_messages_survive_a_restart(crash: bool) -> None:
    linked, client = started(store=MemoryStore())
    publish(client, b"1", b"2", b"3", b"4", **DURABLE)
    publish(client, b"transient")
    linked.settle()
    linked, client = again(linked, crash)
    bind(client)
    assert client.taken() == [b"3", b"4"]
    publish(client, b"5", b"6", **DURABLE)
    bind(client, "late")
    assert client.taken("late") == [b"4", b"5", b"6"]


def test_the_history_is_there_when_the_first_client_comes() -> None:
    linked, client = started(store=MemoryStore())
    publish(client, b"1", b"2", **DURABLE)
    linked.settle()
    linked, client = again(linked)
    bind(client)
    publish(client, b"3", **DURABLE)
    assert client.taken() == [b"1", b"2", b"3"]


def test_a_long_history_is_read_back_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqpd_recent_history.history.PAGE_MESSAGES", 2)
    linked, client = started(5, MemoryStore())
    publish(client, *[b"%d" % number for number in range(8)], **DURABLE)
    linked.settle()
    linked, client = again(linked)
    bind(client)
    assert client.taken() == [b"3", b"4", b"5", b"6", b"7"]


def test_what_was_not_committed_is_gone_after_a_crash() -> None:
    linked, client = started(store=MemoryStore())
    publish(client, b"1", **DURABLE)
    linked.settle()
    publish(client, b"2", b"3", b"4", b"5", **DURABLE)
    linked, client = again(linked, crash=True)
    bind(client)
    assert client.taken() == [b"1"]


def test_a_transaction_that_is_rolled_back_leaves_nothing() -> None:
    _, client = started()
    client.call("tx.select")
    publish(client, b"no")
    client.call("tx.rollback")
    publish(client, b"yes")
    client.call("tx.commit")
    bind(client)
    assert client.taken() == [b"yes"]


def test_an_exchange_that_is_made_again_remembers_nothing() -> None:
    _, client = started()
    publish(client, b"1")
    client.call("exchange.delete", exchange="x")
    client.call("exchange.declare", exchange="x", type=KIND)
    bind(client)
    assert client.taken() == []


def test_the_store_holds_no_more_than_the_history() -> None:
    linked, client = started(store=MemoryStore())
    for number in range(50):
        publish(client, b"%d" % number, **DURABLE)
        linked.commit()
    (row,) = linked.reader.summary().queues
    assert row.messages == 3
    client.call("exchange.delete", exchange="x")
    linked.commit()
    assert linked.reader.summary().queues == []


@pytest.mark.parametrize(
    ("length", "shown"),
    [(0, "0"), (-1, "-1"), ("x", '<<"x">>'), (Typed("V", None), "undefined")],
)
def test_a_length_that_is_none_is_refused(length: Any, shown: str) -> None:
    client = Linked(plugins=[register]).client()
    arguments = {"x-recent-history-length": length}
    client.send("exchange.declare", exchange="x", type=KIND, arguments=arguments)
    text = f"PRECONDITION_FAILED - Invalid argument {shown}, 'x-recent-history-length' must be a positive integer"
    values = client.expect("channel.close").values
    assert (values["reply_code"], values["reply_text"]) == (406, text)


def test_a_delayed_exchange_may_have_a_history() -> None:
    plugins = [register_delayed, register]
    linked = Linked(MemoryStore(), plugins=plugins)
    client = linked.client()
    arguments = {"x-delayed-type": KIND, "x-recent-history-length": 3}
    client.call("exchange.declare", exchange="x", type="x-delayed-message", durable=True, arguments=arguments)
    publish(client, b"now", **DURABLE)
    publish(client, b"later", headers={"x-delay": 1000}, **DURABLE)
    bind(client, "early")
    assert client.taken("early") == [b"now"]
    linked.advance(1000)
    linked.settle()
    linked.stop()
    assert isinstance(linked.store, MemoryStore)
    linked = Linked(MemoryStore(linked.store.disk), linked.broker.now, plugins=plugins)
    client = linked.client()
    bind(client, "late")
    assert client.taken("late") == [b"now", b"later"]
