"""Streams as clients see them: from declare to delete, without sockets."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.queues.stream.queue import StreamQueue
from amqpd.store.memory import MemoryDisk, MemoryStore
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

REFUSED_CHANNEL = 406
NOT_IMPLEMENTED = 540


def declare(client: LinkedClient, name: str = "s", **arguments: Any) -> dict[str, Any]:
    """``arguments`` without their ``x-`` and with ``_`` for ``-``."""
    table = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
    return client.call("queue.declare", queue=name, durable=True, arguments={"x-queue-type": "stream", **table})


def fill(linked: Linked, count: int = 10, start: int = 0, name: str = "s") -> None:
    """One chunk."""
    client = linked.client()
    for number in range(start, start + count):
        client.publish("", name, b"%d" % number)
    linked.settle()
    client.hang_up()


def filled(count: int = 10, **limits: Any) -> tuple[Linked, LinkedClient]:
    linked = Linked(**limits)
    client = linked.client()
    declare(client)
    fill(linked, count)
    return linked, client


def consume(client: LinkedClient, prefetch: int = 100, on: int = 1, tag: str = "c", **arguments: Any) -> None:
    """``arguments``: as for ``declare``."""
    table = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
    client.call("basic.qos", on, prefetch_count=prefetch)
    client.call("basic.consume", on, queue="s", consumer_tag=tag, arguments=table)
    client.linked.settle()


def came(client: LinkedClient) -> list[int]:
    """The offsets of what came; every body says its own."""
    received = client.received()
    for one in received:
        assert one.name == "basic.deliver"
        assert one.values["redelivered"] is False
        assert one.properties["headers"]["x-stream-offset"] == int(one.body)
    return [int(one.body) for one in received]


def closed(client: LinkedClient, name: str = "channel.close") -> tuple[int, str]:
    values = client.expect(name).values
    return values["reply_code"], values["reply_text"]


def stream(linked: Linked) -> StreamQueue:
    queue = linked.broker.vhosts["/"].queues["s"]
    assert isinstance(queue, StreamQueue)
    return queue


# Publishing


def test_a_confirm_waits_for_the_disk() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    client.publish("", "s", b"0")
    client.publish("", "s", b"1", {"delivery_mode": 2})
    assert client.received() == []
    linked.commit()
    (ack,) = client.received()
    assert (ack.name, ack.values) == ("basic.ack", {"delivery_tag": 2, "multiple": True})


def test_the_count_is_of_all_messages() -> None:
    linked, client = filled()
    consume(client, stream_offset="first")
    client.send("basic.ack", delivery_tag=5, multiple=True)
    client.inbox.clear()
    assert client.call("queue.declare", queue="s", passive=True)["message_count"] == 10
    del linked


def test_a_message_for_several_queues_stays_in_the_stream() -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    client = linked.client()
    declare(client)
    client.call("queue.declare", queue="q", durable=True)
    for queue in ("q", "s"):
        client.call("queue.bind", queue=queue, exchange="amq.fanout")
    client.call("confirm.select")
    for number in range(4):
        client.publish("amq.fanout", "", b"%d" % number, {"delivery_mode": 2})
    linked.commit()
    assert client.names() == ["basic.ack"]
    assert client.taken("q") == [b"0", b"1", b"2", b"3"]
    linked.settle()
    linked.crash()
    linked = Linked(MemoryStore(disk))
    client = linked.client()
    consume(client, stream_offset="first")
    assert came(client) == [0, 1, 2, 3]
    assert client.call("queue.declare", queue="q", passive=True)["message_count"] == 0


def test_a_transaction_comes_with_its_commit() -> None:
    linked, client = filled(0)
    consume(client)
    publisher = linked.client()
    publisher.call("tx.select")
    publisher.publish("", "s", b"no")
    publisher.call("tx.rollback")
    publisher.publish("", "s", b"0")
    publisher.publish("", "s", b"1")
    linked.settle()
    assert came(client) == []
    publisher.call("tx.commit")
    linked.settle()
    assert came(client) == [0, 1]


def test_acknowledgements_of_a_transaction_are_credit_when_it_commits() -> None:
    linked, client = filled()
    client.call("tx.select")
    consume(client, 2, stream_offset="first")
    assert came(client) == [0, 1]
    client.send("basic.ack", delivery_tag=2, multiple=True)
    linked.settle()
    assert came(client) == []
    client.send("tx.rollback")
    client.expect("tx.rollback-ok")
    assert came(client) == []
    client.send("basic.ack", delivery_tag=2, multiple=True)
    client.send("tx.commit")
    client.expect("tx.commit-ok")
    linked.settle()
    assert came(client) == [2, 3]


# Consuming


@pytest.mark.parametrize(
    ("offset", "first"),
    [
        ("first", 0),
        ("last", 0),
        ("next", 10),
        (b"first", 0),
        *[(Typed(kind, 7), 7) for kind in "bBsuIilL"],
        (0, 0),
        (10, 10),
        (11, 11),  # it waits for that one
        (99, 12),
        (Typed("l", 2**63 - 1), 12),
        (-3, 7),
        (Typed("l", -(2**63)), 0),
        (Typed("T", 0), 0),
        (Typed("T", 1000), 0),
        (Typed("T", 1001), 10),
        (Typed("T", 2**64 - 1), 10),
        ("1h", 0),
        ("1Y", 0),
    ],
)
def test_offsets(offset: Any, first: int) -> None:
    linked, client = filled()
    consume(client, stream_offset=offset)
    fill(linked, 2, 10)
    assert came(client) == list(range(first, 12))


def test_without_an_offset_only_what_is_new_comes() -> None:
    linked, client = filled()
    consume(client)
    assert came(client) == []
    fill(linked, 2, 10)
    assert came(client) == [10, 11]


def test_headers_and_properties_of_the_publisher_come_along() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    properties = {
        "content_type": "text/plain",
        "headers": {"a": 1, "z": "last", "x-stream-offset": "mine"},
        "delivery_mode": 1,
        "priority": 3,
        "correlation_id": "id",
        "expiration": "1",
        "message_id": "m",
        "timestamp": 5,
        "app_id": "app",
    }
    client.publish("", "s", b"0", properties)
    client.publish("", "s", b"1", {"message_id": "m"})
    client.publish("", "s", b"")
    linked.settle()
    linked.advance(1000)
    consume(client, stream_offset="first")
    first, second, third = client.received()
    assert first.properties == {**properties, "headers": {"a": 1, "z": "last", "x-stream-offset": 0}}
    assert second.properties == {"message_id": "m", "headers": {"x-stream-offset": 1}}
    assert (third.properties, third.body) == ({"headers": {"x-stream-offset": 2}}, b"")
    assert (first.values["exchange"], first.values["routing_key"], first.values["consumer_tag"]) == ("", "s", "c")


def test_prefetch_is_exact_and_acknowledgements_are_credit() -> None:
    linked, client = filled()
    consume(client, 2, stream_offset="first")
    assert came(client) == [0, 1]
    client.send("basic.ack", delivery_tag=2)
    linked.settle()
    assert came(client) == [2]
    client.send("basic.ack", delivery_tag=0, multiple=True)
    linked.settle()
    assert came(client) == [3, 4]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("basic.reject", {"requeue": True}),
        ("basic.reject", {"requeue": False}),
        ("basic.nack", {"requeue": True}),
        ("basic.nack", {"requeue": False}),
        ("basic.ack", {}),
    ],
)
def test_any_settlement_is_credit_and_nothing_comes_again(name: str, values: dict[str, bool]) -> None:
    linked, client = filled()
    consume(client, 1, stream_offset="first")
    for number in range(10):
        assert came(client) == [number]
        client.send(name, delivery_tag=number + 1, **values)
        linked.settle()
    assert came(client) == []
    assert stream(linked).unacked_count() == 0
    assert stream(linked).message_count() == 10


def test_recover_is_credit_too() -> None:
    linked, client = filled()
    consume(client, 3, stream_offset="first")
    assert came(client) == [0, 1, 2]
    client.send("basic.recover", requeue=True)
    linked.settle()
    client.expect("basic.recover-ok")
    assert came(client) == [3, 4, 5]
    assert stream(linked).unacked_count() == 3


def test_an_unknown_tag_is_refused() -> None:
    linked, client = filled()
    consume(client, 1, stream_offset="first")
    client.inbox.clear()
    client.send("basic.ack", delivery_tag=99)
    assert closed(client) == (406, "PRECONDITION_FAILED - unknown delivery tag 99")
    linked.settle()
    assert stream(linked).unacked_count() == 0


def test_consumers_of_one_stream_are_independent() -> None:
    linked, client = filled()
    other = linked.client(2)
    consume(client, 3, stream_offset="first")
    consume(other, 4, stream_offset=5)
    assert (came(client), came(other)) == ([0, 1, 2], [5, 6, 7, 8])
    consume(other, 100, on=2, tag="d", stream_offset=8)
    assert [(one.channel, int(one.body)) for one in other.received()] == [(2, 8), (2, 9)]
    client.send("channel.close")
    client.expect("channel.close-ok")
    fill(linked, 1, 10)
    assert [(one.channel, int(one.body)) for one in other.received()] == [(2, 10)]
    assert stream(linked).unacked_count() == 7


def test_after_a_cancel_nothing_comes_and_what_came_may_be_acknowledged() -> None:
    linked, client = filled()
    consume(client, 2, stream_offset="first")
    assert came(client) == [0, 1]
    client.call("basic.cancel", consumer_tag="c")
    client.send("basic.ack", delivery_tag=0, multiple=True)
    fill(linked, 1, 10)
    assert client.received() == []
    assert (stream(linked).unacked_count(), stream(linked).consumers()) == (0, [])


@pytest.mark.parametrize("end", ["cancel", "channel", "connection", "delete"])
def test_a_consumer_that_ends_while_its_page_is_read(end: str) -> None:
    linked, client = filled()
    client.call("basic.qos", prefetch_count=5)
    client.call("basic.consume", queue="s", consumer_tag="c", arguments={"x-stream-offset": "first"})
    (request,) = linked.broker.take_page_requests()
    page = request.read(linked.reader)
    assert len(page) == 10
    if end == "cancel":
        client.call("basic.cancel", consumer_tag="c")
    elif end == "channel":
        client.send("channel.close")
    elif end == "connection":
        client.hang_up()
    else:
        linked.client().call("queue.delete", queue="s")
        client.expect("basic.cancel")
    linked.broker.page_loaded(request, page)
    linked.turn()
    linked.settle()
    assert [one for one in client.received() if one.name == "basic.deliver"] == []
    assert linked.broker.shard.window_bytes == 0


def test_flow_holds_deliveries_back() -> None:
    linked, client = filled()
    client.call("channel.flow", active=False)
    consume(client, stream_offset="first")
    assert came(client) == []
    client.send("channel.flow", active=True)
    linked.settle()
    client.expect("channel.flow-ok")
    assert came(client) == list(range(10))


def test_what_is_on_its_way_to_the_disk_does_not_hold_a_consumer_back_for_ever() -> None:
    """A durable declare on the same channel holds its deliveries until it is written."""
    linked, client = filled()
    client.call("basic.qos", prefetch_count=5)
    client.send("basic.consume", queue="s", consumer_tag="c", arguments={"x-stream-offset": "first"})
    client.send("queue.declare", queue="other", durable=True)
    linked.load_pages()
    assert client.names() == ["basic.consume-ok"]
    linked.settle()
    client.expect("queue.declare-ok")
    assert came(client) == [0, 1, 2, 3, 4]


def test_one_that_does_not_read_holds_up_nobody_and_goes_on() -> None:
    linked = Linked(outbox_bytes_max=2000)
    client = linked.client()
    declare(client)
    for _ in range(100):
        client.publish("", "s", b"x" * 500)
    linked.settle()
    lazy, quick = linked.client(), linked.client()
    lazy.reading = False
    for one in (lazy, quick):
        one.send("basic.qos", prefetch_count=1000)
        one.send("basic.consume", queue="s", arguments={"x-stream-offset": "first"})
    linked.settle()
    assert len([one for one in quick.received() if one.name == "basic.deliver"]) == 100
    lazy.read_again()
    linked.settle()
    while linked.load_pages():
        lazy.read_again()
    assert len([one for one in lazy.received() if one.name == "basic.deliver"]) == 100


def test_consumers_of_one_connection_share_what_it_can_read() -> None:
    """Each time the client has read, the first one alone could fill its outbox."""
    linked = Linked(outbox_bytes_max=5_000)
    client = linked.client()
    declare(client)
    for _ in range(300):
        client.publish("", "s", b"x" * 500)
    linked.settle()
    client.reading = False
    client.send("basic.qos", prefetch_count=1000)
    for tag in "abc":
        client.send("basic.consume", queue="s", consumer_tag=tag, arguments={"x-stream-offset": "first"})
    linked.settle()
    counts = {"a": 0, "b": 0, "c": 0}
    for _ in range(30):
        client.reading = True
        client.flush()
        client.reading = False
        linked.turn()
        linked.settle()
        for one in client.received():
            if one.name == "basic.deliver":
                counts[one.values["consumer_tag"]] += 1
    assert sum(counts.values()) < 900
    assert max(counts.values()) < 1.5 * min(counts.values())


# What is refused


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-priority": 1}, "invalid arg 'x-priority' for queue 's' in vhost '/' of queue type rabbit_stream_queue"),
        (
            {"x-stream-offset": "0s"},
            (
                "invalid arg 'x-stream-offset' for queue 's' in vhost '/': "
                '{invalid_stream_offset_arg,{longstr,<<"0s">>}}'
            ),
        ),
        (
            {"x-stream-offset": 1.5},
            "invalid arg 'x-stream-offset' for queue 's' in vhost '/': {invalid_stream_offset_arg,{double,1.5}}",
        ),
        (
            {"x-stream-filter": 5},
            "invalid arg 'x-stream-filter' for queue 's' in vhost '/': expected a string or strings",
        ),
        (
            {"x-stream-filter": "red", "x-stream-match-unfiltered": 1},
            "invalid arg 'x-stream-match-unfiltered' for queue 's' in vhost '/': expected a boolean",
        ),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], text: str) -> None:
    linked, client = filled()
    client.call("basic.qos", prefetch_count=5)
    client.send("basic.consume", queue="s", arguments=arguments)
    assert closed(client) == (REFUSED_CHANNEL, f"PRECONDITION_FAILED - {text}")
    assert stream(linked).consumers() == []


def test_a_prefetch_is_needed() -> None:
    _, client = filled()
    client.send("basic.consume", queue="s")
    assert closed(client) == (
        REFUSED_CHANNEL,
        "PRECONDITION_FAILED - consumer prefetch count is not set for 'queue 's' in vhost '/''",
    )


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("basic.get", {"queue": "s"}, "basic.get not supported by stream queues queue 's' in vhost '/'"),
        (
            "basic.get",
            {"queue": "s", "no_ack": True},
            "basic.get not supported by stream queues queue 's' in vhost '/'",
        ),
        ("queue.purge", {"queue": "s"}, "queue.purge not supported by stream queues queue 's' in vhost '/'"),
        (
            "basic.consume",
            {"queue": "s", "no_ack": True},
            "automatic acknowledgement not supported by stream queues queue 's' in vhost '/'",
        ),
    ],
)
def test_what_a_stream_does_not_do(name: str, values: dict[str, Any], text: str) -> None:
    linked, client = filled()
    client.call("basic.qos", prefetch_count=5)
    client.send(name, **values)
    assert closed(client, "connection.close") == (NOT_IMPLEMENTED, f"NOT_IMPLEMENTED - {text}")
    assert stream(linked).message_count() == 10


def test_a_prefetch_for_the_channel_is_refused() -> None:
    _, client = filled()
    client.call("basic.qos", prefetch_count=5)
    client.call("basic.qos", prefetch_count=5, global_=True)
    client.send("basic.consume", queue="s")
    assert closed(client, "connection.close") == (
        NOT_IMPLEMENTED,
        "NOT_IMPLEMENTED - queue 's' in vhost '/' does not support global qos",
    )


# Filter


def test_a_filter_chooses_messages() -> None:
    linked = Linked()
    client = linked.client()
    declare(client)
    for number, value in enumerate(["red", "blue", None, "red", "green"]):
        client.publish("", "s", b"%d" % number, {"headers": {"x-stream-filter-value": value}} if value else b"\0\0")
    linked.settle()
    for wanted, arguments in (
        ([0, 3], {"stream_filter": "red"}),
        ([0, 1, 3], {"stream_filter": ["red", "blue"]}),
        ([0, 2, 3], {"stream_filter": "red", "stream_match_unfiltered": True}),
        ([2, 4], {"stream_filter": "green", "stream_match_unfiltered": True}),
        ([0, 1, 2, 3, 4], {}),
    ):
        reader = linked.client()
        consume(reader, 3 if len(wanted) < 4 else 5, stream_offset="first", **arguments)
        assert came(reader) == wanted


# Delete


def test_a_deleted_stream_cancels_its_consumers() -> None:
    linked, client = filled()
    consume(client, 5, stream_offset="first")
    assert came(client) == [0, 1, 2, 3, 4]
    linked.client().call("queue.delete", queue="s")
    assert client.expect("basic.cancel").values["consumer_tag"] == "c"
    client.send("basic.ack", delivery_tag=0, multiple=True)
    linked.settle()
    assert client.received() == []
    assert linked.broker.shard.window_bytes == 0
    again = declare(client)
    assert again["message_count"] == 0
    consume(client, 5, tag="again", stream_offset="first")
    fill(linked, 2)
    assert came(client) == [0, 1]


# Restart


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_goes_on_with_the_next_offset(clean: bool) -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    client = linked.client()
    declare(client, max_age="1h")
    fill(linked, 5)
    fill(linked, 5, 5)
    consume(client, 3, stream_offset="first")
    client.publish("", "s", b"lost" if not clean else b"10")
    if clean:
        linked.stop()
    else:
        linked.crash()
    linked = Linked(MemoryStore(disk), now=linked.broker.now + 1000)
    client = linked.client()
    consume(client, 100, stream_offset=4)
    count = 11 if clean else 10
    assert came(client) == list(range(4, count))
    fill(linked, 2, count)
    assert came(client) == [count, count + 1]
    linked.advance(3_600_000)
    linked.settle()
    assert client.call("queue.declare", queue="s", passive=True)["message_count"] == 2
