"""The stream: where consumers begin, what they get when, paging, restarts, and what must not be counted twice."""

from __future__ import annotations

import pytest

from amqpd.broker.queue import NACKED
from amqpd.broker.shard import PAGE_BYTES_CROWDED
from amqpd.queues.stream import queue as queue_module
from amqpd.queues.stream.cursor import PAGE_MESSAGES_MIN
from amqpd.queues.stream.queue import StreamQueue
from amqpd.wire.table import Field
from tests.queues.building import Bench, FakeChannel, message, numbered
from tests.queues.stream.streaming import (
    acknowledge,
    advance,
    chunk,
    declared,
    found,
    offset_of,
    offsets,
    rest,
    subscribed,
    turn,
    with_value,
)

WINDOW = 1100  # two messages of the size used here


def filled(bench: Bench, chunks: int = 3, apart_ms: int = 1000) -> StreamQueue:
    """Chunks of three, a second apart."""
    stream = declared(bench)
    for _ in range(chunks):
        chunk(bench, stream)
        bench.broker.now += apart_ms
    return stream


def read(bench: Bench, stream: StreamQueue, offset: int | str | Field | None) -> list[int]:
    """The offsets a new consumer gets."""
    channel = FakeChannel()
    consumer = subscribed(stream, channel, offset)
    rest(bench)
    stream.cancel(consumer)
    assert stream.in_flight == len(channel.got)
    for _, entry in channel.got:
        stream.settle(entry)
    return offsets(channel)


# Where a consumer begins


@pytest.mark.parametrize("window", [WINDOW, 1 << 20])
@pytest.mark.parametrize(
    ("offset", "first"),
    [
        ("first", 0),
        ("last", 6),
        ("next", 9),
        (None, 9),
        (0, 0),
        (4, 4),
        (8, 8),
        (9, 9),
        (100, 9),
        (2**63 - 1, 9),
        (-1, 8),
        (-5, 4),
        (-9, 0),
        (-100, 0),
        (-(2**63), 0),
        (Field("T", 0), 0),
        (Field("T", 1000), 0),  # the second of the first chunk
        (Field("T", 1001), 3),
        (Field("T", 1002), 6),
        (Field("T", 1003), 9),
        (Field("T", 2**64 - 1), 9),
        ("1s", 9),  # the newest chunk is as old as that: its second is over
        ("2s", 3),
        ("3s", 0),
        ("1h", 0),
        ("9999999Y", 0),
    ],
)
def test_where_a_consumer_begins(offset: int | str | Field | None, first: int, window: int) -> None:
    bench = Bench(window)
    stream = filled(bench)
    if offset == "1s":
        bench.broker.now += 1
    assert read(bench, stream, offset) == list(range(first, 9))
    assert bench.shard.window_bytes == 0


@pytest.mark.parametrize("offset", ["first", "last", "next", None, 0, -5, "1h", Field("T", 5)])
def test_in_an_empty_stream_all_begin_with_the_first_message(offset: int | str | Field | None) -> None:
    bench = Bench()
    stream = declared(bench)
    channel = FakeChannel()
    subscribed(stream, channel, offset)
    rest(bench)
    chunk(bench, stream)
    rest(bench)
    assert offsets(channel) == [0, 1, 2]


@pytest.mark.parametrize("chunks", [0, 1])
def test_an_offset_that_is_not_there_yet_is_waited_for(chunks: int) -> None:
    bench = Bench(WINDOW)
    stream = filled(bench, chunks)
    channel = FakeChannel()
    subscribed(stream, channel, 5)
    for _ in range(3):
        rest(bench)
        chunk(bench, stream)
    rest(bench)
    assert offsets(channel) == list(range(5, 9 + 3 * chunks))


def test_a_consumer_goes_on_with_what_is_published() -> None:
    bench = Bench()
    stream = filled(bench, 1)
    channel = FakeChannel()
    subscribed(stream, channel, "first")
    rest(bench)
    assert offsets(channel) == [0, 1, 2]
    chunk(bench, stream)
    turn(bench)
    assert offsets(channel) == [3, 4, 5]
    assert not bench.read_pages()  # it kept up


def test_consumers_read_independently() -> None:
    bench = Bench()
    stream = filled(bench)
    slow, fast, new = FakeChannel(2), FakeChannel(), FakeChannel()
    first = subscribed(stream, slow, "first", "slow")
    subscribed(stream, fast, 4, "fast")
    subscribed(stream, new, "next", "new")
    rest(bench)
    assert (offsets(slow), offsets(fast), offsets(new)) == ([0, 1], [4, 5, 6, 7, 8], [])
    chunk(bench, stream)
    rest(bench)
    acknowledge(first, slow, 3)
    rest(bench)
    assert (offsets(slow), offsets(fast), offsets(new)) == ([2, 3, 4], [9, 10, 11], [9, 10, 11])


# Delivery and the commit


def test_nothing_is_delivered_before_it_is_committed() -> None:
    bench = Bench()
    stream = declared(bench)
    channel = FakeChannel()
    subscribed(stream, channel)
    turn(bench)
    for body in numbered(3):
        stream.publish(message(body))
    turn(bench)
    batch = bench.broker.take_batch()
    turn(bench)
    stream.publish(message(b"003"))
    turn(bench)
    assert channel.got == []
    bench.write(batch)
    turn(bench)
    assert offsets(channel) == [0, 1, 2]
    bench.commit()
    turn(bench)
    assert offsets(channel) == [3]


@pytest.mark.parametrize("offset", ["first", "last", 0, -1])
def test_a_consumer_that_comes_before_the_commit_waits_for_it(offset: int | str) -> None:
    bench = Bench()
    stream = declared(bench)
    stream.publish(message(b"000"))
    batch = bench.broker.take_batch()
    channel = FakeChannel()
    subscribed(stream, channel, offset)
    turn(bench)
    assert channel.got == []
    bench.write(batch)
    rest(bench)
    assert offsets(channel) == [0]


def test_a_page_may_hold_what_was_committed_meanwhile_but_is_not_known_to_be() -> None:
    bench = Bench()
    stream = filled(bench, 1)
    channel = FakeChannel(1)
    consumer = subscribed(stream, channel, "first")
    bench.broker.run_turn()
    bench.shard.page_messages = 100
    (request,) = bench.broker.take_page_requests()
    request.limit = 100
    for body in numbered(3, 3):
        stream.publish(message(body))
    batch = bench.broker.take_batch()
    assert batch is not None
    bench.store.commit(batch)
    page = request.read(bench.store.reader())
    assert len(page) == 6
    bench.broker.page_loaded(request, page)
    turn(bench)
    acknowledge(consumer, channel, 9)
    turn(bench)
    assert offsets(channel) == [0, 1, 2]
    bench.broker.batch_committed()
    rest(bench)
    assert offsets(channel) == [3, 4, 5]


def test_one_that_lags_does_not_jump_to_what_is_not_committed() -> None:
    bench = Bench()
    stream = declared(bench, max_length_bytes=100)
    chunk(bench, stream, 1)
    channel = FakeChannel(0)
    consumer = subscribed(stream, channel, "first")
    turn(bench)
    assert consumer.waiting
    for body in numbered(3, 1):
        stream.publish(message(body))
    # Its first chunk goes, and the only one that stays is not on disk yet.
    stream.retention.apply()
    assert stream.message_count() == 3
    acknowledge(consumer, channel, 9)
    turn(bench)
    bench.read_pages()
    turn(bench)
    assert channel.got == []
    rest(bench)
    assert offsets(channel) == [1, 2, 3]


# Credit


def test_a_settlement_of_any_kind_is_credit_and_nothing_comes_again() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel(2)
    consumer = subscribed(stream, channel, "first")
    for settle in (stream.settle, stream.reject, lambda entry: stream.requeue(entry, NACKED)):
        rest(bench)
        assert (len(channel.got), stream.in_flight, stream.unacked_count()) == (2, 2, 2)
        for _, entry in channel.got:
            assert not entry.redelivered
            settle(entry)
        taken = offsets(channel)
        channel.room = 2
        stream.resume(consumer)
    assert taken == [4, 5]
    assert (stream.in_flight, stream.apart(), stream.message_count()) == (0, 0, 9)


def test_a_message_is_settled_after_its_consumer_is_gone() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel(2)
    consumer = subscribed(stream, channel, "first")
    rest(bench)
    stream.cancel(consumer)
    for _, entry in channel.got:
        stream.settle(entry)
    stream.resume(consumer)
    rest(bench)
    assert (offsets(channel), stream.in_flight, stream.consumers()) == ([0, 1], 0, [])


def test_one_with_credit_goes_on_while_others_have_none() -> None:
    bench = Bench(WINDOW)
    stream = filled(bench, 5)
    stuck = [FakeChannel(0) for _ in range(5)]
    for number, channel in enumerate(stuck):
        subscribed(stream, channel, "first", f"stuck {number}")
    one = FakeChannel(1)
    consumer = subscribed(stream, one, "first", "one")
    for offset in range(15):
        rest(bench)
        assert offsets(one) == [offset]
        acknowledge(consumer, one)
    chunk(bench, stream)
    rest(bench)
    assert offsets(one) == [15]
    assert [channel.got for channel in stuck] == [[]] * 5


def test_all_come_to_an_end_whatever_the_order_of_credit() -> None:
    bench = Bench(WINDOW)
    stream = filled(bench, 2)
    readers = []
    for number in range(5):
        channel = FakeChannel(number % 2)
        readers.append((subscribed(stream, channel, number, f"c{number}"), channel))
    seen: list[list[int]] = [[] for _ in readers]
    for step in range(40):
        if step % 4 == 0 and step < 20:
            for body in numbered(2, int(stream.next_offset)):
                stream.publish(message(body))
        turn(bench)
        if step % 3 == 0:
            bench.commit()
        if step % 2 == 0:
            turn(bench)
            bench.read_pages()
        turn(bench)
        consumer, channel = readers[step % 5]
        acknowledge(consumer, channel, 3)
    for consumer, channel in readers:
        acknowledge(consumer, channel, 99)
    rest(bench)
    for number, (_, channel) in enumerate(readers):
        seen[number] += offsets(channel)
        assert seen[number] == list(range(number, 16))


# Filter


@pytest.mark.parametrize("window", [WINDOW, 1 << 20])
def test_a_filter_leaves_out_and_takes_no_credit_for_it(window: int) -> None:
    bench = Bench(window)
    stream = declared(bench)
    channel = FakeChannel(3)
    subscribed(stream, channel, "first", wanted=Field("S", b"red"))
    for number in range(10):
        stream.publish(with_value(b"red" if number % 4 == 0 else b"blue", b"%03d" % number + b"." * 100))
        if number == 5:
            rest(bench)
    rest(bench)
    assert offsets(channel) == [0, 4, 8]
    assert stream.in_flight == 3


def test_a_filter_from_pages() -> None:
    bench = Bench(WINDOW)
    stream = declared(bench)
    for number in range(20):
        body = b"%03d" % number + b"." * 100
        stream.publish(message(body) if number % 2 else with_value(b"red" if number % 3 else b"blue", body))
    rest(bench)
    red, odd = FakeChannel(), FakeChannel()
    subscribed(stream, red, "first", "red", wanted=Field("A", [Field("S", b"red")]))
    subscribed(stream, odd, "first", "odd", wanted=Field("A", []), unfiltered=True)
    rest(bench)
    assert offsets(red) == [2, 4, 8, 10, 14, 16]
    assert offsets(odd) == list(range(1, 20, 2))


# Pages and memory


@pytest.mark.parametrize("window", [600, WINDOW, 5000])
def test_a_stream_of_many_pages_is_read_to_its_end_and_on(window: int) -> None:
    bench = Bench(window)
    stream = filled(bench, 6)
    channel = FakeChannel()
    consumer = subscribed(stream, channel, "first")
    turn(bench)
    for body in numbered(10, 18):
        stream.publish(message(body))
    rest(bench)
    assert offsets(channel) == list(range(28))
    chunk(bench, stream, 10)
    rest(bench)
    assert offsets(channel) == list(range(28, 38))
    stream.cancel(consumer)
    assert bench.shard.window_bytes == 0


def test_what_was_read_lets_go_of_its_page() -> None:
    bench = Bench()
    stream = filled(bench)
    for number in range(20):
        channel = FakeChannel()
        subscribed(stream, channel, "first", f"c{number}")
        rest(bench)
        assert offsets(channel) == list(range(9))
        assert bench.shard.window_bytes == 0


def test_one_without_credit_keeps_no_page_that_it_has_used_up() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel(3)
    subscribed(stream, channel, "first")
    rest(bench)
    assert offsets(channel) == [0, 1, 2]
    assert bench.shard.window_bytes == 0


def test_pages_that_are_on_their_way_count() -> None:
    """Many that begin at the same moment must not each be given a large page."""
    bench = Bench()
    stream = filled(bench, 20)
    bench.shard.window_budget = 20_000
    bench.shard.page_messages, bench.shard.page_bytes = 200, 1 << 20
    for number in range(20):
        subscribed(stream, FakeChannel(0 if number % 2 else 100), "first", f"c{number}")
    for consumer in stream.consumers():
        assert isinstance(consumer.channel, FakeChannel)
        consumer.channel.room = 100
    turn(bench)
    requests = bench.broker.take_page_requests()
    assert len(requests) == 20
    assert (requests[0].limit, requests[0].max_bytes) == (200, 1 << 20)
    assert {(request.limit, request.max_bytes) for request in requests[1:]} == {(PAGE_MESSAGES_MIN, PAGE_BYTES_CROWDED)}
    for consumer in list(stream.consumers()):
        stream.cancel(consumer)
    assert bench.shard.window_bytes == 0
    for request in requests:
        bench.broker.page_loaded(request, request.read(bench.store.reader()))
    assert bench.shard.window_bytes == 0


def test_a_consumer_with_a_small_prefetch_asks_for_small_pages() -> None:
    bench = Bench()
    stream = filled(bench)
    bench.shard.page_messages = 2000
    for prefetch in (1, 200, 5000):
        subscribed(stream, FakeChannel(), "first", f"c{prefetch}", prefetch)
    subscribed(stream, FakeChannel(), "first", "red", 1, Field("S", b"red"))
    turn(bench)
    assert [request.limit for request in bench.broker.take_page_requests()] == [100, 400, 2000, 2000]


def test_the_tail_is_let_go_when_all_have_read_it() -> None:
    bench = Bench()
    stream = filled(bench)
    slow, fast = FakeChannel(0), FakeChannel()
    consumer = subscribed(stream, slow, tag="slow")
    subscribed(stream, fast, tag="fast")
    chunk(bench, stream)
    turn(bench)
    assert offsets(fast) == [9, 10, 11]
    assert bench.shard.window_bytes > 0
    acknowledge(consumer, slow, 9)
    turn(bench)
    assert offsets(slow) == [9, 10, 11]
    assert bench.shard.window_bytes == 0


@pytest.mark.parametrize("offset", ["first", "2s", 4])
def test_a_consumer_that_goes_while_its_page_is_read(offset: str | int) -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel()
    consumer = subscribed(stream, channel, offset)
    turn(bench)
    (request,) = bench.broker.take_page_requests()
    page = request.read(bench.store.reader())
    stream.cancel(consumer)
    assert bench.shard.window_bytes == 0
    bench.broker.page_loaded(request, page)
    rest(bench)
    assert (channel.got, bench.shard.window_bytes, stream.in_flight) == ([], 0, 0)


def test_a_consumer_that_goes_with_a_page_in_hand() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel(1)
    consumer = subscribed(stream, channel, "first")
    rest(bench)
    assert bench.shard.window_bytes > 0
    stream.cancel(consumer)
    assert bench.shard.window_bytes == 0


def test_a_stream_that_is_deleted_while_a_page_is_read() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel()
    subscribed(stream, channel, "first")
    turn(bench)
    (request,) = bench.broker.take_page_requests()
    page = request.read(bench.store.reader())
    stream.publish(message(b"x"))
    bench.vhost.delete_queue(stream)
    bench.broker.page_loaded(request, page)
    rest(bench)
    assert (channel.got, channel.told, bench.shard.window_bytes) == ([], ["c"], 0)
    assert bench.store.reader().chunks(int(stream.id), -1, 9) == []
    assert bench.store.reader().load(int(stream.id), 0, 9, 9999) == []


def test_a_deleted_stream_may_be_declared_again_and_begins_anew() -> None:
    bench = Bench()
    stream = filled(bench)
    stream.publish(message(b"x"))
    batch = bench.broker.take_batch()
    stream.publish(message(b"y"))
    bench.vhost.delete_queue(stream)
    again = declared(bench)
    again.publish(message(b"000"))
    bench.write(batch)
    rest(bench)
    assert read(bench, again, "first") == [0]
    assert found(bench.reopened(clean=False)).message_count() == 1


def test_the_memory_of_what_was_published_comes_back() -> None:
    bench = Bench(5000)
    stream = declared(bench)
    channel = FakeChannel(0)
    consumer = subscribed(stream, channel)
    chunk(bench, stream, 5)
    rest(bench)
    assert 0 < bench.shard.window_bytes <= 5000
    for _ in range(5):
        chunk(bench, stream, 10)
        rest(bench)
        assert bench.shard.window_bytes == 0  # it is too far behind to read there
    acknowledge(consumer, channel, 99)
    rest(bench)
    assert offsets(channel) == list(range(55))
    assert bench.shard.window_bytes == 0


def test_what_all_have_read_is_let_go_while_more_is_published() -> None:
    bench = Bench(1 << 20)
    stream = declared(bench)
    reader, stuck = FakeChannel(), FakeChannel(2)
    subscribed(stream, reader)
    for number in range(20):
        for body in numbered(5, 5 * number):
            stream.publish(message(body))
        batch = bench.broker.take_batch()
        stream.publish(message(b"under way"))
        bench.write(batch)
        turn(bench)
        assert stream.tail.end - stream.tail.first == 1  # what is not committed
        bench.commit()
        turn(bench)
    rest(bench)
    assert len(reader.got) == 120
    assert bench.shard.window_bytes == 0
    subscribed(stream, stuck, "next", tag="stuck")
    for _ in range(3):
        chunk(bench, stream, 10)
        rest(bench)
    assert stream.tail.first == 122  # what the stuck one needs is kept, while there is room


# Turns


def test_one_pump_is_bounded_however_many_consumers_there_are() -> None:
    bench = Bench(16 << 20)
    stream = declared(bench)
    limit = queue_module.SERVE_MAX * 2
    channels = [FakeChannel(limit) for _ in range(15)]
    for number, channel in enumerate(channels):
        subscribed(stream, channel, tag=f"c{number}")
    turn(bench)
    for number in range(limit):
        stream.publish(message(b"%03d" % number))
    bench.commit()
    bench.broker.run_turn()
    taken = sum(len(channel.got) for channel in channels)
    assert taken == queue_module.PUMP_MAX
    assert bench.broker.busy()
    turn(bench)
    assert [len(channel.got) for channel in channels] == [limit] * 15


def test_a_turn_without_work_leaves_nothing_to_do() -> None:
    bench = Bench()
    stream = filled(bench)
    for offset in ("first", "next", 5):
        subscribed(stream, FakeChannel(2), offset, str(offset))
    rest(bench)
    bench.broker.run_turn()
    assert not bench.broker.busy()
    assert bench.broker.take_batch() is None
    assert bench.broker.take_page_requests() == []


# Sharing


def test_a_stream_keeps_what_other_queues_are_done_with() -> None:
    bench = Bench()
    stream = declared(bench)
    classic = bench.queue()
    for body in numbered(3):
        one = message(body)
        assert classic.publish(one)
        assert stream.publish(one)
    early = classic.get()
    assert early is not None
    classic.settle(early)  # before it is written
    bench.commit()
    classic.purge()
    bench.commit()
    assert classic.message_count() == 0
    assert read(bench, stream, "first") == [0, 1, 2]
    bench = bench.reopened(clean=False)
    assert read(bench, found(bench), "first") == [0, 1, 2]


def test_transient_messages_are_stored_like_others() -> None:
    bench = Bench()
    stream = declared(bench)
    classic = bench.queue()
    one = message(b"000", persistent=False)
    classic.publish(one)
    stream.publish(one)
    assert one.holders == 1  # its publisher waits for the batch
    bench.commit()
    bench = bench.reopened(clean=False)
    assert read(bench, found(bench), "first") == [0]


def test_a_message_that_comes_late_gets_a_place_behind_the_others() -> None:
    """Another queue that takes it first may publish something here meanwhile."""
    bench = Bench()
    stream, classic = declared(bench), bench.queue()
    channel = FakeChannel()
    subscribed(stream, channel)
    late = message(b"001")
    classic.publish(late)
    stream.publish(message(b"000"))
    assert stream.publish(late)
    assert late.holders == 2
    rest(bench)
    assert offsets(channel) == [0, 1]
    bench = bench.reopened(clean=False)
    assert read(bench, found(bench), "first") == [0, 1]


def test_what_is_delivered_is_not_what_is_stored() -> None:
    bench = Bench()
    stream, classic = declared(bench), bench.queue()
    channel = FakeChannel()
    subscribed(stream, channel)
    one = message(b"000")
    stream.publish(one)
    classic.publish(one)
    rest(bench)
    (_, entry) = channel.got[0]
    assert offset_of(entry) == 0
    other = classic.get()
    assert other is not None
    assert other.message.header.headers is None
    (stored,) = bench.store.reader().load(int(stream.id), 0, 9, 9999)
    assert stored.properties == one.header.properties


# Restart


@pytest.mark.parametrize("clean", [True, False])
def test_offsets_go_on_after_a_restart(clean: bool) -> None:
    bench = Bench()
    stream = filled(bench)
    read(bench, stream, "first")
    bench = bench.reopened(clean)
    stream = found(bench)
    assert (stream.message_count(), stream.next_offset, stream.committed) == (9, 9, 9)
    channel = FakeChannel()
    subscribed(stream, channel, tag="new")
    chunk(bench, stream)
    rest(bench)
    assert offsets(channel) == [9, 10, 11]
    entries = FakeChannel()
    subscribed(stream, entries, 5, "again")
    rest(bench)
    assert not any(entry.redelivered for _, entry in entries.got)
    assert offsets(entries) == list(range(5, 12))


def test_what_was_not_committed_never_had_an_offset() -> None:
    bench = Bench()
    stream = filled(bench, 1)
    stream.publish(message(b"lost"))
    bench = bench.reopened(clean=False)
    stream = found(bench)
    stream.publish(message(b"003"))
    bench.commit()
    assert read(bench, stream, "first") == [0, 1, 2, 3]


def test_an_empty_stream_comes_back_empty() -> None:
    bench = Bench()
    declared(bench)
    bench.commit()
    bench = bench.reopened(clean=False)
    stream = found(bench)
    assert (stream.message_count(), stream.first_chunk()) == (0, None)
    chunk(bench, stream)
    assert read(bench, stream, "last") == [0, 1, 2]


def test_a_batch_that_is_written_again_changes_nothing() -> None:
    bench = Bench()
    stream = filled(bench, 1)
    for body in numbered(3, 3):
        stream.publish(message(body))
    batch = bench.broker.take_batch()
    assert batch is not None
    bench.store.commit(batch)
    bench.write(batch)
    assert read(bench, stream, "first") == [0, 1, 2, 3, 4, 5]
    bench = bench.reopened(clean=False)
    assert read(bench, found(bench), "first") == [0, 1, 2, 3, 4, 5]


def test_time_does_not_go_back_in_a_stream() -> None:
    bench = Bench()
    stream = filled(bench, 2)
    bench.broker.now = 500_000
    bench = bench.reopened(clean=True)
    stream = found(bench)
    chunk(bench, stream)
    chunks = bench.store.reader().chunks(int(stream.id), -1, 9)
    assert [one.time for one in chunks] == [1_000_000, 1_001_000, 1_001_000]
    assert read(bench, stream, Field("T", 1001)) == list(range(3, 9))
    assert read(bench, stream, Field("T", 1002)) == []


# What only a queue of messages can do


def test_it_cannot_be_got_from_or_purged() -> None:
    bench = Bench()
    stream = filled(bench)
    with pytest.raises(Exception, match=r"^basic\.get not supported by stream queues queue 's' in vhost '/'"):
        stream.get()
    with pytest.raises(Exception, match=r"^queue\.purge not supported by stream queues queue 's' in vhost '/'"):
        stream.purge()
    assert stream.message_count() == 9


def test_since_is_looked_for_while_chunks_come() -> None:
    bench = Bench()
    stream = filled(bench, 2)
    for body in numbered(3, 6):
        stream.publish(message(body))
    batch = bench.broker.take_batch()
    channel = FakeChannel()
    subscribed(stream, channel, Field("T", 1002))  # of the chunk that is being written
    turn(bench)
    bench.read_pages()
    turn(bench)
    assert channel.got == []
    bench.write(batch)
    rest(bench)
    assert offsets(channel) == [6, 7, 8]


def test_a_page_that_was_read_too_early_is_read_again() -> None:
    """It held nothing, and the commit was told before it came: no other one may follow."""
    bench = Bench()
    stream = filled(bench, 2)
    for body in numbered(3, 6):
        stream.publish(message(body))
    batch = bench.broker.take_batch()
    channel = FakeChannel()
    subscribed(stream, channel, Field("T", 1002))
    turn(bench)
    (request,) = bench.broker.take_page_requests()
    assert request.read(bench.store.reader()) == []
    bench.write(batch)
    turn(bench)
    bench.broker.page_loaded(request, [])
    rest(bench)
    assert offsets(channel) == [6, 7, 8]


def test_time_alone_wakes_nobody() -> None:
    bench = Bench()
    stream = filled(bench)
    channel = FakeChannel()
    subscribed(stream, channel)
    rest(bench)
    advance(bench, 10_000_000)
    assert channel.got == []
    assert bench.broker.next_deadline() == 0
