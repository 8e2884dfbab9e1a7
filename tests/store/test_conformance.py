"""What every store does the same way: the contract of ``amqpd.store.contract``, rule by rule."""

from __future__ import annotations

import math

import pytest

from amqpd.broker.batch import EARLY, KINDS, PAGED, SHARED, Batch, Chunk, Definition, QueueSummary, Scalar
from amqpd.store.contract import StoreCorrupt, StoreFenced, StoreReader, StoreUnavailable
from tests.store.batches import EVERYTHING, Writer, add, add_expiring, body, drop_queue, message, positions, queue
from tests.store.conftest import Place


def test_a_new_store_begins_at_one(place: Place) -> None:
    _, reader, opened = place.start()
    assert (opened.epoch, opened.last_batch, opened.next_message_id, opened.clean) == (1, 0, 1, True)
    assert reader.summary().definitions == []
    assert reader.summary().queues == []


def test_every_open_raises_the_epoch_and_finds_batch_and_next_id(place: Place) -> None:
    writer, _, _ = place.start()
    writer.define(queue(1))
    writer.publish([1], [2, 3])
    place.stop(release=True)
    _, _, opened = place.start()
    assert (opened.epoch, opened.last_batch, opened.next_message_id, opened.clean) == (2, 2, 4, True)


def test_a_store_that_was_not_released_is_not_clean_once(place: Place) -> None:
    place.start()
    place.stop(release=False)
    _, _, opened = place.start()
    assert not opened.clean
    place.stop(release=True)
    _, _, opened = place.start()
    assert opened.clean


def test_a_second_owner_is_refused_while_the_first_holds_the_store(place: Place) -> None:
    place.start()
    with pytest.raises(StoreUnavailable):
        place.make().open("main", "second")
    place.stop()
    place.start()


def test_another_shard_is_refused(place: Place) -> None:
    place.start("main")
    place.stop()
    with pytest.raises(StoreCorrupt):
        place.make().open("other", "test")
    place.start("main")  # the refusal let the claim go


def test_closing_twice_is_harmless(place: Place) -> None:
    writer, _, _ = place.start()
    writer.store.close(release=True)
    writer.store.close(release=True)
    assert place.start()[2].clean


def test_a_claim_that_cannot_be_lost_holds_for_ever(place: Place) -> None:
    assert place.start()[0].store.renew() == math.inf


def test_a_batch_is_read_back_as_it_was_committed(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    batch.messages = [(2, "", "", b"", b""), (3, "amq.topic", "clé.\x00", b"\x00\xff", bytes(range(256)))]
    batch.entries = [(1, 2, 0), (1, 3, SHARED)]
    writer.commit(batch)
    assert [tuple(entry) for entry in reader.load(1, 0, 10, EVERYTHING)] == [
        (2, 0, "", "", b"", b"", 0, 0, 0),
        (3, SHARED, "amq.topic", "clé.\x00", b"\x00\xff", bytes(range(256)), 0, 0, 0),
    ]


def test_committing_the_last_batch_again_changes_nothing(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add(batch, [1], [2, 3])
    add(batch, [1], [4], paged=True)
    writer.commit(batch)
    writer.store.commit(batch)
    assert positions(reader, 1) == [2, 3, 4]
    place.stop()
    writer, reader, opened = place.start()
    writer.store.commit(batch)
    assert opened.last_batch == 1
    assert positions(reader, 1) == [2, 3]


def test_a_batch_out_of_turn_is_a_bug(place: Place) -> None:
    writer, _, _ = place.start()
    batch = writer.new()
    batch.number = 2
    with pytest.raises(AssertionError):
        writer.store.commit(batch)


def test_a_fenced_owner_writes_nothing_and_gives_nothing_back(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1))
    place.seize()
    with pytest.raises(StoreFenced):
        writer.publish([1], [2])
    with pytest.raises(StoreFenced):
        writer.store.resume()
    assert positions(reader, 1) == []
    assert place.stored_messages() == set()


def test_resume_tells_the_last_batch_and_writing_goes_on(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1))
    writer.publish([1], [2])
    assert writer.store.resume() == 2
    writer.publish([1], [3])
    assert positions(reader, 1) == [2, 3]


def test_a_store_that_is_not_open_is_unavailable(place: Place) -> None:
    writer, _, _ = place.start()
    place.stop()
    with pytest.raises(StoreUnavailable):
        writer.define(queue(1))


# Definitions


def example(kind: str, number: int) -> Definition:
    """A definition with a value of its own in every column."""
    row = KINDS[kind]
    examples: dict[type, Scalar] = {str: f"text {number}", int: number, bytes: b"\x00\x01%d" % number}
    values = {name: examples[type_] for name, type_ in {**row.key, **row.columns}.items()}
    return Definition(kind, False, values)


@pytest.mark.parametrize("kind", list(KINDS))
def test_definitions_of_a_kind_are_put_replaced_and_dropped(place: Place, kind: str) -> None:
    writer, reader, _ = place.start()
    one, two = example(kind, 1), example(kind, 2)
    writer.define(one, two)
    changed = Definition(kind, False, {**one.values, **dict.fromkeys(KINDS[kind].columns)})
    writer.define(changed)
    assert sorted(map(repr, reader.summary().definitions)) == sorted(map(repr, [changed, two]))
    writer.define(Definition(kind, True, {name: two.values[name] for name in KINDS[kind].key}))
    place.stop()
    assert place.start()[1].summary().definitions == [changed]


def test_definitions_of_one_batch_are_done_in_their_order(place: Place) -> None:
    writer, reader, _ = place.start()
    one = example("user", 1)
    again = Definition("user", False, {**one.values, "tags": "again"})
    drop = Definition("user", True, {"name": one.values["name"]})
    writer.define(one, drop, again)
    assert reader.summary().definitions == [again]
    writer.define(one, again, drop)
    assert reader.summary().definitions == []


def test_definitions_come_back_in_an_order_in_which_they_can_be_declared(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(*(example(kind, 1) for kind in reversed(KINDS)))
    assert [definition.kind for definition in reader.summary().definitions] == list(KINDS)


def test_many_definitions_fit_one_batch(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(*(queue(number) for number in range(1, 1500)))
    assert len(reader.summary().queues) == 1499
    writer.define(*(drop_queue(number) for number in range(2, 1500)))
    assert [row.queue for row in reader.summary().queues] == [1]


# Messages and entries


@pytest.mark.parametrize("count", [1, 2, 63, 64, 511, 512, 513, 1500])
def test_any_number_of_messages_goes_in_and_out(place: Place, count: int) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1), queue(2))
    writer.publish([1], range(10, 10 + count))
    assert positions(reader, 1) == list(range(10, 10 + count))
    assert [entry.body for entry in reader.load(1, 0, count, EVERYTHING)] == [
        body(number) for number in range(10, 10 + count)
    ]
    assert positions(reader, 2) == []
    writer.settle(1, 10, 10 + count - 1)
    assert positions(reader, 1) == []
    assert place.stored_messages() == set()


def test_messages_of_one_batch_go_to_queues_in_turn(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    ids = list(range(10, 310))
    batch.messages = [message(number) for number in ids]
    batch.entries = [(1 + number % 3, number, 0) for number in ids]
    writer.commit(batch)
    for number in (1, 2, 3):
        assert positions(reader, number) == [id_ for id_ in ids if 1 + id_ % 3 == number]


def test_a_settled_range_takes_only_its_own_queue(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.messages = [message(number) for number in range(10, 20)]
    batch.entries = [(1 + number % 2, number, 0) for number in range(10, 20)]
    writer.commit(batch)
    batch = writer.new()
    batch.settled = [(1, 10, 19)]
    batch.released = [(number, number) for number in range(10, 20, 2)]
    writer.commit(batch)
    assert positions(reader, 1) == []
    assert positions(reader, 2) == [11, 13, 15, 17, 19]
    assert place.stored_messages() == {11, 13, 15, 17, 19}


def test_many_short_ranges_settle_just_what_they_name(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], range(1000, 4000))
    gone = set(range(1000, 4000, 3)) | set(range(1001, 4000, 9))
    batch = writer.new()
    batch.settled = [(1, number, number) for number in sorted(gone)]
    batch.released = [(number, number) for number in sorted(gone)]
    writer.commit(batch)
    left = [number for number in range(1000, 4000) if number not in gone]
    assert positions(reader, 1) == left
    assert place.stored_messages() == set(left)


def test_a_shared_message_stays_until_its_last_entry_goes(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1, 2, 3], [10, 11])
    for queue_id in (1, 2):
        batch = writer.new()
        batch.settled = [(queue_id, 10, 11)]
        batch.shared = [10, 11]
        writer.commit(batch)
        assert place.stored_messages() == {10, 11}
        assert [entry.body for entry in reader.load(3, 0, 10, EVERYTHING)] == [body(10), body(11)]
    batch = writer.new()
    batch.settled = [(3, 10, 10)]
    batch.shared = [10]
    writer.commit(batch)
    assert place.stored_messages() == {11}


def test_depths_and_marks_are_kept_until_the_queue_goes(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    add(batch, [1], [10, 11, 12])
    batch.depths = [(1, 3, 30)]
    batch.redelivered = [(1, 11)]
    writer.commit(batch)
    batch = writer.new()
    batch.settled, batch.released = [(1, 10, 10)], [(10, 10)]
    batch.depths = [(1, 2, 20)]
    batch.redelivered = [(1, 10)]
    writer.commit(batch)
    place.stop()
    writer, reader, _ = place.start()
    assert reader.summary().queues == [QueueSummary(1, 2, 20, 11, 12, 11), QueueSummary(2, 0, 0, 0, 0, 0)]
    batch = writer.new()
    batch.definitions = [drop_queue(1)]
    batch.depths = [(1, 0, 0)]
    writer.commit(batch)
    writer.define(queue(1))
    assert reader.summary().queues[0] == QueueSummary(1, 0, 0, 0, 0, 0)


# Purging and dropping


def test_a_purged_range_is_gone_for_readers_at_once_and_from_disk_after_tidying(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1))
    for first in range(10_000, 14_000, 500):
        writer.publish([1], range(first, first + 500))
    writer.purge(1, 10_100, 13_899)
    left = [*range(10_000, 10_100), *range(13_900, 14_000)]
    assert positions(reader, 1) == left
    summary = reader.summary().queues[0]
    assert (summary.first, summary.last) == (10_000, 13_999)
    while writer.store.tidy():
        assert positions(reader, 1) == left
    assert place.stored_messages() == set(left)
    assert positions(reader, 1) == left


def test_commits_alone_finish_a_purge(place: Place) -> None:
    writer, reader, _ = place.start()
    for first in range(10_000, 13_000, 500):
        writer.publish([1], range(first, first + 500))
    writer.purge(1, 0, 12_999)
    for number in range(20_000, 20_010):
        writer.publish([1], [number])
    assert place.stored_messages() == set(range(20_000, 20_010))
    assert positions(reader, 1) == list(range(20_000, 20_010))


def test_a_purge_is_finished_after_a_restart(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1))
    for first in range(10_000, 13_000, 500):
        writer.publish([1], range(first, first + 500))
    writer.purge(1, 10_000, 12_999)
    place.stop(release=False)
    writer, reader, _ = place.start()
    assert positions(reader, 1) == []
    summary = reader.summary().queues[0]
    assert (summary.first, summary.last) == (0, 0)
    while writer.store.tidy():
        pass
    assert place.stored_messages() == set()


def test_overlapping_purges_and_a_drop_take_everything_once(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1), queue(2))
    for first in range(10_000, 14_000, 500):
        writer.publish([1, 2], range(first, first + 500))
    writer.purge(1, 10_500, 11_500)
    writer.purge(1, 11_000, 13_000)
    batch = writer.new()
    batch.definitions = [drop_queue(1)]
    batch.purged = [(1, 10_000, 12_000)]
    writer.commit(batch)
    assert positions(reader, 1) == []
    while writer.store.tidy():
        pass
    assert positions(reader, 2) == list(range(10_000, 14_000))
    assert place.stored_messages() == set(range(10_000, 14_000))
    writer.define(drop_queue(2))
    while writer.store.tidy():
        pass
    assert place.stored_messages() == set()


def test_an_entry_may_be_put_and_purged_by_one_batch(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add(batch, [1], [10, 11])
    batch.purged = [(1, 10, 10)]
    writer.commit(batch)
    assert positions(reader, 1) == [11]
    assert place.stored_messages() == {11}


def test_settling_inside_a_purged_range_is_harmless(place: Place) -> None:
    writer, reader, _ = place.start()
    for first in range(10_000, 14_000, 500):
        writer.publish([1], range(first, first + 500))
    writer.purge(1, 10_000, 13_999)
    writer.settle(1, 12_000, 12_999)
    while writer.store.tidy():
        pass
    assert positions(reader, 1) == []
    assert place.stored_messages() == set()


# Transient messages put out of memory


def test_paged_out_messages_come_back_in_order_among_durable_ones(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10, 12, 14, 16])
    writer.publish([1], [11, 13, 15], paged=True)
    page = reader.load(1, 0, 100, EVERYTHING)
    assert [(entry.position, entry.flags) for entry in page] == [
        (number, PAGED if number % 2 else 0) for number in range(10, 17)
    ]
    assert [entry.body for entry in page] == [body(number) for number in range(10, 17)]
    assert [entry.position for entry in reader.load(1, 11, 3, EVERYTHING)] == [12, 13, 14]
    assert reader.bodies([11, 10, 15]) == [body(11), body(10), body(15)]


def test_paged_out_messages_are_gone_after_a_restart_and_leave_nothing(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10])
    writer.publish([1], [11, 12], paged=True)
    place.stop(release=False)
    _, reader, opened = place.start()
    assert positions(reader, 1) == [10]
    assert place.stored_messages() == {10}
    assert opened.next_message_id == 13


def test_settling_takes_paged_out_messages_too(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10, 12])
    writer.publish([1], [11, 13], paged=True)
    batch = writer.new()
    batch.settled = [(1, 10, 11)]
    batch.released = [(10, 10)]
    writer.commit(batch)
    assert positions(reader, 1) == [12, 13]
    assert place.stored_messages() == {12, 13}


def test_a_message_paged_out_of_two_queues_stays_until_both_let_go(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10], paged=True)
    writer.publish([2], [10], paged=True)  # its row comes again
    batch = writer.new()
    batch.settled = [(1, 10, 10)]
    writer.commit(batch)
    assert positions(reader, 2) == [10]
    batch = writer.new()
    batch.settled = [(2, 10, 10)]
    writer.commit(batch)
    assert place.stored_messages() == set()


def test_a_message_may_be_durable_in_one_queue_and_paged_out_of_another(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10])
    writer.publish([2], [10], paged=True)
    batch = writer.new()
    batch.settled = [(2, 10, 10)]
    writer.commit(batch)
    assert reader.load(1, 0, 1, EVERYTHING)[0].body == body(10)
    writer.publish([2], [11], paged=True)
    writer.settle(1, 10, 10)
    assert positions(reader, 1) == []
    assert positions(reader, 2) == [11]


def test_purging_and_dropping_take_paged_out_messages_too(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.define(queue(1), queue(2))
    for first in range(10_000, 14_000, 500):
        writer.publish([1], range(first, first + 500), paged=True)
    writer.publish([2], [20_000, 20_001], paged=True)
    writer.purge(1, 10_000, 13_998)
    writer.define(drop_queue(2))
    assert positions(reader, 1) == [13_999]
    assert positions(reader, 2) == []
    while writer.store.tidy():
        pass
    assert place.stored_messages() == {13_999}


# Reading


def test_load_stops_at_the_limit_and_goes_on_behind_a_position(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], range(10, 30, 2))
    assert [entry.position for entry in reader.load(1, 0, 3, EVERYTHING)] == [10, 12, 14]
    assert [entry.position for entry in reader.load(1, 14, 3, EVERYTHING)] == [16, 18, 20]
    assert [entry.position for entry in reader.load(1, 25, 3, EVERYTHING)] == [26, 28]
    assert reader.load(1, 28, 3, EVERYTHING) == []
    assert reader.load(7, 0, 3, EVERYTHING) == []


@pytest.mark.parametrize("paged", [False, True])
def test_load_ends_with_the_entry_that_exceeds_the_octets_allowed(place: Place, paged: bool) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], range(10, 20), size=100)
    if paged:
        writer.publish([1], range(20, 30), size=100, paged=True)
        writer.settle(1, 10, 17)
        assert [entry.position for entry in reader.load(1, 0, 10, 399)] == [18, 19, 20, 21]
        assert [entry.position for entry in reader.load(1, 0, 10, 400)] == [18, 19, 20, 21, 22]
    else:
        assert [entry.position for entry in reader.load(1, 0, 10, 299)] == [10, 11, 12]
        assert [entry.position for entry in reader.load(1, 0, 10, 300)] == [10, 11, 12, 13]
    assert len(reader.load(1, 0, 10, 0)) == 1


def test_bodies_come_in_the_order_asked_for(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], range(10, 2010))
    assert reader.bodies([1500, 10, 700, 10]) == [body(1500), body(10), body(700), body(10)]
    assert reader.bodies(range(10, 2010)) == [body(number) for number in range(10, 2010)]
    assert reader.bodies([]) == []
    with pytest.raises(StoreCorrupt):
        reader.bodies([10, 5])


def test_an_entry_without_its_message_is_corruption(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10, 11])
    batch = writer.new()
    batch.released = [(11, 11)]
    writer.commit(batch)
    with pytest.raises(StoreCorrupt):
        reader.load(1, 0, 10, EVERYTHING)


# Deadlines, counts, lanes


def test_deadlines_are_read_back_with_the_entries(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add(batch, [1], [2])
    add_expiring(batch, 1, {3: 500}, early=False)
    add_expiring(batch, 1, {4: 400})
    add_expiring(batch, 1, {5: 300}, paged=True)
    writer.commit(batch)
    assert [(one.position, one.deadline, one.flags & EARLY) for one in reader.load(1, 0, 10, EVERYTHING)] == [
        (2, 0, 0),
        (3, 500, 0),
        (4, 400, EARLY),
        (5, 300, EARLY),
    ]


def test_due_entries_come_in_order_of_deadline_with_the_next_one(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    add_expiring(batch, 1, {3: 900, 4: 200, 5: 300, 7: 1000})
    add_expiring(batch, 1, {6: 100, 8: 250}, paged=True)
    add_expiring(batch, 1, {9: 50}, early=False)
    add_expiring(batch, 2, {10: 10})
    writer.commit(batch)

    def due(after: int, up_to: int, limit: int = 10, max_bytes: int = EVERYTHING) -> tuple[list[int], int]:
        found = reader.due(1, after, up_to, limit, max_bytes)
        return [entry.position for entry in found.entries], found.next_deadline

    assert due(0, 99) == ([], 100)
    assert due(0, 300) == ([6, 4, 8, 5], 900)
    assert due(4, 300) == ([6, 8, 5], 1000)
    assert due(0, 300, limit=2) == ([6, 4], 250)
    assert due(0, 300, max_bytes=15) == ([6, 4], 250)
    assert due(0, 5000) == ([6, 4, 8, 5, 3, 7], 0)
    assert due(10, 5000) == ([], 0)
    writer.purge(1, 3, 5)
    assert due(0, 5000) == ([6, 8, 7], 0)


def test_settled_entries_are_due_no_more(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add_expiring(batch, 1, {3: 100, 4: 200})
    writer.commit(batch)
    writer.settle(1, 3, 3)
    assert [entry.position for entry in reader.due(1, 0, 1000, 10, EVERYTHING).entries] == [4]
    (row,) = reader.summary().queues
    assert row.next_deadline == 200


def test_a_summary_tells_the_smallest_deadline_of_the_first_entry_and_the_early_ones(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2), queue(3)]
    add_expiring(batch, 1, {3: 100, 4: 200}, early=False)
    add(batch, [2], [5])
    add_expiring(batch, 2, {6: 300}, early=False)
    add_expiring(batch, 3, {7: 900}, early=False)
    add_expiring(batch, 3, {8: 400})
    writer.commit(batch)
    assert [row.next_deadline for row in reader.summary().queues] == [100, 0, 400]
    writer.purge(1, 3, 3)
    assert [row.next_deadline for row in reader.summary().queues] == [200, 0, 400]


def test_counts_of_deliveries_are_kept_and_missing_entries_passed_over(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add(batch, [1], [2, 3])
    add(batch, [1], [4], paged=True)
    batch.counted = [(1, 2, 1, 1)]
    writer.commit(batch)
    batch = writer.new()
    batch.counted = [(1, 2, 2, 3), (1, 4, 5, 6), (1, 99, 1, 1), (7, 2, 1, 1)]
    writer.commit(batch)
    assert [(one.position, one.deliveries, one.acquired) for one in reader.load(1, 0, 10, EVERYTHING)] == [
        (2, 2, 3),
        (3, 0, 0),
        (4, 5, 6),
    ]
    place.stop()
    _, reader, _ = place.start()
    assert [(one.position, one.deliveries) for one in reader.load(1, 0, 10, EVERYTHING)] == [(2, 2), (3, 0)]


def test_every_lane_has_its_summary_and_goes_with_its_queue(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(10, levels=3), queue(20)]
    batch.messages = [message(number) for number in (30, 31, 32)]
    batch.entries = [(10, 30, 0), (12, 31, 0), (20, 32, 0)]
    add(batch, [12], [33], paged=True)
    batch.depths = [(10, 1, 10), (12, 1, 10), (20, 1, 10)]
    batch.redelivered = [(12, 31)]
    writer.commit(batch)
    assert reader.summary().queues == [
        QueueSummary(10, 1, 10, 30, 30, 0, 0),
        QueueSummary(12, 1, 10, 31, 31, 31, 0),
        QueueSummary(20, 1, 10, 32, 32, 0, 0),
    ]
    writer.define(drop_queue(10))
    assert [row.queue for row in reader.summary().queues] == [20]
    for lane in (10, 11, 12):
        assert reader.load(lane, 0, 10, EVERYTHING) == []
    assert positions(reader, 20) == [32]


def test_nothing_of_a_dropped_lane_is_found_by_a_queue_with_its_key(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(10, levels=3)]
    add(batch, [12], [30])
    batch.depths = [(12, 1, 10)]
    batch.redelivered = [(12, 30)]
    writer.commit(batch)
    writer.define(drop_queue(10))
    writer.define(queue(12))
    assert reader.summary().queues == [QueueSummary(12, 0, 0, 0, 0, 0, 0)]


def test_a_queue_that_one_batch_declares_and_drops_takes_all_lanes_along(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(10, levels=3), drop_queue(10), queue(20)]
    add(batch, [12], [30])
    add(batch, [20], [31])
    add(batch, [11], [32], paged=True)
    writer.commit(batch)
    assert [positions(reader, lane) for lane in (10, 11, 12, 20)] == [[], [], [], [31]]
    assert place.stored_messages() == {31}


def test_early_entries_that_were_purged_are_due_no_more_while_they_wait_on_disk(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add_expiring(batch, 1, {number: number for number in range(1000, 5000)})
    add_expiring(batch, 1, {number: number for number in range(5000, 8000)}, paged=True)
    writer.commit(batch)
    batch = writer.new()
    batch.purged = [(1, 1000, 3999), (1, 5000, 7998)]
    writer.commit(batch)
    (row,) = reader.summary().queues
    assert (row.first, row.last, row.next_deadline) == (4000, 4999, 4000)
    found = reader.due(1, 0, 10_000, 500, EVERYTHING)
    assert [entry.position for entry in found.entries] == list(range(4000, 4500))
    assert found.next_deadline == 4500
    found = reader.due(1, 4998, 10_000, 500, EVERYTHING)
    assert [entry.position for entry in found.entries] == [4999, 7999]
    assert found.next_deadline == 0


def test_a_message_with_deadlines_in_two_queues_stays_until_both_let_go(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.messages = [message(10)]
    batch.expiring = [(1, 10, SHARED | EARLY, 500, None), (2, 10, SHARED, 700, None)]
    writer.commit(batch)
    for queue_id, left in ((1, {10}), (2, set[int]())):
        batch = writer.new()
        batch.settled = [(queue_id, 10, 10)]
        batch.shared = [10]
        writer.commit(batch)
        assert place.stored_messages() == left
    assert reader.due(1, 0, 1000, 10, EVERYTHING) == ([], 0)


def test_paged_out_messages_with_deadlines_are_settled_like_others(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    add_expiring(batch, 1, {10: 500, 11: 400}, paged=True)
    writer.commit(batch)
    batch = writer.new()
    batch.settled = [(1, 11, 11)]
    writer.commit(batch)
    assert place.stored_messages() == {10}
    (entry,) = reader.due(1, 0, 1000, 10, EVERYTHING).entries
    assert (entry.position, entry.deadline, entry.flags, entry.body) == (10, 500, EARLY | PAGED, body(10))


def test_a_batch_with_deadlines_and_counts_may_be_committed_twice(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    add_expiring(batch, 1, {10: 500})
    add_expiring(batch, 1, {11: 400}, paged=True)
    batch.counted = [(1, 10, 1, 2), (1, 11, 3, 4)]
    writer.commit(batch)
    writer.store.commit(batch)
    page = reader.load(1, 0, 10, EVERYTHING)
    assert [(one.position, one.deadline, one.deliveries, one.acquired) for one in page] == [
        (10, 500, 1, 2),
        (11, 400, 3, 4),
    ]


def test_an_entry_counted_and_settled_by_one_batch_is_gone(place: Place) -> None:
    writer, reader, _ = place.start()
    writer.publish([1], [10, 11])
    batch = writer.new()
    batch.counted = [(1, 10, 1, 1), (1, 11, 1, 1)]
    batch.settled, batch.released = [(1, 10, 10)], [(10, 10)]
    writer.commit(batch)
    assert [(one.position, one.deliveries) for one in reader.load(1, 0, 10, EVERYTHING)] == [(11, 1)]


@pytest.mark.parametrize("count", [1, 2, 700])
def test_any_number_of_entries_expires_and_is_counted(place: Place, count: int) -> None:
    writer, reader, _ = place.start()
    ids = range(1000, 1000 + count)
    batch = writer.new()
    add_expiring(batch, 1, {number: number * 2 for number in ids}, early=False)
    batch.counted = [(1, number, number % 7, number % 5) for number in ids]
    writer.commit(batch)
    page = reader.load(1, 0, 1000, EVERYTHING)
    assert [(one.position, one.deadline, one.deliveries, one.acquired) for one in page] == [
        (number, number * 2, number % 7, number % 5) for number in ids
    ]
    assert reader.due(1, 0, 10_000, 10, EVERYTHING) == ([], 0)


# Messages that wait for their time


def scheduled(place: Place) -> tuple[Writer, StoreReader]:
    """A queue with five messages that wait, two of them paged out, and one that is not early."""
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    add_expiring(batch, 1, {3: 900, 4: 200}, name="one")
    add_expiring(batch, 1, {5: 200}, name="two")
    add_expiring(batch, 1, {6: 100, 7: 300}, name="two", paged=True)
    add_expiring(batch, 1, {8: 50}, early=False)
    add_expiring(batch, 2, {9: 10}, name="one")
    writer.commit(batch)
    return writer, reader


def upcoming(reader: StoreReader, after: tuple[int, int], limit: int = 10, max_bytes: int = EVERYTHING) -> list[int]:
    return [entry.position for entry in reader.upcoming(1, after, limit, max_bytes)]


def test_what_comes_next_is_read_in_order_of_deadline_and_position(place: Place) -> None:
    writer, reader = scheduled(place)
    assert upcoming(reader, (0, 0)) == [6, 4, 5, 7, 3]
    assert upcoming(reader, (200, 4)) == [5, 7, 3]
    assert upcoming(reader, (200, 4), limit=2) == [5, 7]
    assert upcoming(reader, (0, 0), max_bytes=15) == [6, 4]
    assert upcoming(reader, (900, 3)) == []
    writer.settle(1, 5, 5)
    writer.purge(1, 7, 7)
    assert upcoming(reader, (0, 0)) == [6, 4, 3]
    (entry,) = reader.upcoming(1, (200, 5), 1, EVERYTHING)
    assert (entry.position, entry.deadline, entry.flags, entry.body) == (3, 900, EARLY, body(3))


def test_how_many_are_overdue_is_counted(place: Place) -> None:
    writer, reader = scheduled(place)
    assert [reader.overdue(1, up_to) for up_to in (99, 100, 200, 5000)] == [0, 1, 3, 5]
    writer.purge(1, 3, 4)
    assert reader.overdue(1, 5000) == 3


def test_entries_are_found_by_their_name(place: Place) -> None:
    writer, reader = scheduled(place)
    assert [entry.position for entry in reader.named(1, "one", 10)] == [3, 4]
    assert [entry.position for entry in reader.named(1, "two", 10)] == [5, 6, 7]
    assert [entry.position for entry in reader.named(1, "two", 1)] == [5]
    assert reader.named(1, "three", 10) == []
    writer.settle(1, 3, 3)
    writer.settle(1, 6, 6)
    writer.purge(1, 7, 7)
    assert [entry.position for entry in reader.named(1, "one", 10)] == [4]
    assert [entry.position for entry in reader.named(1, "two", 10)] == [5]


def test_a_deadline_can_be_moved(place: Place) -> None:
    writer, reader = scheduled(place)
    batch = writer.new()
    batch.moved = [(1, 6, 1000), (1, 3, 150), (1, 8, 1), (1, 99, 1)]
    writer.commit(batch)
    assert upcoming(reader, (0, 0)) == [3, 4, 5, 7, 6]
    place.stop()
    writer, reader, _ = place.start()
    assert [(one.position, one.deadline) for one in reader.upcoming(1, (0, 0), 10, EVERYTHING)] == [
        (3, 150),
        (4, 200),
        (5, 200),
    ]
    assert [(one.position, one.deadline) for one in reader.load(1, 7, 1, EVERYTHING)] == [(8, 50)]


def test_an_entry_moved_and_settled_by_one_batch_is_gone(place: Place) -> None:
    writer, reader = scheduled(place)
    batch = writer.new()
    batch.moved = [(1, 4, 7)]
    batch.settled, batch.released = [(1, 4, 4)], [(4, 4)]
    writer.commit(batch)
    assert upcoming(reader, (0, 0)) == [6, 5, 7, 3]


# Notes


def test_notes_are_put_replaced_forgotten_and_outdated(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    batch.notes = [(1, b"a", 100), (1, b"b", 200), (1, b"c", 300), (2, b"a", 100)]
    writer.commit(batch)
    assert reader.notes(1, b"", 10) == [(b"a", 100), (b"b", 200), (b"c", 300)]
    assert reader.notes(1, b"a", 1) == [(b"b", 200)]
    batch = writer.new()
    batch.outdated = [(1, 200)]
    batch.notes = [(1, b"b", 150), (1, b"d", 400)]
    batch.forgotten = [(1, b"c"), (1, b"z")]
    writer.commit(batch)
    writer.store.commit(batch)
    place.stop()
    writer, reader, _ = place.start()
    assert reader.notes(1, b"", 10) == [(b"b", 150), (b"d", 400)]
    assert reader.notes(2, b"", 10) == [(b"a", 100)]


def test_notes_go_with_their_queue(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    batch.notes = [(1, b"a", 100), (2, b"a", 100)]
    writer.commit(batch)
    writer.define(drop_queue(1))
    assert reader.notes(1, b"", 10) == []
    assert reader.notes(2, b"", 10) == [(b"a", 100)]


@pytest.mark.parametrize("count", [1, 2, 700])
def test_any_number_of_notes_is_put_and_forgotten(place: Place, count: int) -> None:
    writer, reader, _ = place.start()
    keys = [b"%09d" % number for number in range(count)]
    batch = writer.new()
    batch.definitions = [queue(1)]
    batch.notes = [(1, key, 5) for key in keys]
    writer.commit(batch)
    assert reader.notes(1, b"", 1000) == [(key, 5) for key in keys]
    batch = writer.new()
    batch.forgotten = [(1, key) for key in keys]
    writer.commit(batch)
    assert reader.notes(1, b"", 1000) == []


# Streams


def log(batch: Batch, stream: int, chunk: Chunk, positions: range) -> None:
    """A chunk with its entries."""
    batch.chunks.append((stream, *chunk))
    add(batch, [stream], list(positions))


def truncate(batch: Batch, stream: int, first: Chunk) -> None:
    batch.purged.append((stream, 0, first.position - 1))
    batch.truncated.append((stream, first.offset))


ONE, TWO, THREE = Chunk(0, 10, 500, 0), Chunk(3, 20, 500, 30), Chunk(4, 31, 700, 40)


def streamed(place: Place) -> tuple[Writer, StoreReader]:
    """Two streams. The second one's entries lie among those of the first one's only chunk of more than one entry."""
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2), queue(3)]
    log(batch, 1, ONE, range(10, 15, 2))
    log(batch, 2, Chunk(0, 11, 500, 0), range(11, 14, 2))
    writer.commit(batch)
    for stream, chunk in ((1, TWO), (1, THREE), (2, Chunk(2, 40, 900, 20))):
        batch = writer.new()
        log(batch, stream, chunk, range(chunk.position, chunk.position + 1))
        writer.commit(batch)
    return writer, reader


def test_chunks_are_read_in_order_page_by_page(place: Place) -> None:
    _, reader = streamed(place)
    assert reader.chunks(1, -1, 10) == [ONE, TWO, THREE]
    assert reader.chunks(1, -1, 2) == [ONE, TWO]
    assert reader.chunks(1, 0, 2) == [TWO, THREE]
    assert reader.chunks(1, 2, 2) == [TWO, THREE]
    assert reader.chunks(1, 4, 2) == []
    assert reader.chunks(2, -1, 10) == [Chunk(0, 11, 500, 0), Chunk(2, 40, 900, 20)]
    assert reader.chunks(3, -1, 10) == []


def test_the_last_chunk_is_found(place: Place) -> None:
    _, reader = streamed(place)
    assert reader.last_chunk(1) == THREE
    assert reader.last_chunk(2) == Chunk(2, 40, 900, 20)
    assert reader.last_chunk(3) is None


def test_of_chunks_with_one_time_the_first_is_found_by_it(place: Place) -> None:
    _, reader = streamed(place)
    assert reader.chunk_since(1, 0) == reader.chunk_since(1, 500) == ONE
    assert reader.chunk_since(1, 501) == reader.chunk_since(1, 700) == THREE
    assert reader.chunk_since(1, 701) is None
    assert reader.chunk_since(3, 0) is None


def test_an_offset_is_found_by_counting_on_from_its_chunk(place: Place) -> None:
    _, reader = streamed(place)
    assert [reader.place(1, offset) for offset in range(6)] == [10, 12, 14, 20, 31, 0]
    assert [reader.place(2, offset) for offset in range(4)] == [11, 13, 40, 0]
    assert [reader.place(stream, offset) for stream, offset in ((1, -1), (1, 1 << 62), (3, 0))] == [0, 0, 0]


def test_a_truncated_stream_begins_with_the_chunk_that_was_named(place: Place) -> None:
    writer, _ = streamed(place)
    batch = writer.new()
    log(batch, 1, Chunk(5, 50, 800, 50), range(50, 53))
    truncate(batch, 1, THREE)
    batch.depths = [(1, 4, 40)]
    writer.commit(batch)
    writer.store.commit(batch)
    place.stop(release=False)
    _, reader, _ = place.start()
    assert reader.chunks(1, -1, 10) == [THREE, Chunk(5, 50, 800, 50)]
    assert reader.chunk_since(1, 0) == THREE
    assert [reader.place(1, offset) for offset in range(9)] == [0, 0, 0, 0, 31, 50, 51, 52, 0]
    assert positions(reader, 1) == [31, 50, 51, 52]
    assert reader.summary().queues[0] == QueueSummary(1, 4, 40, 31, 52, 0, 0)
    assert len(reader.chunks(2, -1, 10)) == 2


def test_a_batch_may_truncate_the_chunk_it_brings(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    log(batch, 1, Chunk(0, 10, 100, 0), range(10, 12))
    log(batch, 1, Chunk(2, 12, 100, 20), range(12, 14))
    truncate(batch, 1, Chunk(2, 12, 100, 20))
    writer.commit(batch)
    assert reader.chunks(1, -1, 10) == [Chunk(2, 12, 100, 20)]
    assert [reader.place(1, offset) for offset in range(5)] == [0, 0, 12, 13, 0]


def test_a_long_head_that_waits_to_be_deleted_is_in_no_summary(place: Place) -> None:
    """More entries than are deleted at once; another queue holds some of the messages."""
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    batch.chunks = [(1, 0, 1000, 100, 0), (1, 4000, 5000, 200, 40_000)]
    add(batch, [1, 2], list(range(1000, 1100)))
    add(batch, [1], list(range(1100, 6000)))
    batch.depths = [(1, 5000, 50_000), (2, 100, 1000)]
    writer.commit(batch)
    batch = writer.new()
    truncate(batch, 1, Chunk(4000, 5000, 200, 40_000))
    batch.depths = [(1, 1000, 10_000)]
    writer.commit(batch)
    for _ in range(2):
        assert reader.summary().queues == [
            QueueSummary(1, 1000, 10_000, 5000, 5999, 0, 0),
            QueueSummary(2, 100, 1000, 1000, 1099, 0, 0),
        ]
        assert [reader.place(1, offset) for offset in (3999, 4000, 4999, 5000)] == [0, 5000, 5999, 0]
        place.stop(release=False)
        writer, reader, _ = place.start()
    while writer.store.tidy():
        pass
    assert place.stored_messages() == {*range(1000, 1100), *range(5000, 6000)}


def test_chunks_go_with_their_stream(place: Place) -> None:
    writer, reader = streamed(place)
    batch = writer.new()
    batch.definitions = [drop_queue(1)]
    log(batch, 1, Chunk(5, 50, 800, 50), range(50, 53))
    truncate(batch, 1, TWO)
    writer.commit(batch)
    for _ in range(2):
        assert reader.chunks(1, -1, 10) == []
        assert reader.last_chunk(1) is reader.chunk_since(1, 0) is None
        assert [reader.place(1, offset) for offset in range(9)] == [0] * 9
        assert [reader.place(2, offset) for offset in range(4)] == [11, 13, 40, 0]
        place.stop()
        writer, reader, _ = place.start()


def test_chunks_of_a_stream_without_entries_go_with_it_too(place: Place) -> None:
    writer, reader, _ = place.start()
    batch = writer.new()
    batch.definitions = [queue(1)]
    batch.chunks = [(1, *ONE)]
    writer.commit(batch)
    writer.define(drop_queue(1))
    assert reader.last_chunk(1) is None


@pytest.mark.parametrize("count", [1, 2, 700])
def test_any_number_of_chunks_is_put_and_truncated(place: Place, count: int) -> None:
    writer, reader, _ = place.start()
    chunks = {
        stream: [Chunk(number, 2 * number + stream, number, number) for number in range(10, 10 + count)]
        for stream in (1, 2)
    }
    batch = writer.new()
    batch.definitions = [queue(1), queue(2)]
    batch.chunks = sorted((stream, *chunk) for stream, own in chunks.items() for chunk in own)
    writer.commit(batch)
    for stream, own in chunks.items():
        assert reader.chunks(stream, -1, 1000) == own
    batch = writer.new()
    batch.truncated = [(1, chunks[1][-1].offset), (2, chunks[2][-1].offset)]
    writer.commit(batch)
    for stream, own in chunks.items():
        assert reader.chunks(stream, -1, 1000) == own[-1:]
