"""The ready list: order, paging, purge while pages are under way."""

from __future__ import annotations

from amqpd.broker.message import Entry
from amqpd.broker.queue import NACKED
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.ready import FifoReady
from tests.queues.building import Bench, bodies, message, numbered

WINDOW = 1100  # two messages of the size used here


def filled(bench: Bench, count: int = 8, persistent: bool = True, durable: bool = True) -> ClassicQueue:
    queue = bench.queue(durable=durable)
    for body in numbered(count):
        queue.publish(message(body, persistent))
    return queue


def lane(queue: ClassicQueue) -> FifoReady:
    assert isinstance(queue.ready, FifoReady)
    return queue.ready


def taken(queue: ClassicQueue) -> Entry:
    entry = queue.get()
    assert entry is not None
    return entry


def test_what_fits_the_window_is_never_read_from_disk() -> None:
    bench = Bench()
    queue = filled(bench)
    bench.commit()
    assert bodies([taken(queue) for _ in range(8)]) == numbered(8)
    assert not bench.broker.take_page_requests()


def test_what_does_not_fit_is_let_go_once_it_is_committed() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    assert lane(queue).tail.count() == 5
    bench.commit()
    assert (lane(queue).tail.count(), lane(queue).disk_messages) == (0, 5)
    assert queue.message_count() == 8


def test_a_queue_of_many_pages_comes_back_in_order() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 20)
    bench.commit()
    assert bodies(bench.drain(queue)) == numbered(20)


def test_transient_messages_page_out_and_come_back_in_order_with_durable_ones() -> None:
    bench = Bench(WINDOW)
    queue = bench.queue()
    for number, body in enumerate(numbered(20)):
        queue.publish(message(body, persistent=number % 3 == 0))
    bench.commit()
    assert bodies(bench.drain(queue)) == numbered(20)


def test_an_uncommitted_tail_becomes_the_head_when_nothing_is_on_disk() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    assert bodies([taken(queue) for _ in range(8)]) == numbered(8)
    assert lane(queue).tail.count() == 0


def test_messages_behind_a_page_under_way_stay_behind_it() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    for _ in range(3):
        taken(queue)
    assert queue.get() is None
    assert queue.loading()
    queue.publish(message(b"new"))
    assert queue.get() is None
    bench.commit()
    assert bodies(bench.drain(queue)) == [*numbered(5, 3), b"new"]


def test_a_page_may_hold_what_was_committed_and_not_reported_yet() -> None:
    """The reader sees a batch before the broker hears of it: those entries are in the tail still."""
    bench = Bench(WINDOW)
    queue = filled(bench, 4)
    bench.commit()
    queue.publish(message(b"new"))
    batch = bench.broker.take_batch()
    assert batch is not None
    bench.store.commit(batch)
    taken(queue)
    taken(queue)
    assert [len(page) for page in bench.read_pages()] == [2]
    assert (lane(queue).disk_messages, lane(queue).tail.count()) == (0, 1)
    bench.broker.batch_committed()
    assert queue.message_count() == 3
    assert bodies(bench.drain(queue)) == [*numbered(2, 2), b"new"]


def test_a_page_is_asked_for_once() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    for _ in range(3):
        taken(queue)
    for _ in range(3):
        assert queue.get() is None
    assert len(bench.broker.take_page_requests()) == 1


def test_a_page_that_was_read_before_a_purge_is_of_no_use() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    taken(queue)
    taken(queue)
    requests = bench.broker.take_page_requests()
    page = bench.store.reader().load(int(queue.id), requests[0].after, 3, 4096)
    assert queue.purge() == 6
    queue.publish(message(b"new"))
    bench.broker.page_loaded(requests[0], page)
    assert bodies(bench.drain(queue)) == [b"new"]


def test_a_stale_page_does_not_count_as_the_one_asked_for_after_the_purge() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    taken(queue)
    taken(queue)
    stale = bench.broker.take_page_requests()[0]
    queue.purge()
    for body in numbered(8):
        queue.publish(message(body))
    bench.commit()
    for _ in range(3):
        taken(queue)
    queue.get()
    assert lane(queue).page_asked
    bench.broker.page_loaded(stale, [])
    assert lane(queue).page_asked
    assert bodies(bench.drain(queue)) == numbered(5, 3)


def test_a_requeued_message_goes_before_those_on_disk() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    entries = [taken(queue) for _ in range(3)]
    queue.requeue(entries[1], NACKED)
    entry = taken(queue)
    assert (entry.message.body, entry.redelivered) == (numbered(3)[1], True)


def test_a_requeued_message_goes_between_its_neighbours() -> None:
    bench = Bench()
    queue = filled(bench, 4)
    entries = [taken(queue) for _ in range(3)]
    for index in (2, 0):
        queue.requeue(entries[index], NACKED)
    assert bodies(bench.drain(queue)) == [numbered(4)[index] for index in (0, 2, 3)]


def test_a_purge_of_what_is_in_memory_on_disk_and_under_way_leaves_nothing() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    for body in numbered(3, 8):
        queue.publish(message(body))
    batch = bench.broker.take_batch()
    queue.publish(message(b"open"))
    assert queue.purge() == 12
    bench.write(batch)
    bench.commit()
    assert not bench.disk.durable.messages
    assert not bench.disk.durable.flags
    assert bench.disk.depths[int(queue.id)] == (0, 0)
    assert bench.shard.window_bytes == 0


def test_what_is_in_flight_survives_a_purge_of_the_pages_behind_it() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    entry = taken(queue)
    queue.purge()
    bench.commit()
    assert list(bench.disk.durable.messages) == [entry.position]
    queue.settle(entry)
    bench.commit()
    assert not bench.disk.durable.messages


def test_settled_pages_are_deleted_as_one_range() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench)
    bench.commit()
    for entry in bench.drain(queue)[3:]:
        queue.settle(entry)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert len(batch.settled) == 1
    bench.write(batch)
    assert len(bench.disk.durable.messages) == 3


def test_a_range_never_spans_an_entry_that_stays() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 12)
    bench.commit()
    entries = bench.drain(queue)
    for index in (0, 1, 3, 4, 6, 7, 9, 10):
        queue.settle(entries[index])
    bench.commit()
    left = [entries[index].position for index in (2, 5, 8, 11)]
    assert sorted(bench.disk.durable.messages) == left


def test_after_a_restart_everything_comes_from_disk_in_order() -> None:
    bench = Bench(WINDOW)
    filled(bench, 10)
    bench.commit()
    again = bench.reopened(clean=False)
    queue = again.vhost.queues["q"]
    assert isinstance(queue, ClassicQueue)
    assert queue.message_count() == 10
    queue.publish(message(b"new"))
    entries = again.drain(queue)
    assert bodies(entries) == [*numbered(10), b"new"]
    assert [entry.redelivered for entry in entries] == [True] * 10 + [False]


def test_after_a_clean_restart_what_was_never_delivered_is_not_flagged() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 6)
    entries = [taken(queue) for _ in range(3)]
    queue.settle(entries[1])
    for index in (0, 2):
        queue.requeue(entries[index], NACKED)
    again = bench.reopened(clean=True)
    restored = again.vhost.queues["q"]
    assert isinstance(restored, ClassicQueue)
    assert [entry.redelivered for entry in again.drain(restored)] == [True, True, False, False, False]


def test_memory_is_counted_to_the_last_octet() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 20)
    bench.commit()
    entries = bench.drain(queue)
    assert bench.shard.window_bytes == 0
    for entry in entries[:5]:
        queue.requeue(entry, NACKED)
    assert bench.shard.window_bytes == lane(queue).memory_bytes > 0
    queue.dispose()
    assert bench.shard.window_bytes == 0


def test_the_window_stays_small_however_long_the_queue() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 100)
    bench.commit()
    most = 0
    for _ in range(100):
        while (entry := queue.get()) is None:
            bench.read_pages()
        queue.settle(entry)
        most = max(most, int(bench.shard.window_bytes))
        bench.read_pages()
    assert most < 5 * WINDOW


def test_one_that_comes_back_from_the_disk_waits_for_what_is_older_there() -> None:
    bench = Bench(WINDOW)
    queue = filled(bench, 12)
    bench.commit()
    ready = lane(queue)
    last = bench.store.reader().load(int(queue.id), 0, 100, 1 << 20)[-1]
    late = ready.restored.entry(last, ready.lane)
    ready._off_disk(late)
    ready.ready_bytes -= late.size()
    ready.deadlines.take(late.position, late.size())
    ready.put_back(late)
    queue.mark_dirty()
    assert bodies(bench.drain(queue)) == numbered(12)


def test_reading_ahead_keeps_to_the_budget_of_all_queues() -> None:
    bench = Bench(WINDOW)
    shard = bench.shard
    shard.window_bytes_max, shard.window_budget, shard.page_low = 100_000, 20_000, 20_000
    queues = [bench.queue(f"q{number}") for number in range(20)]
    for queue in queues:
        for body in numbered(60):
            queue.publish(message(body))
    for body in numbered(60, 60):
        for queue in queues:
            queue.publish(message(body))
        bench.broker.run_turn()
        bench.commit()
        bench.read_pages()
    least_and_a_page = WINDOW + 3 * 504
    assert shard.window_bytes <= shard.window_budget + len(queues) * least_and_a_page
    assert bodies(bench.drain(queues[0])) == numbered(120)
