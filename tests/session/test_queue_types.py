"""What clients see of single active consumers, exclusive ones, quorum queues, and of declaring any type."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.features.declaring import declare, get
from tests.support.linked import Linked, LinkedClient, Received


def single_active(kind: str = "classic") -> tuple[Linked, LinkedClient, LinkedClient]:
    """A queue ``q`` with the consumers ``a`` and ``b``, two messages at a time, each on a connection of its own."""
    linked = Linked()
    declare(linked, kind, single_active_consumer=True)
    clients = []
    for tag in "ab":
        client = linked.client()
        client.call("basic.qos", prefetch_count=2)
        client.call("basic.consume", queue="q", consumer_tag=tag)
        clients.append(client)
    return linked, clients[0], clients[1]


def fill(linked: Linked, count: int) -> None:
    client = linked.client()
    for number in range(count):
        client.publish("", "q", b"%d" % number)


def seen(messages: list[Received]) -> list[tuple[bytes, bool]]:
    return [(one.body, one.values["redelivered"]) for one in messages]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_cancelled_consumer_keeps_what_is_in_flight_and_the_next_goes_on(kind: str) -> None:
    linked, first, second = single_active(kind)
    fill(linked, 5)
    assert (first.bodies(), second.bodies()) == ([b"0", b"1"], [])
    first.call("basic.cancel", consumer_tag="a")
    assert seen(second.received()) == [(b"2", False), (b"3", False)]
    first.send("basic.ack", delivery_tag=2, multiple=True)
    second.send("basic.ack", delivery_tag=2, multiple=True)
    assert second.bodies() == [b"4"]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("end", ["channel", "connection"])
def test_what_was_in_flight_on_a_channel_that_ends_goes_to_the_next(kind: str, end: str) -> None:
    linked, first, second = single_active(kind)
    fill(linked, 5)
    if end == "channel":
        first.send("channel.close")
    else:
        first.hang_up()
    assert seen(second.received()) == [(b"0", True), (b"1", True)]


def test_a_quorum_queue_hands_over_to_a_higher_priority_once_nothing_is_in_flight() -> None:
    linked, first, _ = single_active("quorum")
    fill(linked, 5)
    assert first.bodies() == [b"0", b"1"]
    high = linked.client()
    high.call("basic.consume", queue="q", consumer_tag="high", arguments={"x-priority": 1})
    first.send("basic.ack", delivery_tag=1)
    assert (first.received(), high.received()) == ([], [])
    first.send("basic.ack", delivery_tag=2)
    assert (first.received(), high.bodies()) == ([], [b"2", b"3", b"4"])


def test_a_classic_queue_does_not() -> None:
    linked, first, _ = single_active()
    high = linked.client()
    high.call("basic.consume", queue="q", consumer_tag="high", arguments={"x-priority": 1})
    fill(linked, 2)
    assert (first.bodies(), high.received()) == ([b"0", b"1"], [])


def test_an_exclusive_consumer_is_refused_where_one_is_active_anyway() -> None:
    linked = Linked()
    declare(linked, single_active_consumer=True)
    client = linked.client()
    client.send("basic.consume", queue="q", exclusive=True)
    close = client.expect("channel.close").values
    assert (close["reply_code"], close["reply_text"]) == (
        403,
        "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use",
    )


@pytest.mark.parametrize("single", [True, False])
def test_a_quorum_queue_ignores_exclusive(single: bool) -> None:
    linked = Linked()
    declare(linked, "quorum", single_active_consumer=single)
    client = linked.client()
    client.call("basic.consume", queue="q", consumer_tag="a", exclusive=True)
    client.call("basic.consume", queue="q", consumer_tag="b", exclusive=True)


def test_get_works_with_a_single_active_consumer_but_not_on_a_quorum_queue() -> None:
    linked = Linked()
    declare(linked, single_active_consumer=True)
    declare(linked, "quorum", "other", single_active_consumer=True)
    fill(linked, 1)
    client = linked.client()
    assert get(client) is not None
    client.send("basic.get", queue="other")
    close = client.expect("channel.close").values
    assert close["reply_code"] == 405
    assert close["reply_text"] == (
        "RESOURCE_LOCKED - cannot obtain access to locked queue 'other' in vhost '/'. basic.get operations are not "
        "supported by quorum queues with single active consumer"
    )


def test_a_quorum_queue_stores_transient_messages_too_and_confirms_them_when_they_are_on_disk() -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    declare(linked, "quorum")
    client = linked.client()
    client.call("confirm.select")
    client.publish("", "q", b"kept", {"priority": 7})
    assert client.received() == []
    linked.commit()
    assert client.names() == ["basic.ack"]
    linked.crash()
    again = Linked(MemoryStore(disk))
    queue = again.broker.vhosts["/"].queues["q"]
    assert (queue.kind, queue.message_count()) == ("quorum", 1)
    kept = get(again.client())
    assert kept is not None
    assert (kept.body, kept.properties["priority"]) == (b"kept", 7)


def test_priorities_and_single_active_consumers_are_there_after_a_restart() -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    declare(linked, max_priority=9, single_active_consumer=True)
    client = linked.client()
    for priority in (1, 9, 5):
        client.publish("", "q", b"%d" % priority, {"priority": priority, "delivery_mode": 2})
    linked.stop()
    again = Linked(MemoryStore(disk))
    clients = [again.client() for _ in range(2)]
    for one in clients:
        one.call("basic.consume", queue="q")
    again.settle()
    assert [one.bodies() for one in clients] == [[b"9", b"5", b"1"], []]


def test_a_low_priority_expires_behind_higher_ones() -> None:
    linked = Linked()
    queue = declare(linked, max_priority=9)
    client = linked.client()
    client.publish("", "q", b"high", {"priority": 9})
    client.publish("", "q", b"low", {"priority": 1, "expiration": "50"})
    linked.advance(60)
    assert queue.message_count() == 1


def test_what_expires_in_a_level_that_is_on_disk_is_found() -> None:
    linked = Linked()
    linked.broker.shard.window_bytes_min = linked.broker.shard.window_bytes_max = 600
    linked.broker.shard.page_messages, linked.broker.shard.page_low = 3, 900
    queue = declare(linked, max_priority=9)
    client = linked.client()
    for number in range(30):
        client.publish("", "q", b"high", {"priority": 9, "delivery_mode": 2})
        client.publish("", "q", b"%d" % number, {"priority": 1, "delivery_mode": 2, "expiration": str(5000 - number)})
    linked.settle()
    linked.advance(4900)
    linked.settle()
    assert queue.message_count() == 60
    for _ in range(20):
        linked.advance(20)
        linked.settle()
    assert queue.message_count() == 30
    linked.commit()
    assert sum(row.messages for row in linked.reader.summary().queues) == 30


# Declaring and deleting. Texts and the order of checks are RabbitMQ 3.10.8's, seen.

WHERE = "for queue 'q' in vhost '/'"


def refused(linked: Linked, name: str, /, **values: Any) -> str:
    """The text that closed the channel (406)."""
    client = linked.client()
    client.send(name, **values)
    close = client.expect("channel.close").values
    assert close["reply_code"] == 406, close
    return str(close["reply_text"]).removeprefix("PRECONDITION_FAILED - ")


def typed(kind: str, **arguments: object) -> dict[str, object]:
    return {"x-queue-type": kind} | {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}


def test_a_stream_is_declared_and_declared_again() -> None:
    linked = Linked()
    client = linked.client()
    given: dict[str, Any] = {
        "queue": "q",
        "durable": True,
        "arguments": typed("stream", max_age="1D", max_length_bytes=5),
    }
    client.call("queue.declare", **given)
    queue = linked.broker.vhosts["/"].queues["q"]
    assert (queue.kind, queue.text("max-age"), queue.number("max-length-bytes")) == ("stream", "1D", 5)
    client.call("queue.declare", **given)
    client.call("queue.declare", queue="q", durable=True, arguments=given["arguments"] | {"x-expires": 5})
    told = refused(
        linked, "queue.declare", queue="q", durable=True, arguments=given["arguments"] | {"x-max-age": "24h"}
    )
    assert told == f"inequivalent arg 'x-max-age' {WHERE}: received '24h' but current is '1D'"
    told = refused(linked, "queue.declare", queue="q", durable=True)
    assert told == (
        f"inequivalent arg 'x-max-length-bytes' {WHERE}: received none but current is the value '5' of type 'signedint'"
    )


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_only_a_new_queue_is_refused_for_what_its_type_cannot_be(kind: str) -> None:
    """One that is there has just other properties."""
    linked = Linked()
    arguments = typed(kind)
    assert refused(linked, "queue.declare", queue="q", arguments=arguments) == f"invalid property 'non-durable' {WHERE}"
    linked.client().call("queue.declare", queue="q", durable=True, arguments=arguments)
    assert refused(linked, "queue.declare", queue="q", arguments=arguments) == (
        f"inequivalent arg 'durable' {WHERE}: received 'false' but current is 'true'"
    )
    assert refused(linked, "queue.declare", queue="q", durable=True, auto_delete=True, arguments=arguments) == (
        f"inequivalent arg 'auto_delete' {WHERE}: received 'true' but current is 'false'"
    )


def test_the_limit_of_queues_is_told_before_what_is_wrong_with_one() -> None:
    linked = Linked()
    linked.users.set_vhost_limit("/", "max-queues", 0)
    wrong: dict[str, Any] = {"queue": "q", "arguments": typed("stream", dead_letter_exchange=5, max_age="1")}
    assert refused(linked, "queue.declare", **wrong) == (
        "cannot declare queue 'q': queue limit in vhost '/' (0) is reached"
    )
    linked.users.set_vhost_limit("/", "max-queues", 1)
    assert refused(linked, "queue.declare", **wrong) == (
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    )
    del wrong["arguments"]["x-dead-letter-exchange"]
    assert refused(linked, "queue.declare", **wrong) == f"invalid arg 'x-max-age' {WHERE}: invalid_max_age"
    assert not linked.broker.vhosts["/"].queues


def test_a_permission_is_asked_for_before_arguments_are_looked_at() -> None:
    linked = Linked()
    linked.users.set_permissions("guest", "/", ".*", "^$", ".*")
    client = linked.client()
    client.send(
        "queue.declare", queue="q", durable=True, arguments=typed("stream", dead_letter_exchange="x", max_age="1")
    )
    close = client.expect("channel.close").values
    assert (close["reply_code"], "exchange 'x'" in close["reply_text"]) == (403, True)


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
def test_a_queue_of_any_type_is_deleted_only_if_it_is_unused_and_empty_where_that_is_asked(kind: str) -> None:
    """RabbitMQ closes the connection for a quorum queue, and deletes a stream whatever is in it."""
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True, arguments=typed(kind))
    client.publish("", "q", b"kept")
    linked.settle()
    assert refused(linked, "queue.delete", queue="q", if_empty=True) == "queue 'q' in vhost '/' not empty"
    client.call("basic.qos", prefetch_count=1)
    client.call("basic.consume", queue="q", consumer_tag="c")
    linked.settle()
    assert refused(linked, "queue.delete", queue="q", if_unused=True) == "queue 'q' in vhost '/' in use"
    client.received()
    client.call("basic.cancel", consumer_tag="c")
    client.call("queue.delete", queue="q", if_unused=True)
    assert not linked.broker.vhosts["/"].queues
