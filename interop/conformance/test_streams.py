"""Streams as queues: declaring, publishing to them, deleting (behaviour 2.3)."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import Connect, DeclareStream, Names
from .headers import number, typed_headers
from .streams import OFFSET, STREAM, consume, numbers, offset, publish

differs = pytest.mark.differs

STATISTICS = 30.0  # how long the count may take; RabbitMQ renews it every few seconds


# Declaring


@pytest.mark.parametrize(
    "arguments",
    [
        *[{"x-max-age": age} for age in ("1Y", "1M", "1D", "1h", "1m", "1s", "007D", "99999999999D")],
        {"x-max-length-bytes": 0},
        {"x-max-length-bytes": 2**62},
        {"x-stream-max-segment-size-bytes": 0},
        {"x-stream-max-segment-size-bytes": 3_000_000_000},
        {"x-max-length-bytes": 100, "x-stream-max-segment-size-bytes": 1000},
        {"x-stream-filter-size-bytes": 16},
        {"x-stream-filter-size-bytes": 255},
        {"x-initial-cluster-size": 1},
        {"x-quorum-target-group-size": 1},
        {"x-queue-leader-locator": "client-local"},
        {"x-queue-leader-locator": "balanced"},
        {"x-foo": "bar"},
    ],
    ids=str,
)
def test_what_a_stream_takes(channel: Channel, new_stream: DeclareStream, arguments: dict[str, Any]) -> None:
    stream = new_stream(**arguments)
    channel.call("queue.declare", queue=stream, durable=True, arguments={**STREAM, **arguments})


OF_OTHERS: list[tuple[str, Any]] = [
    ("x-expires", 60000),
    ("x-message-ttl", 60000),
    ("x-dead-letter-exchange", "x"),
    ("x-dead-letter-routing-key", "k"),
    ("x-dead-letter-strategy", "at-most-once"),
    ("x-max-length", 5),
    ("x-max-in-memory-length", 5),
    ("x-max-in-memory-bytes", 5),
    ("x-max-priority", 5),
    ("x-overflow", "drop-head"),
    ("x-queue-mode", "lazy"),
    ("x-queue-version", 2),
    ("x-single-active-consumer", True),
    ("x-queue-master-locator", "client-local"),
    ("x-delivery-limit", 3),
    ("x-quorum-initial-group-size", 1),
]


@pytest.mark.parametrize(("key", "value"), OF_OTHERS, ids=lambda value: str(value))
def test_what_a_stream_does_not_take_is_refused(
    channel: Channel, vhost: str, name: Names, key: str, value: object
) -> None:
    stream = name("s")
    text = f"invalid arg '{key}' for queue '{stream}' in vhost '{vhost}' of queue type rabbit_stream_queue"
    channel.refused(406, text, "queue.declare", queue=stream, durable=True, arguments={**STREAM, key: value})


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        *[
            ("x-max-age", age, "invalid_max_age")
            for age in ("1", "0s", "1x", "1d", "1y", "1H", "1S", "1.5D", "1D ", "1 D", "1DD", "1D1h")
        ],
        *[
            pytest.param("x-max-age", age, "invalid_max_age", marks=differs(facts.STREAM_TEXTS))
            for age in ("", "D", "-1D", "+1D", " 1D", "long")
        ],
        ("x-max-age", 5, "{unacceptable_type,signedint}"),
        ("x-max-age", True, "{unacceptable_type,bool}"),
        ("x-max-age", Typed("T", 5), "{unacceptable_type,timestamp}"),
        ("x-max-length-bytes", -1, "{value_negative,-1}"),
        ("x-max-length-bytes", "1000", '"expected integer, got longstr"'),
        ("x-stream-max-segment-size-bytes", -1, "{value_negative,-1}"),
        ("x-stream-max-segment-size-bytes", "1000", '"expected integer, got longstr"'),
        ("x-stream-max-segment-size-bytes", 1.5, '"expected integer, got double"'),
        pytest.param("x-stream-filter-size-bytes", -1, "{value_negative,-1}", marks=differs(facts.STREAM_FILTER)),
        ("x-initial-cluster-size", 0, "{value_zero,0}"),
        ("x-initial-cluster-size", -1, "{value_negative,-1}"),
        ("x-initial-cluster-size", "1", '"expected integer, got longstr"'),
        ("x-queue-leader-locator", "nosuch", "invalid_queue_locator_arg"),
        ("x-queue-leader-locator", 1, "{unacceptable_type,signedint}"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused(channel: Channel, vhost: str, name: Names, key: str, value: object, fault: str) -> None:
    stream = name("s")
    text = f"invalid arg '{key}' for queue '{stream}' in vhost '{vhost}': {fault}"
    channel.refused(406, text, "queue.declare", queue=stream, durable=True, arguments={**STREAM, key: value})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "x-stream-max-segment-size-bytes",
            3_000_000_001,
            "Exceeded max value for x-stream-max-segment-size-bytes",
        ),
        pytest.param(
            "x-stream-filter-size-bytes",
            15,
            "Invalid value for  x-stream-filter-size-bytes",
            marks=differs(facts.STREAM_FILTER),
        ),
        pytest.param(
            "x-stream-filter-size-bytes",
            256,
            "Invalid value for  x-stream-filter-size-bytes",
            marks=differs(facts.STREAM_FILTER),
        ),
    ],
)
def test_a_size_out_of_its_limits_is_refused(channel: Channel, name: Names, key: str, value: int, text: str) -> None:
    table = {**STREAM, key: value}
    channel.refused(406, text, "queue.declare", queue=name("s"), durable=True, arguments=table)


@pytest.mark.parametrize(
    ("flags", "arguments", "text"),
    [
        ({}, {"x-max-age": "1"}, "invalid arg 'x-max-age' for {q}: invalid_max_age"),
        (
            {"durable": True},
            {"x-message-ttl": 1, "x-max-age": "1"},
            "invalid arg 'x-max-age' for {q}: invalid_max_age",
        ),
        (
            {"durable": True},
            {"x-max-age": "1", "x-max-length-bytes": -1},
            "invalid arg 'x-max-length-bytes' for {q}: {{value_negative,-1}}",
        ),
        ({}, {"x-message-ttl": 1}, "invalid arg 'x-message-ttl' for {q} of queue type rabbit_stream_queue"),
        ({}, {"x-stream-max-segment-size-bytes": 3_000_000_001}, "invalid property 'non-durable' for {q}"),
        ({"exclusive": True}, {}, "invalid property 'exclusive-owner' for {q}"),
        ({"exclusive": True, "auto_delete": True}, {}, "invalid property 'auto-delete' for {q}"),
    ],
    ids=str,
)
def test_of_several_faults_this_one_is_told(
    channel: Channel, vhost: str, name: Names, flags: dict[str, bool], arguments: dict[str, Any], text: str
) -> None:
    stream = name("s")
    full = text.format(q=f"queue '{stream}' in vhost '{vhost}'")
    channel.refused(406, full, "queue.declare", queue=stream, arguments={**STREAM, **arguments}, **flags)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"x-max-age": "1D"}, {"x-max-age": "24h"}, "'x-max-age' {q}: received '24h' but current is '1D'"),
        (
            {"x-max-age": "1D"},
            {},
            "'x-max-age' {q}: received none but current is the value '1D' of type 'longstr'",
        ),
        (
            {},
            {"x-max-age": "1"},
            "'x-max-age' {q}: received the value '1' of type 'longstr' but current is none",
        ),
        (
            {"x-max-length-bytes": 10},
            {"x-max-length-bytes": 20},
            "'x-max-length-bytes' {q}: received '20' but current is '10'",
        ),
        (
            {},
            {"x-stream-max-segment-size-bytes": 3_000_000_001},
            "'x-stream-max-segment-size-bytes' {q}: received the value '3000000001' of type 'long' but current is none",
        ),
        (
            {"x-initial-cluster-size": 1},
            {"x-initial-cluster-size": 2},
            "'x-initial-cluster-size' {q}: received '2' but current is '1'",
        ),
        (
            {"x-queue-leader-locator": "balanced"},
            {"x-queue-leader-locator": "client-local"},
            "'x-queue-leader-locator' {q}: received 'client-local' but current is 'balanced'",
        ),
        ({}, {"x-queue-type": "quorum"}, "'x-queue-type' {q}: received 'quorum' but current is 'stream'"),
    ],
    ids=str,
)
def test_declaring_again_with_another_argument_is_refused(
    channel: Channel,
    vhost: str,
    new_stream: DeclareStream,
    first: dict[str, Any],
    second: dict[str, Any],
    text: str,
) -> None:
    stream = new_stream(**first)
    full = "inequivalent arg " + text.format(q=f"for queue '{stream}' in vhost '{vhost}'")
    channel.refused(406, full, "queue.declare", queue=stream, durable=True, arguments={**STREAM, **second})


@pytest.mark.parametrize(("key", "value"), [*OF_OTHERS, ("x-stream-filter-size-bytes", 32), ("x-foo", 1)], ids=str)
def test_declaring_again_does_not_look_at_other_arguments(
    channel: Channel, new_stream: DeclareStream, key: str, value: object
) -> None:
    stream = new_stream()
    channel.call("queue.declare", queue=stream, durable=True, arguments={**STREAM, key: value})


def test_passive_declare_does_not_look_at_arguments(channel: Channel, new_stream: DeclareStream) -> None:
    stream = new_stream()
    channel.call("queue.declare", queue=stream, passive=True, arguments={"x-max-age": "1", "x-queue-type": "quorum"})


def test_declare_ok_counts_all_messages_whatever_was_acknowledged(
    unrecorded: Callable[[str], None], channel: Channel, stream: str
) -> None:
    unrecorded("it asks until the count is there")
    consume(channel, stream)
    channel.bodies(10)
    channel.send("basic.ack", delivery_tag=0, multiple=True)
    other = channel.client.channel()
    deadline = time.monotonic() + STATISTICS
    while other.count(stream)[0] != 10:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@differs(facts.STREAM_COUNTS)
def test_counts_are_right_at_once(channel: Channel, stream: str) -> None:
    consume(channel, stream, where="next")
    assert channel.count(stream) == (10, 1)
    assert channel.call("queue.delete", queue=stream)["message_count"] == 10


# Publishing


@pytest.mark.parametrize(
    ("exchange", "binding", "key", "headers"),
    [
        ("amq.direct", {"routing_key": "{}"}, "{}", {}),
        ("amq.topic", {"routing_key": "{}.#"}, "{}.a.b", {}),
        ("amq.headers", {"arguments": {"x-match": "all", "for": "{}"}}, "", {"for": "{}"}),
    ],
)
def test_every_exchange_routes_to_a_stream(
    channel: Channel,
    publisher: Channel,
    new_stream: DeclareStream,
    exchange: str,
    binding: dict[str, Any],
    key: str,
    headers: dict[str, str],
) -> None:
    stream = new_stream()
    values = {name: filled(value, stream) for name, value in binding.items()}
    channel.call("queue.bind", queue=stream, exchange=exchange, **values)
    publish(publisher, key.format(stream), b"x", exchange=exchange, headers=filled(headers, stream))
    consume(channel, stream)
    message = channel.message()
    assert (message.method["exchange"], message.method["routing_key"]) == (exchange, key.format(stream))
    channel.call("queue.unbind", queue=stream, exchange=exchange, **values)
    publish(publisher, key.format(stream), b"x", exchange=exchange, headers=filled(headers, stream))
    channel.expect_nothing()


def filled(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, text) for key, inner in value.items()}
    return value.format(text)


def test_a_copy_by_bcc_has_the_key_that_it_was_published_with(
    channel: Channel, publisher: Channel, new_stream: DeclareStream
) -> None:
    stream = new_stream()
    publish(publisher, stream + "-nowhere", b"x", headers={"BCC": [stream]})
    consume(channel, stream)
    assert channel.message().method["routing_key"] == stream + "-nowhere"


def test_properties_and_headers_come_out_as_they_went_in(
    channel: Channel, publisher: Channel, new_stream: DeclareStream
) -> None:
    stream = new_stream()
    properties: dict[str, Any] = {
        "content_type": "t",
        "content_encoding": "e",
        "headers": {
            "b": Typed("b", -1),
            "d": 1.5,
            "i": Typed("I", 5),
            "l": Typed("l", 2**40),
            "s": "text",
            "t": True,
            "v": None,
            "x": b"\xff",
            "x-y": "z",
        },
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": 5,
        "type": "ty",
        "user_id": publisher.client.target.user,
        "app_id": "a",
    }
    publish(publisher, stream, b"x", **properties)
    consume(channel, stream)
    message = channel.message()
    headers = {**properties["headers"], "b": -1, "i": 5, "l": 2**40, OFFSET: 0}
    assert message.properties == {**properties, "headers": headers}


@differs(facts.STREAM_HEADERS)
def test_arrays_and_tables_and_the_cluster_id_come_out_as_they_went_in(
    channel: Channel, publisher: Channel, new_stream: DeclareStream
) -> None:
    stream = new_stream()
    headers = {"array": ["a", 1], "table": {"a": 1}, "x-death": [{"count": 1}]}
    publish(publisher, stream, b"x", headers=headers, cluster_id="c")
    consume(channel, stream)
    assert channel.message().properties == {"headers": {**headers, OFFSET: 0}, "cluster_id": "c"}


@differs(facts.STREAM_HEADERS)
def test_a_decimal_may_be_in_a_header(publisher: Channel, new_stream: DeclareStream) -> None:
    publish(publisher, new_stream(), b"x", headers={"decimal": Typed("D", (1, 5))})


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"a": 1}, {"z": 1}, {OFFSET: "mine"}, {"a": 1, OFFSET: Typed("l", 77), "z": 2}],
    ids=str,
)
def test_a_delivery_has_its_offset_among_its_headers(
    channel: Channel, publisher: Channel, new_stream: DeclareStream, headers: dict[str, Any] | None
) -> None:
    stream = new_stream()
    properties: dict[str, Any] = {} if headers is None else {"headers": headers}
    publish(publisher, stream, b"0", b"1", **properties)
    consume(channel, stream)
    for expected in (0, 1):
        message = channel.message()
        assert typed_headers(message)[OFFSET] == number(expected)
        own = {key: value for key, value in (headers or {}).items() if key != OFFSET}
        assert message.headers == {**own, OFFSET: expected}


def test_expiration_priority_and_delivery_mode_change_nothing(
    channel: Channel, publisher: Channel, new_stream: DeclareStream
) -> None:
    stream = new_stream()
    publish(publisher, stream, b"0", delivery_mode=1, expiration="1")
    publish(publisher, stream, b"1", delivery_mode=2, priority=0)
    publish(publisher, stream, b"2", expiration="0", priority=9)
    time.sleep(0.05)
    consume(channel, stream)
    assert channel.bodies(3) == numbers(0, 3)


@pytest.mark.parametrize("size", [0, 300_000])
def test_bodies_of_any_size(channel: Channel, publisher: Channel, new_stream: DeclareStream, size: int) -> None:
    stream = new_stream()
    publish(publisher, stream, b"x" * size)
    consume(channel, stream)
    assert channel.bodies(1) == [b"x" * size]


def test_what_a_stream_takes_is_not_returned(publisher: Channel, new_stream: DeclareStream) -> None:
    publisher.publish("", new_stream(), b"x", mandatory=True)
    publisher.expect("basic.ack")
    publisher.expect_nothing()


def test_a_transaction_comes_with_its_commit(channel: Channel, other: Channel, new_stream: DeclareStream) -> None:
    stream = new_stream()
    consume(channel, stream)
    other.call("tx.select")
    for body in numbers(0, 2):
        other.publish("", stream, body)
    channel.expect_nothing()
    other.call("tx.commit")
    assert channel.bodies(2) == numbers(0, 2)
    other.publish("", stream, b"x")
    other.call("tx.rollback")
    channel.expect_nothing()


@differs(facts.STREAM_DEAD_LETTERS)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"x-message-ttl": 1}, "expired"), ({"x-max-length": 0}, "maxlen"), ({}, "rejected")],
)
def test_dead_letters_go_to_a_stream(
    channel: Channel,
    publisher: Channel,
    new_stream: DeclareStream,
    name: Names,
    arguments: dict[str, Any],
    reason: str,
) -> None:
    stream, queue, beside, exchange = new_stream(), name("q"), name("beside"), name("e")
    channel.call("exchange.declare", exchange=exchange, type="fanout")
    channel.call("queue.declare", queue=beside)
    for target in (stream, beside):
        channel.call("queue.bind", queue=target, exchange=exchange)
    channel.call("queue.declare", queue=queue, arguments={"x-dead-letter-exchange": exchange, **arguments})
    publish(publisher, queue, b"x")
    if reason == "rejected":
        message = channel.get(queue, no_ack=False)
        assert message is not None
        channel.send("basic.reject", delivery_tag=message.tag)
    channel.call("basic.consume", queue=beside)
    assert channel.bodies(1) == [b"x"]
    publish(publisher, stream, b"later")
    reader = channel.client.channel()
    consume(reader, stream)
    message = reader.message()
    assert (message.body, message.headers.get("x-first-death-reason"), offset(message)) == (b"x", reason, 0)


# Getting, purging, deleting


@pytest.mark.parametrize("method", ["basic.get", "queue.purge"])
@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_get_and_purge_are_refused(
    channel: Channel, publisher: Channel, vhost: str, new_stream: DeclareStream, method: str, full: bool
) -> None:
    stream = new_stream()
    if full:
        publish(publisher, stream, b"x")
    text = f"{method} not supported by stream queues queue '{stream}' in vhost '{vhost}'"
    channel.fatal(540, text, method, queue=stream)


def test_deleting_a_stream_cancels_its_consumers(
    channel: Channel, other: Channel, connect: Connect, stream: str, vhost: str
) -> None:
    deaf = connect(capabilities={}).channel()
    for on in (channel, deaf):
        consume(on, stream)
        on.bodies(10)
    other.send("queue.delete", queue=stream, no_wait=True)
    assert channel.expect("basic.cancel") == {"consumer_tag": "t", "no_wait": True}
    for on in (channel, deaf):
        on.send("basic.ack", delivery_tag=0, multiple=True)
        on.expect_nothing()
    text = f"no queue '{stream}' in vhost '{vhost}'"
    other.refused(404, text, "queue.declare", queue=stream, passive=True)


@differs(facts.STREAM_DELETE)
@pytest.mark.parametrize(
    ("flag", "text"),
    [("if_unused", "queue '{}' in vhost '{}' in use"), ("if_empty", "queue '{}' in vhost '{}' not empty")],
)
def test_delete_heeds_its_conditions(channel: Channel, stream: str, vhost: str, flag: str, text: str) -> None:
    consume(channel, stream, where="next")
    channel.refused(406, text.format(stream, vhost), "queue.delete", queue=stream, **{flag: True})


def test_a_stream_of_the_same_name_begins_anew(channel: Channel, publisher: Channel, stream: str) -> None:
    channel.send("queue.delete", queue=stream, no_wait=True)
    channel.call("queue.declare", queue=stream, durable=True, arguments=STREAM)
    publish(publisher, stream, b"x")
    consume(channel, stream)
    message = channel.message()
    assert (message.body, offset(message)) == (b"x", 0)
