"""The exchange type: what it passes on, what it drops, and what it still knows after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register as register_delayed
from amqpd_message_deduplication import register
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

from .broker import DISK, KIND, again, counts, listed, send, started


def declare(client: LinkedClient, arguments: dict[str, Any] | None = None, queues: str = "q") -> None:
    """An exchange ``x``, bound to queues of one letter each."""
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments=arguments or DISK)
    for queue in queues:
        client.call("queue.declare", queue=queue, durable=True)
        client.call("queue.bind", queue=queue, exchange="x")


def test_a_value_is_passed_on_once() -> None:
    linked, client = started()
    declare(client, queues="qr")
    for key in ("a", "b", "a", 1, "1", 1, True, "b"):
        send(client, "x", key, repr(key).encode())
    expected = [b"'a'", b"'b'", b"1", b"'1'", b"True"]
    assert client.taken() == expected
    assert client.taken("r") == expected
    assert counts(linked, "exchange") == (5, 3)


def test_messages_without_the_header_all_pass() -> None:
    linked, client = started()
    declare(client)
    for _ in range(3):
        client.publish("x", "q", b"m", {"headers": {"other": 1}})
        client.publish("x", "q", b"m")
    assert len(client.taken()) == 6
    assert counts(linked, "exchange") == (0, 0)


def test_keys_of_bindings_are_not_looked_at() -> None:
    _, client = started()
    declare(client)
    client.call("queue.bind", queue="q", exchange="x", routing_key="other")
    send(client, "x", "a")
    assert client.taken() == [b"m"]


def test_a_duplicate_is_confirmed() -> None:
    linked, client = started()
    declare(client)
    client.call("confirm.select")
    for _ in range(3):
        send(client, "x", "a")
    linked.commit()
    came = client.received()
    assert {one.name for one in came} == {"basic.ack"}
    assert came[-1].values["delivery_tag"] == 3


@pytest.mark.parametrize("persistence", ["disk", "memory"])
def test_a_duplicate_is_not_confirmed_before_what_it_repeats_is_on_disk(persistence: str) -> None:
    linked, client = started()
    declare(client, {"x-cache-size": 9, "x-cache-persistence": persistence})
    client.call("confirm.select")
    send(client, "x", "a")
    send(client, "x", "a")
    assert client.names() == []
    linked.take()
    send(client, "x", "a")  # the batch of the first is under way
    assert client.names() == []
    linked.write()
    assert [(one.values["delivery_tag"], one.values["multiple"]) for one in client.received()] == [(2, True)]
    linked.commit()
    assert client.names() == ["basic.ack"]
    send(client, "x", "a")
    assert client.names() == ["basic.ack"]


def test_what_no_binding_takes_is_returned_and_not_remembered() -> None:
    _, client = started()
    declare(client, queues="")
    for _ in range(2):
        send(client, "x", "a", mandatory=True)
    assert client.names() == ["basic.return", "basic.return"]
    declare(client)
    send(client, "x", "a", mandatory=True)
    send(client, "x", "a", mandatory=True)  # a duplicate has reached its queues
    assert client.names() == []
    assert client.taken() == [b"m"]


def test_the_alternate_exchange_gets_what_no_binding_takes() -> None:
    _, client = started()
    client.call("queue.declare", queue="rest")
    client.call("queue.bind", queue="rest", exchange="amq.fanout")
    arguments = {**DISK, "alternate-exchange": "amq.fanout"}
    declare(client, arguments, queues="")
    send(client, "x", "a")
    declare(client, arguments)
    send(client, "x", "a")
    send(client, "x", "a")
    assert client.taken("rest") == [b"m"]
    assert client.taken() == [b"m"]


def test_what_a_queue_refuses_is_not_remembered() -> None:
    linked, client = started()
    declare(client, queues="")
    client.call("queue.declare", queue="q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    client.call("queue.bind", queue="q", exchange="x")
    client.call("confirm.select")
    for key in ("a", "b"):
        send(client, "x", key, key.encode())
    linked.commit()
    assert client.names() == ["basic.ack", "basic.nack"]
    assert client.taken() == [b"a"]
    send(client, "x", "b", b"b")
    assert client.taken() == [b"b"]


def test_a_transaction_asks_at_its_commit() -> None:
    linked, client = started()
    declare(client)
    other = linked.client()
    client.call("tx.select")
    send(client, "x", "a", b"transaction")
    send(client, "x", "b", b"transaction")
    send(client, "x", "b", b"twice")
    send(other, "x", "a", b"plain")
    client.call("tx.commit")
    assert client.taken() == [b"plain", b"transaction"]
    assert counts(linked, "exchange") == (2, 2)


def test_a_transaction_that_is_rolled_back_leaves_nothing() -> None:
    linked, client = started()
    declare(client)
    client.call("tx.select")
    send(client, "x", "a")
    client.call("tx.rollback")
    assert counts(linked, "exchange") == (0, 0)
    send(client, "x", "a")
    client.call("tx.commit")
    assert client.taken() == [b"m"]


def test_an_exchange_that_went_before_the_commit() -> None:
    linked, client = started()
    declare(client)
    client.call("tx.select")
    send(client, "x", "a")
    linked.client().call("exchange.delete", exchange="x")
    client.call("tx.commit")
    assert client.taken() == [b"m"]
    linked.settle()
    assert linked.store.disk.notes == {}  # type: ignore[attr-defined]


def test_times_to_live() -> None:
    linked, client = started()
    declare(client, {"x-cache-size": 9, "x-cache-ttl": 1000})
    send(client, "x", "a", b"1")
    send(client, "x", "b", b"1", headers={"x-cache-ttl": 3_000_000_000})
    send(client, "x", "c", b"1", headers={"x-cache-ttl": "10"})
    linked.advance(10)
    send(client, "x", "c", b"2")
    linked.advance(989)
    for key in ("a", "b", "c"):
        send(client, "x", key, b"3")
    linked.advance(1)
    send(client, "x", "a", b"4")
    linked.advance(2_999_998_999)
    send(client, "x", "b", b"5")
    linked.advance(1)
    send(client, "x", "b", b"6")
    assert client.taken() == [b"1", b"1", b"1", b"2", b"4", b"6"]


def test_the_size_is_kept() -> None:
    linked, client = started()
    declare(client, {"x-cache-size": 3})
    for key in (1, 2, 3, 4, 1, 4):
        send(client, "x", key, b"%d" % key)
    assert client.taken() == [b"1", b"2", b"3", b"4", b"1"]
    assert counts(linked, "exchange") == (3, 1)


# Restarts


@pytest.mark.parametrize("crash", [False, True])
def test_what_is_on_disk_is_known_after_a_restart(crash: bool) -> None:
    linked, client = started()
    declare(client)
    for key in ("a", "b"):
        send(client, "x", key, b"before")
    linked.commit()
    send(client, "x", "c", b"before")  # committed by a stop only
    linked, client = again(linked, crash)
    for key in ("a", "b", "c"):
        send(client, "x", key, b"after")
    expected = [b"before", b"before", b"after"] if crash else [b"before"] * 3
    assert client.taken() == expected


@pytest.mark.parametrize(
    ("arguments", "durable"),
    [({"x-cache-size": 9}, True), ({"x-cache-size": 9, "x-cache-persistence": "memory"}, True), (DISK, False)],
)
def test_what_is_in_memory_only_is_forgotten(arguments: dict[str, Any], durable: bool) -> None:
    linked, client = started()
    client.call("queue.declare", queue="q", durable=True)
    for _ in range(2):
        client.call("exchange.declare", exchange="x", type=KIND, durable=durable, arguments=arguments)
        client.call("queue.bind", queue="q", exchange="x")
        send(client, "x", "a")
        send(client, "x", "a")
        linked.settle()
        assert linked.store.disk.notes == {}  # type: ignore[attr-defined]
        linked, client = again(linked)
    assert client.taken() == [b"m", b"m"]


def test_times_go_on_while_the_broker_is_down() -> None:
    linked, client = started()
    declare(client, {**DISK, "x-cache-ttl": 1000})
    send(client, "x", "a", b"1")
    linked, client = again(linked, later=999)
    send(client, "x", "a", b"2")
    linked, client = again(linked, later=1)
    send(client, "x", "a", b"3")
    assert client.taken() == [b"1", b"3"]


def test_the_store_forgets_what_expired_and_what_was_pushed_out() -> None:
    linked, client = started()
    declare(client, {**DISK, "x-cache-size": 3, "x-cache-ttl": 1000})
    for key in range(5):
        send(client, "x", key)
    linked.commit()
    disk = linked.store.disk  # type: ignore[attr-defined]
    (notes,) = disk.notes.values()
    assert len(notes) == 3
    linked.advance(5000)
    linked.commit()
    assert list(disk.notes.values()) == [{}]
    client.call("exchange.delete", exchange="x")
    linked.commit()
    assert disk.notes == {}
    assert listed(linked) == []


def test_an_exchange_that_is_made_again_remembers_nothing() -> None:
    _, client = started()
    declare(client)
    send(client, "x", "a")
    client.call("exchange.delete", exchange="x")
    declare(client)
    send(client, "x", "a")
    assert client.taken() == [b"m", b"m"]


# With other exchanges


def test_a_bound_exchange_routes_what_passes() -> None:
    linked, client = started()
    declare(client, queues="")
    client.call("exchange.bind", source="x", destination="amq.direct")
    client.call("queue.declare", queue="q")
    client.call("queue.bind", queue="q", exchange="amq.direct", routing_key="q")
    send(client, "x", "a", mandatory=True)
    send(client, "x", "a", mandatory=True)
    client.publish("x", "nowhere", b"m", {"headers": {"x-deduplication-header": "b"}}, mandatory=True)
    assert client.names() == ["basic.return"]
    assert client.taken() == [b"m"]
    assert counts(linked, "exchange") == (1, 1)


def test_a_message_that_comes_two_ways_enters_once() -> None:
    linked, client = started(MemoryStore())
    declare(client)
    client.call("exchange.declare", exchange="y", type=KIND, durable=True, arguments=DISK)
    client.call("queue.bind", queue="q", exchange="y")
    client.call("queue.declare", queue="direct", durable=True)
    for source in ("x", "y"):
        client.call("exchange.bind", source="amq.fanout", destination=source)
        client.call("queue.bind", queue="direct", exchange=source)
    client.call("queue.bind", queue="direct", exchange="amq.fanout")
    send(client, "amq.fanout", "a", b"1")
    send(client, "amq.fanout", "a", b"2")
    send(client, "y", "b", b"3")
    send(client, "amq.fanout", "b", b"4")  # new to x only
    assert client.taken() == [b"1", b"3", b"4"]
    assert client.taken("direct") == [b"1", b"2", b"3", b"4"]
    assert [row["duplicates"] for row in listed(linked)] == [1, 2]


def test_circles_end() -> None:
    _, client = started()
    declare(client)
    client.call("exchange.declare", exchange="y", type=KIND, durable=True, arguments=DISK)
    client.call("queue.declare", queue="r", durable=True)
    client.call("queue.bind", queue="r", exchange="y")
    for source, destination in (("x", "y"), ("y", "x"), ("x", "x")):
        client.call("exchange.bind", source=source, destination=destination)
    for exchange in ("x", "y", "x"):
        send(client, exchange, "a")
        client.publish(exchange, "", b"without")
    assert client.taken() == [b"m", b"without", b"without", b"without"]
    assert client.taken("r") == [b"m", b"without", b"without", b"without"]


def test_dead_letters_go_through_it() -> None:
    linked, client = started()
    declare(client)
    client.call("queue.declare", queue="x", arguments={"x-dead-letter-exchange": "x", "x-message-ttl": 10})
    for _ in range(2):
        client.publish("", "x", b"dead", {"headers": {"x-deduplication-header": "a"}})
    linked.advance(10)
    assert client.taken() == [b"dead"]


def test_a_delayed_exchange_may_deduplicate() -> None:
    linked = Linked(MemoryStore(), plugins=[register_delayed, register])
    client = linked.client()
    arguments = {"x-delayed-type": KIND, **DISK}
    client.call("exchange.declare", exchange="x", type="x-delayed-message", durable=True, arguments=arguments)
    client.call("queue.declare", queue="q", durable=True)
    client.call("queue.bind", queue="q", exchange="x")
    send(client, "x", "a", headers={"x-delay": 1000})
    send(client, "x", "a", headers={"x-delay": 2000})
    linked.settle()
    assert isinstance(linked.store, MemoryStore)
    linked.advance(1000)
    linked.settle()
    linked.stop()
    linked = Linked(MemoryStore(linked.store.disk), linked.broker.now, plugins=[register_delayed, register])
    linked.settle()
    linked.advance(5000)
    linked.settle()
    assert linked.client().taken() == [b"m"]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": 0}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": "many"}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": True}, "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"),
        ({"x-cache-size": 1, "x-cache-ttl": -1}, "Invalid argument, 'x-cache-ttl' must be an integer greater than 0"),
        (
            {"x-cache-size": 1, "x-cache-ttl": Typed("V", None)},
            "Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        (
            {"x-cache-size": 1, "x-cache-persistence": "ram"},
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
    ],
)
def test_arguments_that_will_not_do(arguments: dict[str, Any], text: str) -> None:
    _, client = started()
    client.send("exchange.declare", exchange="x", type=KIND, arguments=arguments)
    values = client.expect("channel.close").values
    assert (values["reply_code"], values["reply_text"]) == (406, f"PRECONDITION_FAILED - {text}")


def test_arguments_may_be_text() -> None:
    _, client = started()
    declare(client, {"x-cache-size": "1", "x-cache-ttl": "1000", "x-cache-persistence": "memory"})
    for key in ("a", "b", "a", "a"):
        send(client, "x", key)
    assert len(client.taken()) == 3


def test_the_list_is_of_one_vhost_or_of_all() -> None:
    linked, client = started()
    linked.broker.create_vhost("other")
    linked.users.set_permissions("guest", "other", ".*", ".*", ".*")
    declare(client)
    declare(linked.client(vhost="other"))
    row = {"name": "x", "kind": "exchange", "size": 0, "duplicates": 0}
    assert listed(linked) == [{"vhost": "/", **row}, {"vhost": "other", **row}]
    assert listed(linked, vhost="other") == [{"vhost": "other", **row}]
