"""The journal: what reaches a batch, and what need not."""

from __future__ import annotations

import pytest

from amqpd.broker.batch import SHARED, Chunk, Definition, Summary
from amqpd.broker.broker import Broker
from amqpd.broker.journal import ENTRY_COST, CommitPort, Journal, id_ranges
from amqpd.broker.message import ANNIHILATED, Entry
from amqpd.queues.classic import ClassicQueue
from tests.queues.building import Bench, message


class Waiting(CommitPort):
    def __init__(self) -> None:
        self.told: list[int] = []

    def batch_committed(self, number: int) -> None:
        self.told.append(int(number))


def published(queue: ClassicQueue, count: int = 1) -> list[Entry]:
    for _ in range(count):
        queue.publish(message())
    entries = [queue.get() for _ in range(count)]
    return [entry for entry in entries if entry is not None]


def test_batches_are_numbered_without_gaps() -> None:
    bench = Bench()
    queue = bench.queue()
    first = bench.broker.take_batch()
    assert first is not None
    bench.write(first)
    queue.publish(message())
    second = bench.broker.take_batch()
    assert second is not None
    assert second.number == first.number + 1


def test_only_one_batch_is_under_way() -> None:
    bench = Bench()
    bench.queue()
    batch = bench.broker.take_batch()
    bench.queue("other")
    assert bench.broker.take_batch() is None
    bench.write(batch)
    assert bench.broker.take_batch() is not None


def test_an_entry_settled_in_its_own_batch_never_reaches_the_store() -> None:
    bench = Bench()
    queue = bench.queue()
    bench.commit()
    (entry,) = published(queue)
    queue.settle(entry)
    assert entry.batch == ANNIHILATED
    assert bench.journal.empty()
    assert bench.broker.take_batch() is None


def test_whoever_waits_for_a_batch_with_nothing_to_write_is_told_at_once() -> None:
    bench = Bench()
    queue = bench.queue()
    bench.commit()
    number = int(bench.journal.number)
    waiting = Waiting()
    (entry,) = published(queue)
    bench.journal.waiting.append(waiting)
    queue.settle(entry)
    assert bench.broker.take_batch() is None
    assert waiting.told == [number]
    assert (bench.journal.number, bench.journal.open_bytes) == (number, 0)


def test_one_that_waits_for_a_sealed_batch_is_told_when_that_is_committed() -> None:
    bench = Bench()
    bench.queue()
    early, late = Waiting(), Waiting()
    bench.journal.waiting.append(early)
    batch = bench.broker.take_batch()
    bench.queue("other")
    bench.journal.waiting.append(late)
    bench.write(batch)
    assert (early.told, late.told) == ([bench.journal.committed], [])
    bench.commit()
    assert late.told == [bench.journal.committed]


def test_an_entry_settled_while_its_batch_is_under_way_is_deleted_by_the_next() -> None:
    bench = Bench()
    queue = bench.queue()
    (entry,) = published(queue)
    batch = bench.broker.take_batch()
    queue.settle(entry)
    bench.write(batch)
    following = bench.broker.take_batch()
    assert following is not None
    assert following.settled == [(queue.id, entry.position, entry.position)]
    assert following.released == [(entry.position, entry.position)]
    assert following.depths == [(queue.id, 0, 0)]


def test_neighbours_are_settled_as_one_range() -> None:
    bench = Bench()
    queue = bench.queue()
    entries = published(queue, 5)
    bench.commit()
    for entry in (entries[0], entries[1], entries[2], entries[4]):
        queue.settle(entry)
    batch = bench.broker.take_batch()
    assert batch is not None
    positions = [int(entry.position) for entry in entries]
    assert batch.settled == [
        (queue.id, positions[0], positions[2]),
        (queue.id, positions[4], positions[4]),
    ]


def test_a_range_may_span_ids_that_went_to_other_queues_but_releases_only_its_own() -> None:
    bench = Bench()
    queue, other = bench.queue(), bench.queue("other")
    queue.publish(message())
    other.publish(message())
    queue.publish(message())
    bench.commit()
    for _ in range(2):
        entry = queue.get()
        assert entry is not None
        queue.settle(entry)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert len(batch.settled) == 1
    assert len(batch.released) == 2
    bench.write(batch)
    assert len(bench.disk.durable.messages) == 1


def test_a_body_routed_to_many_queues_is_written_once_and_flagged_shared() -> None:
    bench = Bench()
    queues = [bench.queue(name) for name in "abc"]
    bench.commit()
    shared = message()
    for queue in queues:
        queue.publish(shared)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert [row[0] for row in batch.messages] == [shared.id]
    assert [flags for _, _, flags in batch.entries] == [SHARED] * 3


def test_a_shared_message_with_one_holder_annihilated_is_stored_for_the_other() -> None:
    bench = Bench()
    queues = [bench.queue(name) for name in "ab"]
    bench.commit()
    shared = message()
    for queue in queues:
        queue.publish(shared)
    entry = queues[0].get()
    assert entry is not None
    queues[0].settle(entry)
    bench.commit()
    assert list(bench.disk.durable.flags) == [(queues[1].id, shared.id)]
    assert list(bench.disk.durable.messages) == [shared.id]


def test_entries_of_a_queue_deleted_before_the_seal_are_left_out() -> None:
    bench = Bench()
    queue = bench.queue()
    bench.commit()
    queue.publish(message())
    bench.vhost.delete_queue(queue)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert not batch.entries
    assert not batch.messages


def test_the_next_id_in_a_batch_is_above_every_id_given_out() -> None:
    bench = Bench()
    (entry,) = published(bench.queue())
    batch = bench.broker.take_batch()
    assert batch is not None
    assert batch.next_id > entry.position


def test_ids_go_on_after_a_restart() -> None:
    bench = Bench()
    (entry,) = published(bench.queue())
    bench.commit()
    again = bench.reopened(clean=False)
    assert again.queue("new").id > entry.position


def test_open_bytes_grow_with_bodies_and_are_gone_with_the_seal() -> None:
    bench = Bench()
    queue = bench.queue()
    bench.commit()
    queue.publish(message(b"x" * 100))
    assert bench.journal.open_bytes == ENTRY_COST + 100
    bench.journal.open_bytes_max = 299
    assert bench.journal.full()
    bench.broker.take_batch()
    assert bench.journal.open_bytes == 0
    assert not bench.journal.full()


def test_depths_are_those_of_the_seal_not_of_what_comes_after() -> None:
    bench = Bench()
    queue = bench.queue()
    queue.publish(message(b"12345"))
    batch = bench.broker.take_batch()
    queue.publish(message())
    queue.purge()
    assert batch is not None
    assert batch.depths == [(queue.id, 1, 5)]
    bench.write(batch)
    bench.commit()
    assert bench.disk.depths[int(queue.id)] == (0, 0)


def test_sealing_twice_is_a_fault() -> None:
    journal = Journal(1, 0)
    journal.seal()
    with pytest.raises(AssertionError):
        journal.seal()


@pytest.mark.parametrize(
    ("ids", "ranges"),
    [
        ([], []),
        ([3], [(3, 3)]),
        ([3, 1, 2], [(1, 3)]),
        ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)]),
    ],
)
def test_ids_become_ranges(ids: list[int], ranges: list[tuple[int, int]]) -> None:
    assert id_ranges(ids) == ranges


@pytest.mark.parametrize("taken", [False, True])
def test_entries_with_another_message_between_them_are_one_message(taken: bool) -> None:
    bench = Bench()
    first, between, last = [bench.queue(name) for name in ("first", "between", "last")]
    one, two = message(b"one"), message(b"two")
    for queue, published_to in ((first, one), (between, two), (last, one), (first, message(b"three"))):
        queue.publish(published_to)
    if taken:  # what is left of the first message lies behind the second
        entry = first.get()
        assert entry is not None
        first.settle(entry)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert [row[4] for row in batch.messages] == [b"one", b"two", b"three"]
    assert [row[0] for row in batch.messages] == [one.id, two.id, two.id + 1]
    assert len(batch.entries) == (3 if taken else 4)


def test_definitions_count_as_waiting_for_the_writer() -> None:
    bench = Bench()
    bench.commit()
    bench.journal.open_bytes_max = 20 * ENTRY_COST
    for number in range(30):
        bench.queue(f"q{number}")
    assert bench.journal.full()
    bench.commit()
    assert not bench.journal.full()


def test_restoring_leaves_the_journal_empty() -> None:
    bench = Bench()
    bench.commit()
    restored = Broker(bench.broker.registry, 100, 7)
    restored.restore(
        Summary(
            [
                Definition(
                    "vhost", False, {"name": "v", "description": "", "tags": "", "metadata": "{}", "tracing": 0}
                ),
                Definition(
                    "exchange",
                    False,
                    {"vhost": "v", "name": "e", "type": "fanout", "auto_delete": 0, "internal": 0, "arguments": b""},
                ),
            ],
            [],
        ),
        True,
    )
    assert restored.journal.empty()
    assert restored.journal.open_bytes == 0


def test_chunks_are_sealed_with_the_batch_that_brings_their_entries() -> None:
    bench = Bench()
    streams = [bench.queue(name) for name in ("one", "two")]
    bench.commit()
    for stream in streams:
        one = message(b"12345")
        stream.publish(one)
        bench.journal.begin_chunk(stream.lanes()[0], Chunk(7, int(one.id), 1000, 50))
    batch = bench.broker.take_batch()
    assert batch is not None
    assert batch.chunks == [
        (stream.id, 7, entry[1], 1000, 50) for stream, entry in zip(streams, batch.entries, strict=True)
    ]
    assert not batch.truncated
    bench.write(batch)
    assert bench.journal.empty()
    streams[0].publish(message())
    following = bench.broker.take_batch()
    assert following is not None
    assert not following.chunks


def test_a_truncation_alone_is_a_batch_with_the_depth_that_is_left() -> None:
    bench = Bench()
    stream = bench.queue()
    entries = published(stream, 3)
    bench.journal.begin_chunk(stream.lanes()[0], Chunk(0, int(entries[0].position), 1000, 0))
    bench.commit()
    assert bench.journal.empty()
    stream.lanes()[0].stored_messages, stream.lanes()[0].stored_bytes = 1, 4
    for entry, offset in zip(entries[1:], (1, 2), strict=True):
        bench.journal.truncate(stream.lanes()[0], Chunk(offset, int(entry.position), 1000, 4 * offset))
    assert not bench.journal.empty()
    batch = bench.broker.take_batch()
    assert batch is not None
    # The later one of two in a batch takes what the earlier one took.
    assert batch.truncated == [(stream.id, 2)]
    assert batch.purged[-1] == (stream.id, 0, entries[2].position - 1)
    assert batch.depths == [(stream.id, 1, 4)]
    assert not batch.settled
    bench.write(batch)
    assert bench.journal.empty()
    assert bench.broker.take_batch() is None
    reader = bench.store.reader()
    assert [entry.position for entry in reader.load(int(stream.id), 0, 10, 1000)] == [entries[2].position]
    assert reader.summary().queues[0].first == entries[2].position


def test_a_stream_deleted_before_the_seal_leaves_no_chunk() -> None:
    bench = Bench()
    stream = bench.queue()
    (first,) = published(stream)
    bench.journal.begin_chunk(stream.lanes()[0], Chunk(0, int(first.position), 1000, 0))
    bench.commit()
    (second,) = published(stream)
    bench.journal.begin_chunk(stream.lanes()[0], Chunk(1, int(second.position), 1000, 4))
    bench.journal.truncate(stream.lanes()[0], Chunk(1, int(second.position), 1000, 4))
    bench.vhost.delete_queue(stream)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert not batch.chunks
    bench.write(batch)
    assert bench.journal.empty()
    assert bench.store.reader().last_chunk(int(stream.id)) is None
    assert not bench.disk.chunks
