"""How much of a stream is kept: by size, by age, by policy, and after a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.policies import Policy
from amqpd.broker.shard import PageSource
from amqpd.queues.stream.queue import StreamQueue
from amqpd.wire.table import Field
from tests.queues.building import Bench, FakeChannel, message, numbered
from tests.queues.stream.streaming import (
    acknowledge,
    advance,
    chunk,
    declared,
    found,
    offsets,
    rest,
    subscribed,
    turn,
)

SIZE = 103  # of one of ``numbered``


def stored(bench: Bench, stream: StreamQueue) -> list[int]:
    """The offsets of the chunks in the store."""
    return [one.offset for one in bench.store.reader().chunks(int(stream.id), -1, 9999)]


def consistent(bench: Bench, stream: StreamQueue) -> None:
    """What memory, depth and entries say of the stream is the same."""
    bench.commit()
    first = stream.first_chunk()
    assert first is not None
    entries = bench.store.reader().load(int(stream.id), 0, 9999, 1 << 30)
    assert stored(bench, stream)[0] == first.offset
    assert stream.message_count() == len(entries) == stream.lane.stored_messages
    assert stream.lane.stored_bytes == sum(len(entry.body) for entry in entries)
    assert first.position == entries[0].position
    (row,) = [row for row in bench.store.reader().summary().queues if row.queue == stream.id]
    assert (row.messages, row.bytes) == (len(entries), stream.lane.stored_bytes)


def put_policy(bench: Bench, **definition: int | str) -> None:
    """``definition``: keys with ``_`` for ``-``."""
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    bench.vhost.put_policy(Policy("p", "^s$", keys, 0, "streams"), False)


# By size


def test_whole_chunks_go_and_the_limit_stays_filled() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=5 * SIZE, stream_max_segment_size_bytes=0)
    for number in range(6):
        chunk(bench, stream)
        rest(bench)
        consistent(bench, stream)
        # Without the oldest chunk five messages must be left.
        assert stream.message_count() == min(3 * (number + 1), 6)
    assert stored(bench, stream) == [12, 15]


def test_to_the_limit_exactly_a_chunk_may_go() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=3 * SIZE, stream_max_segment_size_bytes=0)
    chunk(bench, stream)
    chunk(bench, stream)
    assert stored(bench, stream) == [3]


def test_one_octet_more_must_be_kept() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=3 * SIZE + 1, stream_max_segment_size_bytes=0)
    chunk(bench, stream)
    chunk(bench, stream)
    assert stored(bench, stream) == [0, 3]
    consistent(bench, stream)


@pytest.mark.parametrize(("segment", "most"), [(0, 32), (SIZE - 1, 32), (SIZE, 33), (1 << 30, 34)])
def test_the_size_may_go_above_the_limit_by_a_sixteenth_or_a_segment(segment: int, most: int) -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=32 * SIZE, stream_max_segment_size_bytes=segment)
    counts = []
    for _ in range(80):
        chunk(bench, stream, 1)
        counts.append(stream.message_count())
    assert max(counts) == most
    assert min(counts[40:]) == 32
    consistent(bench, stream)


def test_the_newest_chunk_stays_however_small_the_limit_is() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=0)
    chunk(bench, stream)
    assert stored(bench, stream) == [0]
    chunk(bench, stream, 5)
    assert stored(bench, stream) == [3]
    rest(bench)
    assert stream.message_count() == 5
    consistent(bench, stream)


def test_what_goes_is_gone_from_the_store_unless_another_queue_has_it() -> None:
    bench = Bench()
    stream, classic = declared(bench, max_length_bytes=0), bench.queue()
    for body in numbered(2):
        one = message(body)
        stream.publish(one)
        classic.publish(one)
    stream.publish(message(b"002"))
    bench.commit()
    chunk(bench, stream, 1)
    rest(bench)
    assert stored(bench, stream) == [3]
    messages = bench.disk.durable.messages
    assert [row[4][:3] for row in messages.values()] == [b"000", b"001", b"003"]
    bench = bench.reopened(clean=False)
    queue = bench.vhost.queues["q"]
    assert queue.message_count() == 2


# By age


def test_old_chunks_go_by_a_timer() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s")
    for _ in range(3):
        chunk(bench, stream)
        advance(bench, 4000)
    assert bench.broker.next_deadline() == 1_010_000 + 4000
    assert stored(bench, stream) == [3, 6]
    advance(bench, 1999)
    assert stored(bench, stream) == [3, 6]
    advance(bench, 1)
    assert stored(bench, stream) == [6]
    consistent(bench, stream)
    assert bench.broker.next_deadline() == 0
    advance(bench, 1 << 40)
    assert stored(bench, stream) == [6]  # the newest one stays


def test_the_timer_is_not_late_and_not_early() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s")
    chunk(bench, stream)
    bench.broker.now += 4000
    chunk(bench, stream)
    deadline = bench.broker.next_deadline()
    assert deadline == 1_010_000
    bench.broker.now = deadline - 1
    bench.broker.tick(bench.broker.now)
    assert stream.message_count() == 6
    bench.broker.now = deadline
    bench.broker.tick(bench.broker.now)
    assert stream.message_count() == 3


def test_a_chunk_that_is_young_keeps_all_behind_it() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s", max_length_bytes=2 * SIZE, stream_max_segment_size_bytes=0)
    chunk(bench, stream, 1)
    bench.broker.now += 10_001
    chunk(bench, stream, 1)
    chunk(bench, stream, 1)
    assert stored(bench, stream) == [1, 2]


def test_the_timer_ends_with_the_chunks_it_was_for() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s", max_length_bytes=4 * SIZE, stream_max_segment_size_bytes=0)
    chunk(bench, stream)
    chunk(bench, stream)
    assert bench.broker.next_deadline() == 1_010_000
    chunk(bench, stream, 4)
    assert stored(bench, stream) == [6]
    assert bench.broker.next_deadline() == 0


def test_the_timer_ends_with_the_stream() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s")
    chunk(bench, stream)
    chunk(bench, stream)
    assert bench.broker.next_deadline()
    bench.vhost.delete_queue(stream)
    assert bench.broker.next_deadline() == 0
    rest(bench)
    assert stored(bench, stream) == []


# By policy


def test_a_policy_is_in_force_at_once() -> None:
    bench = Bench()
    stream = declared(bench)
    for _ in range(5):
        chunk(bench, stream)
    put_policy(bench, max_length_bytes=4 * SIZE)
    rest(bench)
    assert stored(bench, stream) == [9, 12]
    consistent(bench, stream)
    bench.vhost.drop_policy("p", False)
    for _ in range(5):
        chunk(bench, stream)
    assert stored(bench, stream)[0] == 9


def test_a_policy_of_age_sets_and_ends_the_timer() -> None:
    bench = Bench()
    stream = declared(bench)
    chunk(bench, stream)
    chunk(bench, stream)
    put_policy(bench, max_age="1m")
    assert bench.broker.next_deadline() == 1_060_000
    put_policy(bench, max_age="10s")
    assert bench.broker.next_deadline() == 1_010_000
    bench.vhost.drop_policy("p", False)
    assert bench.broker.next_deadline() == 0
    advance(bench, 60_000)
    assert stored(bench, stream) == [0, 3]
    put_policy(bench, max_age="10s")
    rest(bench)
    assert stored(bench, stream) == [3]


def test_a_policy_finds_chunks_that_memory_does_not_know() -> None:
    bench = Bench()
    stream = declared(bench)
    stream.retention.known_max = 4
    for _ in range(20):
        chunk(bench, stream, 1)
    assert len(stream.retention.known) == 4
    put_policy(bench, max_length_bytes=2 * SIZE)
    rest(bench)
    assert stored(bench, stream) == [18, 19]
    consistent(bench, stream)
    for _ in range(20):
        chunk(bench, stream, 1)
        rest(bench)
        assert stream.message_count() <= 3
    consistent(bench, stream)


def one_known_and_one_under_way() -> tuple[Bench, StreamQueue, Batch | None]:
    """Memory knows one chunk, the next one is on its way to the disk."""
    bench = Bench()
    stream = declared(bench)
    stream.retention.known_max = 1
    chunk(bench, stream, 1)
    stream.publish(message(numbered(1, 1)[0]))
    return bench, stream, bench.broker.take_batch()


def test_a_chunk_that_is_not_written_yet_is_looked_for_once() -> None:
    bench, stream, batch = one_known_and_one_under_way()
    assert len(stream.retention.known) == 1
    put_policy(bench, max_length_bytes=0)
    put_policy(bench, max_length_bytes=1)
    assert len(bench.read_pages()) == 1
    assert bench.broker.take_page_requests() == []
    bench.write(batch)
    rest(bench)
    assert stored(bench, stream) == [1]
    consistent(bench, stream)


def test_a_read_that_came_too_early_is_done_again() -> None:
    """It saw no further chunk, and the commit was told before it was."""
    bench, stream, batch = one_known_and_one_under_way()
    put_policy(bench, max_length_bytes=0)
    (request,) = bench.broker.take_page_requests()
    assert request.read(bench.store.reader()) == []
    bench.write(batch)
    bench.broker.page_loaded(request, [])
    rest(bench)
    assert stored(bench, stream) == [1]


# Restart


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    "limit",
    [
        {},
        {"max_age": "1h"},
        {"max_length_bytes": 0},
        {"max_length_bytes": 4 * SIZE},
        {"max_age": "1h", "max_length_bytes": 1 << 40},
    ],
)
@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
def test_a_restart_comes_to_rest(clean: bool, limit: dict[str, Any], chunks: int) -> None:
    bench = Bench()
    stream = declared(bench, **limit)
    for _ in range(chunks):
        chunk(bench, stream)
    rest(bench)
    count = stream.message_count()
    bench = bench.reopened(clean)
    stream = found(bench)
    rest(bench)
    assert (stream.message_count(), stream.next_offset) == (count, 3 * chunks)
    consistent(bench, stream)
    advance(bench, 3_600_000)
    assert stream.message_count() == (3 if "max_age" in limit else count)
    consistent(bench, stream)
    channel = FakeChannel()
    subscribed(stream, channel, "first")
    rest(bench)
    chunk(bench, stream)
    rest(bench)
    consistent(bench, stream)
    assert offsets(channel)[-4:] == list(range(3 * chunks - 1, 3 * chunks + 3))


def test_what_is_too_old_at_the_start_goes_at_once() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s")
    chunk(bench, stream)
    bench.broker.now += 1000
    chunk(bench, stream)
    bench.broker.now += 20_000
    chunk_time = bench.broker.now
    bench = bench.reopened(clean=False)
    stream = found(bench)
    assert bench.broker.now == chunk_time
    rest(bench)
    assert stored(bench, stream) == [3]
    consistent(bench, stream)
    bench = bench.reopened(clean=False)
    assert found(bench).message_count() == 3
    assert found(bench).next_offset == 6


def test_after_a_restart_chunks_are_looked_for_once() -> None:
    bench = Bench()
    stream = declared(bench, max_age="10s")
    for _ in range(3):
        chunk(bench, stream)
        bench.broker.now += 1000
    bench = bench.reopened(clean=False)
    stream = found(bench)
    assert len(bench.read_pages()) == 1
    for _ in range(5):
        bench.broker.now += 5000
        bench.broker.tick(bench.broker.now)
        chunk(bench, stream)
        assert bench.broker.take_page_requests() == []
    consistent(bench, stream)
    assert stored(bench, stream) == [18, 21]


# Consumers of what goes


def lagging(bench: Bench, room: int, **limit: int | str) -> tuple[StreamQueue, FakeChannel]:
    """A stream of five chunks whose consumer took ``room`` messages from its beginning."""
    stream = declared(bench)
    for _ in range(5):
        chunk(bench, stream)
    channel = FakeChannel(room)
    subscribed(stream, channel, "first")
    rest(bench)
    assert offsets(channel) == list(range(room))
    return stream, channel


@pytest.mark.parametrize("window", [1100, 1 << 20])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 4])
def test_one_that_lags_goes_on_where_the_stream_begins(window: int, room: int) -> None:
    bench = Bench(window)
    stream, channel = lagging(bench, room)
    put_policy(bench, max_length_bytes=4 * SIZE)
    rest(bench)
    acknowledge(stream.consumers()[0], channel, 99)
    rest(bench)
    # What it had read already may still come.
    in_hand = list(range(room, 3)) if 0 < room < 3 else list(range(room, 6)) if room == 4 else []
    assert offsets(channel) == [*in_hand, *range(9, 15)]


@pytest.mark.parametrize("truncated_first", [True, False])
@pytest.mark.parametrize("offset", ["first", 1, 4, -11, Field("T", 1001)])
def test_chunks_that_go_while_their_page_is_read(truncated_first: bool, offset: int | str | Field) -> None:
    bench = Bench()
    stream = declared(bench)
    for _ in range(5):
        chunk(bench, stream)
        bench.broker.now += 1000
    channel = FakeChannel()
    subscribed(stream, channel, offset)
    turn(bench)
    (request,) = bench.broker.take_page_requests()
    request.limit = 5
    if truncated_first:
        put_policy(bench, max_length_bytes=7 * SIZE)
        bench.commit()
    page = request.read(bench.store.reader())
    if not truncated_first:
        put_policy(bench, max_length_bytes=7 * SIZE)
    bench.broker.page_loaded(request, page)
    turn(bench)
    bench.read_pages()  # where nothing was committed since, the store still has what is gone
    rest(bench)
    assert offsets(channel) == list(range(6, 15))


class Interrupted:
    """A store where something happens between the two reads of a page."""

    def __init__(self, bench: Bench, between: Callable[[], None]) -> None:
        self.reader = bench.store.reader()
        self.between = between

    def __getattr__(self, name: str) -> object:
        return getattr(self.reader, name)

    def load(self, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]:
        self.between()
        return self.reader.load(queue, after, limit, max_bytes)


@pytest.mark.parametrize("offset", [4, Field("T", 1001)])
def test_chunks_that_go_between_the_two_reads_of_a_page(offset: int | Field) -> None:
    """First the place of an offset is read, or a chunk by its time, then the messages from there on."""
    bench = Bench()
    stream = declared(bench)
    for _ in range(5):
        chunk(bench, stream)
        bench.broker.now += 1000
    channel = FakeChannel()
    subscribed(stream, channel, offset)
    turn(bench)
    (request,) = bench.broker.take_page_requests()

    def truncate() -> None:
        put_policy(bench, max_length_bytes=4 * SIZE)
        bench.commit()
        assert stored(bench, stream) == [9, 12]

    page = request.read(cast(PageSource, Interrupted(bench, truncate)))
    assert page
    bench.broker.page_loaded(request, page)
    rest(bench)
    assert offsets(channel) == list(range(9, 15))


def test_a_consumer_at_the_end_does_not_mind() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=0)
    channel = FakeChannel()
    subscribed(stream, channel)
    for number in range(5):
        chunk(bench, stream)
        rest(bench)
        assert offsets(channel) == list(range(3 * number, 3 * number + 3))
    assert bench.shard.window_bytes == 0


def test_a_chunk_may_go_while_it_is_being_written() -> None:
    bench = Bench()
    stream = declared(bench)
    chunk(bench, stream)
    channel = FakeChannel(0)
    consumer = subscribed(stream, channel, "first")
    for body in numbered(2, 3):
        stream.publish(message(body))
    batch = bench.broker.take_batch()
    for body in numbered(2, 5):
        stream.publish(message(body))
    put_policy(bench, max_length_bytes=0)
    assert stream.message_count() == 2
    acknowledge(consumer, channel, 99)
    turn(bench)
    assert channel.got == []
    bench.write(batch)
    turn(bench)
    assert channel.got == []
    rest(bench)
    assert offsets(channel) == [5, 6]
    consistent(bench, stream)
    bench = bench.reopened(clean=False)
    stream = found(bench)
    rest(bench)
    assert (stream.message_count(), stream.next_offset) == (2, 7)
    consistent(bench, stream)
