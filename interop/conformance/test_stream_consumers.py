"""Consumers of streams: where they begin, what they get when, what they may say (behaviour 2.3)."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import Connect, DeclareStream, Names
from .streams import ENOUGH, FIRST, OFFSET, consume, numbers, offset, publish

differs = pytest.mark.differs


# Where a consumer begins


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ({}, 10),
        ({OFFSET: "first"}, 0),
        ({OFFSET: "last"}, 9),
        ({OFFSET: "next"}, 10),
        ({OFFSET: b"last"}, 9),
        ({OFFSET: 0}, 0),
        *[({OFFSET: Typed(letter, 3)}, 3) for letter in "bBsuIil"],
        ({OFFSET: 9}, 9),
        ({OFFSET: 10}, 10),
        ({OFFSET: 12}, 12),
        ({OFFSET: 2**62}, 14),
        pytest.param({OFFSET: -3}, 7, marks=differs(facts.STREAM_BACK)),
        ({OFFSET: -100}, 0),
        ({OFFSET: Typed("T", 0)}, 0),
        ({OFFSET: Typed("T", 2**33)}, 10),
        *[({OFFSET: age}, 0) for age in ("1Y", "1M", "1D", "1h", "1m", "10s", "0099999999Y")],
        ({"x-foo": 1, OFFSET: "last"}, 9),
    ],
    ids=str,
)
def test_a_consumer_begins_where_it_says(
    channel: Channel, publisher: Channel, stream: str, arguments: dict[str, Any], first: int
) -> None:
    channel.call("basic.qos", prefetch_count=ENOUGH)
    channel.call("basic.consume", queue=stream, arguments=arguments)
    came = [channel.message() for _ in range(first, 10)]
    publish(publisher, stream, *numbers(10, 14))
    came += [channel.message() for _ in range(max(first, 10), 14)]
    assert [message.body for message in came] == numbers(first, 14)
    assert [offset(message) for message in came] == list(range(first, 14))
    channel.expect_nothing()


@pytest.mark.parametrize(
    ("where", "first"),
    [
        *[(where, 0) for where in ("first", "last", "next", 0, -1, "1h", Typed("T", 0), Typed("T", 2**33))],
        (2, 2),
    ],
    ids=str,
)
def test_a_consumer_of_an_empty_stream_begins_with_what_comes(
    channel: Channel, publisher: Channel, new_stream: DeclareStream, where: object, first: int
) -> None:
    stream = new_stream()
    consume(channel, stream, where=where)
    channel.expect_nothing()
    publish(publisher, stream, *numbers(0, 4))
    assert channel.bodies(4 - first) == numbers(first, 4)
    channel.expect_nothing()


def test_a_time_is_that_of_the_first_message_not_older(
    unrecorded: Callable[[str], None], channel: Channel, publisher: Channel, new_stream: DeclareStream
) -> None:
    unrecorded("it sends the time")
    stream = new_stream()
    publish(publisher, stream, b"0")
    between = int(time.time()) + 1
    time.sleep(between + 0.3 - time.time())
    publish(publisher, stream, b"1", b"2")
    for where, bodies in ((between, [b"1", b"2"]), (between - 60, [b"0", b"1", b"2"])):
        reader = channel.client.channel()
        consume(reader, stream, where=Typed("T", where))
        assert reader.bodies(len(bodies)) == bodies
        reader.close()
    time.sleep(1.1)
    consume(channel, stream, where="1s")
    publish(publisher, stream, b"3")
    assert channel.bodies(1) == [b"3"]


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        *[(text, f'{{longstr,<<"{text}">>}}') for text in ("1", "5", "0s", "1x", "1d", "1D ")],
        pytest.param("", "{longstr,<<>>}", marks=differs(facts.STREAM_TEXTS)),
        *[
            pytest.param(text, f'{{longstr,<<"{text}">>}}', marks=differs(facts.STREAM_TEXTS))
            for text in ("First", "soon", "-1h")
        ],
        pytest.param(True, "{bool,true}", marks=differs(facts.STREAM_TEXTS)),
        pytest.param(1.5, "{double,1.5}", marks=differs(facts.STREAM_TEXTS)),
    ],
)
def test_a_bad_offset_is_refused(channel: Channel, vhost: str, stream: str, where: object, shown: str) -> None:
    channel.call("basic.qos", prefetch_count=1)
    text = f"invalid arg '{OFFSET}' for queue '{stream}' in vhost '{vhost}': {{invalid_stream_offset_arg,{shown}}}"
    channel.refused(406, text, "basic.consume", queue=stream, arguments={OFFSET: where})


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_other_queues_know_no_offset(channel: Channel, vhost: str, name: Names, kind: str) -> None:
    queue = name("q")
    channel.call("queue.declare", queue=queue, durable=True, arguments={"x-queue-type": kind})
    text = f"invalid arg '{OFFSET}' for queue '{queue}' in vhost '{vhost}' of queue type rabbit_{kind}_queue"
    channel.refused(406, text, "basic.consume", queue=queue, arguments=FIRST)


# Consuming


NO_PREFETCH = "consumer prefetch count is not set for '{q}'"
NO_ACK = "automatic acknowledgement not supported by stream queues {q}"
BAD_OFFSET = f"invalid arg '{OFFSET}' for {{q}}: {{{{invalid_stream_offset_arg,{{{{longstr,<<\"1\">>}}}}}}}}"
PRIORITY = "invalid arg 'x-priority' for {q} of queue type rabbit_stream_queue"


@pytest.mark.parametrize(
    ("prefetch", "values", "text"),
    [
        ([], {}, NO_PREFETCH),
        ([(5, True)], {}, NO_PREFETCH),
        ([], {"no_ack": True}, NO_PREFETCH),
        ([(5, False)], {"arguments": {"x-priority": 5}}, PRIORITY),
        ([(5, False)], {"arguments": {"x-priority": "high"}}, PRIORITY),
        ([], {"arguments": {"x-priority": 5}}, PRIORITY),
        ([], {"arguments": {OFFSET: "1"}}, BAD_OFFSET),
        ([(5, False)], {"no_ack": True, "arguments": {OFFSET: "1"}}, BAD_OFFSET),
        ([], {"arguments": {OFFSET: "1", "x-priority": 5}}, BAD_OFFSET),
    ],
    ids=str,
)
def test_a_consumer_without_room_for_messages_or_with_a_priority_is_refused(
    channel: Channel, vhost: str, stream: str, prefetch: list[tuple[int, bool]], values: dict[str, Any], text: str
) -> None:
    for count, global_ in prefetch:
        channel.call("basic.qos", prefetch_count=count, global_=global_)
    full = text.format(q=f"queue '{stream}' in vhost '{vhost}'")
    channel.refused(406, full, "basic.consume", queue=stream, **values)


@pytest.mark.parametrize(
    ("global_", "no_ack", "text"),
    [
        (False, True, NO_ACK),
        (True, True, NO_ACK),
        (True, False, "{q} does not support global qos"),
    ],
)
def test_a_consumer_that_does_not_acknowledge_or_shares_a_limit_is_refused(
    channel: Channel, vhost: str, stream: str, global_: bool, no_ack: bool, text: str
) -> None:
    channel.call("basic.qos", prefetch_count=5)
    if global_:
        channel.call("basic.qos", prefetch_count=5, global_=True)
    full = text.format(q=f"queue '{stream}' in vhost '{vhost}'")
    channel.fatal(540, full, "basic.consume", queue=stream, no_ack=no_ack)


def test_a_limit_of_the_channel_may_come_later_or_have_been(channel: Channel, stream: str) -> None:
    channel.call("basic.qos", prefetch_count=5, global_=True)
    channel.call("basic.qos", prefetch_count=0, global_=True)
    consume(channel, stream, prefetch=2)
    assert channel.bodies(2) == numbers(0, 2)
    channel.call("basic.qos", prefetch_count=50, global_=True)
    channel.send("basic.ack", delivery_tag=1)
    assert channel.bodies(1) == [b"2"]


def test_every_consumer_reads_for_itself(channel: Channel, other: Channel, publisher: Channel, stream: str) -> None:
    consume(channel, stream)
    assert channel.bodies(10) == numbers(0, 10)
    channel.send("basic.ack", delivery_tag=10, multiple=True)
    beside = channel.client.channel()
    consume(beside, stream, where=8)
    assert beside.bodies(2) == numbers(8, 10)
    consume(other, stream)
    messages = [other.message() for _ in range(10)]
    assert [message.body for message in messages] == numbers(0, 10)
    assert {message.method["redelivered"] for message in messages} == {False}
    publish(publisher, stream, b"10")
    for reader in (channel, beside, other):
        assert reader.bodies(1) == [b"10"]


def test_consumers_of_one_channel_read_for_themselves(channel: Channel, stream: str) -> None:
    consume(channel, stream, where=5, tag="a")
    assert channel.bodies(5) == numbers(5, 10)
    consume(channel, stream, where=8, tag="b")
    messages = [channel.message() for _ in range(2)]
    assert [(message.body, message.method["consumer_tag"], message.tag) for message in messages] == [
        (b"8", "b", 6),
        (b"9", "b", 7),
    ]


def test_exclusive_means_nothing(channel: Channel, other: Channel, stream: str) -> None:
    for on in (channel, other):
        on.call("basic.qos", prefetch_count=ENOUGH)
        on.call("basic.consume", queue=stream, exclusive=True, arguments=FIRST)
        assert on.bodies(10) == numbers(0, 10)


def test_consume_without_an_answer(channel: Channel, stream: str) -> None:
    channel.call("basic.qos", prefetch_count=ENOUGH)
    channel.send("basic.consume", queue=stream, consumer_tag="t", no_wait=True, arguments=FIRST)
    assert channel.bodies(10) == numbers(0, 10)


# Prefetch and acknowledgements


def test_acknowledgements_make_room_in_any_order(channel: Channel, stream: str) -> None:
    consume(channel, stream, prefetch=2)
    assert channel.bodies(2) == numbers(0, 2)
    channel.expect_nothing()
    for tag, multiple, bodies in (
        (2, False, [b"2"]),
        (1, False, [b"3"]),
        (4, True, [b"4", b"5"]),
        (0, True, [b"6", b"7"]),
    ):
        channel.send("basic.ack", delivery_tag=tag, multiple=multiple)
        assert channel.bodies(len(bodies)) == bodies
        channel.expect_nothing()


def test_new_messages_wait_for_room(channel: Channel, publisher: Channel, stream: str) -> None:
    consume(channel, stream, prefetch=1, where="last")
    publish(publisher, stream, b"10", b"11")
    assert channel.bodies(1) == [b"9"]
    channel.expect_nothing()
    for tag in (1, 2):
        channel.send("basic.ack", delivery_tag=tag)
        assert channel.bodies(1) == [b"%d" % (tag + 9)]


def test_a_new_prefetch_count_is_for_new_consumers(channel: Channel, stream: str) -> None:
    consume(channel, stream, prefetch=1)
    assert channel.bodies(1) == [b"0"]
    channel.call("basic.qos", prefetch_count=5)
    channel.expect_nothing()
    channel.send("basic.ack", delivery_tag=1)
    assert channel.bodies(1) == [b"1"]
    channel.expect_nothing()


@differs(facts.STREAM_PREFETCH)
def test_prefetch_is_a_limit_within_a_chunk_too(channel: Channel, other: Channel, new_stream: DeclareStream) -> None:
    stream = new_stream()
    other.call("tx.select")
    for body in numbers(0, 50):
        other.publish("", stream, body)
    other.call("tx.commit")
    consume(channel, stream, prefetch=1)
    assert channel.bodies(1) == [b"0"]
    channel.expect_nothing()


def test_a_tag_can_be_acknowledged_once(channel: Channel, stream: str) -> None:
    consume(channel, stream)
    channel.bodies(10)
    channel.send("basic.ack", delivery_tag=1)
    channel.send("basic.ack", delivery_tag=1)
    channel.expect_close(406, "unknown delivery tag 1", "basic.ack")


@differs(facts.STREAM_GIVE_BACK)
@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("basic.reject", {"requeue": False}),
        ("basic.reject", {"requeue": True}),
        ("basic.nack", {"requeue": False}),
        ("basic.nack", {"requeue": True}),
    ],
    ids=str,
)
def test_giving_back_makes_room_and_brings_nothing_again(
    channel: Channel, stream: str, method: str, values: dict[str, bool]
) -> None:
    consume(channel, stream, prefetch=2)
    channel.bodies(2)
    channel.send(method, delivery_tag=1, **values)
    message = channel.message()
    assert (message.body, message.method["redelivered"]) == (b"2", False)
    channel.expect_nothing()


@differs(facts.STREAM_GIVE_BACK)
def test_recover_makes_room_and_brings_nothing_again(channel: Channel, stream: str) -> None:
    consume(channel, stream, prefetch=2)
    channel.bodies(2)
    channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    assert channel.bodies(2) == numbers(2, 4)
    channel.call("basic.recover", requeue=True)
    assert channel.bodies(2) == numbers(4, 6)
    channel.expect_nothing()


def test_acknowledgements_of_a_transaction_make_room_when_it_is_committed(
    unrecorded: Callable[[str], None], channel: Channel, stream: str
) -> None:
    unrecorded("what the commit brings may come before or after commit-ok")
    channel.call("tx.select")
    consume(channel, stream, prefetch=1)
    assert channel.bodies(1) == [b"0"]
    channel.send("basic.ack", delivery_tag=1)
    channel.expect_nothing()
    channel.send("tx.commit")
    came = channel.client.next_frame(channel.number)
    if came.describe().startswith("tx.commit-ok"):
        assert channel.bodies(1) == [b"1"]
    else:
        channel.client.put_back(came)
        assert channel.bodies(1) == [b"1"]
        channel.expect("tx.commit-ok")


def test_a_cancelled_consumer_may_still_acknowledge(channel: Channel, stream: str) -> None:
    consume(channel, stream, prefetch=2)
    assert channel.bodies(2) == numbers(0, 2)
    channel.call("basic.cancel", consumer_tag="t")
    channel.send("basic.ack", delivery_tag=2, multiple=True)
    channel.expect_nothing()
    consume(channel, stream, prefetch=2, where=1)
    assert channel.bodies(2) == numbers(1, 3)
    channel.expect_nothing()


@pytest.mark.parametrize("whole", [False, True], ids=["channel", "connection"])
def test_nothing_comes_again_after_the_end_of_a_channel_or_connection(
    channel: Channel, connect: Connect, stream: str, whole: bool
) -> None:
    first = connect()
    consume(one := first.channel(), stream, prefetch=3)
    assert one.bodies(3) == numbers(0, 3)
    if whole:
        first.hang_up()
    else:
        one.close()
    consume(channel, stream, prefetch=3)
    messages = [channel.message() for _ in range(3)]
    assert [(message.body, message.method["redelivered"]) for message in messages] == [
        (body, False) for body in numbers(0, 3)
    ]


# Filters


@differs(facts.STREAM_FILTER)
@pytest.mark.parametrize(
    ("arguments", "bodies"),
    [
        ({"x-stream-filter": "a"}, [b"a0", b"a1"]),
        ({"x-stream-filter": ["a"]}, [b"a0", b"a1"]),
        ({"x-stream-filter": ["a", "b"]}, [b"a0", b"b", b"a1"]),
        ({"x-stream-filter": "nosuch", "x-stream-match-unfiltered": True}, [b"none"]),
        ({"x-stream-filter": "a", "x-stream-match-unfiltered": True}, [b"a0", b"none", b"a1"]),
        ({"x-stream-filter": "a", "x-stream-match-unfiltered": False}, [b"a0", b"a1"]),
    ],
    ids=str,
)
def test_a_filter_leaves_out_what_does_not_match(
    channel: Channel, publisher: Channel, new_stream: DeclareStream, arguments: dict[str, Any], bodies: list[bytes]
) -> None:
    stream = new_stream()
    for body, value in ((b"a0", "a"), (b"b", "b"), (b"none", None), (b"a1", "a")):
        properties: dict[str, Any] = {"headers": {"x-stream-filter-value": value}} if value else {}
        publish(publisher, stream, body, **properties)
    consume(channel, stream, arguments=arguments)
    assert channel.bodies(len(bodies)) == bodies
    channel.expect_nothing()


@pytest.mark.parametrize("arguments", [{}, {"x-stream-match-unfiltered": False}], ids=str)
def test_without_a_filter_everything_matches(
    channel: Channel, publisher: Channel, new_stream: DeclareStream, arguments: dict[str, Any]
) -> None:
    stream = new_stream()
    publish(publisher, stream, b"0", headers={"x-stream-filter-value": "a"})
    publish(publisher, stream, b"1")
    consume(channel, stream, arguments=arguments)
    message = channel.message()
    assert message.headers["x-stream-filter-value"] == "a"
    assert channel.bodies(1) == [b"1"]
