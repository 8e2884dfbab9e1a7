"""The queue argument: what is dropped, and when a value may come again."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from tests.support.linked import LinkedClient

from .broker import again, counts, listed, send, started

ARGUMENT = {"x-message-deduplication": True}


def declare(client: LinkedClient, **arguments: Any) -> None:
    client.call("queue.declare", queue="q", durable=True, arguments={**ARGUMENT, **arguments})


def got(client: LinkedClient, no_ack: bool = False) -> int:
    """Get one message; its delivery tag."""
    client.send("basic.get", queue="q", no_ack=no_ack)
    client.linked.settle()
    tag = client.expect("basic.get-ok").values["delivery_tag"]
    assert isinstance(tag, int)
    return tag


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_every_duplicate_is_dropped(kind: str) -> None:
    linked, client = started()
    declare(client, **{"x-queue-type": kind})
    for number in range(6):
        send(client, "", "a", b"%d" % number)
        send(client, "", number, b"%d" % number)
    client.publish("", "q", b"without")
    client.publish("", "q", b"without")
    assert counts(linked, "queue") == (7, 5)
    assert client.taken() == [b"0", b"0", b"1", b"2", b"3", b"4", b"5", b"without", b"without"]
    assert counts(linked, "queue") == (0, 5)


@pytest.mark.parametrize("value", [False, "true", 1])
def test_the_argument_must_be_true(value: Any) -> None:
    linked, client = started()
    client.call("queue.declare", queue="q", arguments={"x-message-deduplication": value})
    send(client, "", "a")
    send(client, "", "a")
    assert len(client.taken()) == 2
    assert listed(linked) == []


def test_a_duplicate_is_confirmed_when_what_it_repeats_is_on_disk() -> None:
    linked, client = started()
    declare(client)
    client.call("confirm.select")
    send(client, "", "a")
    linked.take()
    send(client, "", "a")
    assert client.names() == []
    linked.write()
    assert client.names() == ["basic.ack"]
    linked.commit()
    assert client.names() == ["basic.ack"]
    send(client, "", "a")
    assert client.names() == ["basic.ack"]


def test_a_message_in_flight_is_in_the_queue() -> None:
    linked, client = started()
    declare(client)
    send(client, "", "a")
    tag = got(client)
    send(client, "", "a")
    client.send("basic.nack", delivery_tag=tag, requeue=True)
    send(client, "", "a")
    tag = got(client)
    client.send("basic.ack", delivery_tag=tag)
    assert counts(linked, "queue") == (0, 2)
    send(client, "", "a", b"next")
    assert client.taken() == [b"next"]


@pytest.mark.parametrize("no_ack", [False, True])
def test_a_consumer_that_takes_it_makes_way(no_ack: bool) -> None:
    linked, client = started()
    declare(client)
    other = linked.client()
    other.call("basic.consume", queue="q", no_ack=no_ack)
    for _ in range(2):
        send(client, "", "a")
    assert len(other.received()) == (2 if no_ack else 1)
    other.hang_up()
    assert len(client.taken()) == (0 if no_ack else 1)
    assert counts(linked, "queue") == (0, 0 if no_ack else 1)


def test_a_rejected_one_is_gone() -> None:
    linked, client = started()
    declare(client)
    for _ in range(2):
        send(client, "", "a")
        client.send("basic.reject", delivery_tag=got(client), requeue=False)
    assert counts(linked, "queue") == (0, 0)


def test_an_expired_one_is_gone() -> None:
    linked, client = started()
    declare(client, **{"x-message-ttl": 1000})
    send(client, "", "a", b"1")
    send(client, "", "b", b"1", expiration="10")
    linked.advance(10)
    for key in ("a", "b"):
        send(client, "", key, b"2")
    linked.advance(990)
    send(client, "", "a", b"3")
    send(client, "", "b", b"3")
    assert client.taken() == [b"2", b"3"]


def test_one_that_was_pushed_out_is_gone() -> None:
    _, client = started()
    declare(client, **{"x-max-length": 2})
    for key in ("a", "b", "c", "a", "c"):
        send(client, "", key, key.encode())
    assert client.taken() == [b"c", b"a"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_one_that_was_refused_never_was_there(overflow: str) -> None:
    linked, client = started()
    declare(client, **{"x-max-length": 1, "x-overflow": overflow})
    client.call("confirm.select")
    for key in ("a", "b", "a"):
        send(client, "", key, key.encode())
    linked.commit()
    # A duplicate needs no room.
    assert client.names() == ["basic.ack", "basic.nack", "basic.ack"]
    assert client.taken() == [b"a"]
    send(client, "", "b", b"b")
    assert client.taken() == [b"b"]


def test_a_purge_leaves_what_is_in_flight() -> None:
    linked, client = started()
    declare(client)
    for key in ("a", "b", "c"):
        send(client, "", key)
    tag = got(client)
    client.call("queue.purge", queue="q")
    assert counts(linked, "queue") == (1, 0)
    for key in ("a", "b"):
        send(client, "", key, b"again")
    client.send("basic.nack", delivery_tag=tag, requeue=True)
    client.call("queue.purge", queue="q")
    assert counts(linked, "queue") == (0, 1)


def test_a_purge_forgets_what_is_on_disk_only() -> None:
    linked = started()[0]
    linked.broker.shard.window_bytes_max = 2000
    client = linked.client()
    declare(client)
    for key in range(50):
        send(client, "", key, bytes(500))
        linked.commit()
    linked.settle()
    got(client)
    client.call("queue.purge", queue="q")
    assert counts(linked, "queue") == (1, 0)


def test_one_that_waits_for_its_next_delivery_is_in_the_queue() -> None:
    linked, client = started()
    declare(client, **{"x-delayed-retry-type": "all", "x-delayed-retry-min": 1000})
    send(client, "", "a")
    client.send("basic.nack", delivery_tag=got(client), requeue=True)
    send(client, "", "a", b"too early")
    linked.advance(1000)
    send(client, "", "a", b"too early")
    client.call("queue.purge", queue="q")
    assert counts(linked, "queue") == (0, 2)


def test_a_policy_changes_nothing() -> None:
    linked, client = started()
    declare(client)
    send(client, "", "a", b"1")
    linked.broker.vhosts["/"].queues["q"].reconfigure(linked.broker.registry.queue_features)
    send(client, "", "a", b"2")
    assert client.taken() == [b"1"]
    assert counts(linked, "queue") == (0, 1)


def test_a_transaction_asks_at_its_commit() -> None:
    _, client = started()
    declare(client)
    client.call("tx.select")
    send(client, "", "a", b"1")
    client.call("tx.rollback")
    send(client, "", "a", b"2")
    send(client, "", "a", b"3")
    client.call("tx.commit")
    assert client.taken() == [b"2"]


def test_a_deleted_queue_leaves_nothing() -> None:
    linked, client = started()
    declare(client)
    send(client, "", "a")
    client.call("queue.delete", queue="q")
    assert listed(linked) == []
    declare(client)
    send(client, "", "a", b"new")
    assert client.taken() == [b"new"]


def test_a_dead_letter_that_is_a_duplicate_is_settled() -> None:
    linked, client = started()
    declare(client)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q", "x-message-ttl": 10}
    client.call("queue.declare", queue="wait", durable=True, arguments=arguments)
    send(client, "", "a", b"first")
    client.publish("", "wait", b"dead", {"delivery_mode": 2, "headers": {"x-deduplication-header": "a"}})
    linked.advance(10)
    linked.settle()
    assert [row.messages for row in linked.reader.summary().queues] == [1, 0]
    assert client.taken() == [b"first"]


# Restarts


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"x-max-priority": 5}])
def test_the_keys_are_those_of_the_messages_that_are_there(crash: bool, arguments: dict[str, Any]) -> None:
    linked, client = started()
    declare(client, **arguments)
    for key in ("gone", "there", "in flight"):
        send(client, "", key, key.encode(), priority=3)
    client.publish("", "q", b"without", {"delivery_mode": 2, "priority": 3})
    client.send("basic.ack", delivery_tag=got(client))
    linked.settle()
    send(client, "", "late", b"late", priority=3)  # committed by a stop only
    linked, client = again(linked, crash)
    for key in ("gone", "there", "in flight", "late"):
        send(client, "", key, key.encode() + b" again")
    linked.settle()
    late = b"late again" if crash else b"late"
    assert sorted(client.taken()) == sorted([b"there", b"in flight", b"without", b"gone again", late])


def test_transient_messages_are_gone_after_a_restart() -> None:
    linked, client = started()
    declare(client)
    client.publish("", "q", b"m", {"headers": {"x-deduplication-header": "a"}})
    linked, client = again(linked)
    send(client, "", "a", b"new")
    assert client.taken() == [b"new"]


def test_a_run_without_the_plugin_does_no_harm() -> None:
    linked, client = started()
    declare(client)
    for key in ("a", "b"):
        send(client, "", key, key.encode())
    linked, client = again(linked, plugins=())
    send(client, "", "c", b"c")
    got(client, no_ack=True)
    linked, client = again(linked)
    for key in ("a", "b", "c"):
        send(client, "", key, key.encode() + b" again")
    assert client.taken() == [b"b", b"c", b"a again"]


def test_duplicates_that_came_without_the_plugin_leave_one_by_one() -> None:
    linked, client = started()
    declare(client)
    linked, client = again(linked, plugins=())
    for body in (b"1", b"2"):
        send(client, "", "a", body)
    linked, client = again(linked)
    assert counts(linked, "queue") == (1, 0)
    client.send("basic.ack", delivery_tag=got(client))
    send(client, "", "a", b"3")
    client.send("basic.ack", delivery_tag=got(client))
    send(client, "", "a", b"4")
    assert client.taken() == [b"4"]


def test_many_messages_are_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqpd_message_deduplication.queue.PAGE_MESSAGES", 3)
    linked, client = started(MemoryStore())
    declare(client)
    for key in range(10):
        send(client, "", key)
    linked, client = again(linked)
    for key in range(11):
        send(client, "", key)
    assert counts(linked, "queue") == (11, 10)
    assert len(client.taken()) == 11


def test_a_random_life() -> None:
    """Publishes, gets, settlements and purges: no value is ever twice in the queue, and none is kept out wrongly."""
    linked, client = started()
    declare(client)
    ready: list[int] = []
    flight: dict[int, int] = {}
    state = 12345
    for _ in range(1500):
        state = (state * 1103515245 + 12345) % (1 << 31)
        action, key = state >> 20 & 15, state >> 8 & 15
        if action < 7:
            send(client, "", key, b"%d" % key)
            if key not in ready and key not in flight.values():
                ready.append(key)
        elif action < 11 and ready:
            client.send("basic.get", queue="q")
            came = client.expect("basic.get-ok")
            flight[came.values["delivery_tag"]] = int(came.body)
            ready.remove(int(came.body))
        elif action < 14 and flight:
            tag = min(flight)
            key = flight.pop(tag)
            if action < 13:
                client.send("basic.ack", delivery_tag=tag)
            else:
                client.send("basic.reject", delivery_tag=tag, requeue=True)
                ready.append(key)
        elif action == 15 and key == 3:
            client.call("queue.purge", queue="q")
            ready.clear()
        assert counts(linked, "queue")[0] == len(ready) + len(flight)
    assert counts(linked, "queue")[1] > 100
    assert sorted(client.taken()) == sorted(b"%d" % key for key in ready)
