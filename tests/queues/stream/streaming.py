"""Streams on the bench: consumers that say where they begin, and what they get."""

from __future__ import annotations

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import ChannelPort, Consumer
from amqpd.queues.stream.queue import StreamQueue
from amqpd.spec.arguments import STREAM
from amqpd.wire.content import with_headers
from amqpd.wire.table import Field, Table
from tests.queues.building import Bench, FakeChannel, message, numbered

ROUNDS_MAX = 200


def declared(bench: Bench, name: str = "s", **arguments: int | str) -> StreamQueue:
    """A stream; ``arguments`` without their ``x-`` and with ``_`` for ``-``."""
    table: Table = {"x-queue-type": Field("S", STREAM.encode())}
    for key, value in arguments.items():
        table["x-" + key.replace("_", "-")] = (
            Field("l", value) if isinstance(value, int) else Field("S", value.encode())
        )
    queue = bench.vhost.declare_queue(name, STREAM, True, False, None, table)
    assert isinstance(queue, StreamQueue)
    return queue


def found(bench: Bench, name: str = "s") -> StreamQueue:
    """The stream after a restart."""
    queue = bench.vhost.queues[name]
    assert isinstance(queue, StreamQueue)
    return queue


def chunk(bench: Bench, queue: StreamQueue, count: int = 3, start: int | None = None) -> None:
    """One chunk of ``numbered`` messages, committed; they are numbered as their offsets are."""
    for body in numbered(count, int(queue.next_offset) if start is None else start):
        queue.publish(message(body))
    bench.commit()


def subscribed(
    queue: StreamQueue,
    channel: ChannelPort,
    offset: int | str | Field | None = None,
    tag: str = "c",
    prefetch: int = 0,
    wanted: Field | None = None,
    unfiltered: bool | None = None,
) -> Consumer:
    """``offset``: x-stream-offset, a text as ``S``, a number as ``l``. ``wanted``: x-stream-filter."""
    arguments: Table = {}
    if isinstance(offset, Field):
        arguments["x-stream-offset"] = offset
    elif offset is not None:
        arguments["x-stream-offset"] = Field("l", offset) if isinstance(offset, int) else Field("S", offset.encode())
    if wanted is not None:
        arguments["x-stream-filter"] = wanted
    if unfiltered is not None:
        arguments["x-stream-match-unfiltered"] = Field("t", unfiltered)
    consumer = Consumer(tag, channel, queue, False, False, prefetch, arguments)
    queue.consume(consumer)
    return consumer


def with_value(value: bytes, body: bytes = b"body") -> Message:
    """A message with x-stream-filter-value."""
    plain = message(body)
    table: Table = {"x-stream-filter-value": Field("S", value)}
    return Message(plain.address, with_headers(plain.header, table), body)


def offset_of(entry: Entry) -> int:
    """What its header x-stream-offset says."""
    field = entry.message.header.table()["x-stream-offset"]
    assert field.kind == "l"
    assert isinstance(field.value, int)
    return field.value


def offsets(channel: FakeChannel) -> list[int]:
    """Of what it got since; each body must be the one with that offset."""
    entries = [entry for _, entry in channel.got]
    channel.got = []
    for entry in entries:
        assert entry.message.body.startswith(b"%03d" % offset_of(entry)), entry.message.body
    return [offset_of(entry) for entry in entries]


def acknowledge(consumer: Consumer, channel: FakeChannel, count: int = 1) -> None:
    """So many of what it has taken are acknowledged."""
    queue = consumer.queue
    for _ in range(count):
        entry = Entry(message(), queue.lanes()[0])
        queue.settle(entry)
        channel.room += 1
    if consumer.waiting:
        queue.resume(consumer)


def turn(bench: Bench) -> None:
    """Turns until nothing is left to decide without the disk."""
    for _ in range(ROUNDS_MAX):
        bench.broker.run_turn()
        if not bench.broker.busy():
            return
    raise AssertionError("the broker is busy for ever")


def rest(bench: Bench) -> None:
    """Turns, commits and pages until nothing is left to do."""
    for _ in range(ROUNDS_MAX):
        turn(bench)
        bench.commit()
        turn(bench)
        if not bench.read_pages() and not bench.broker.busy():
            return
    raise AssertionError("it never comes to rest")


def advance(bench: Bench, milliseconds: int) -> None:
    bench.broker.now += milliseconds
    bench.broker.tick(bench.broker.now)
    rest(bench)
