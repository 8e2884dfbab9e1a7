"""SQLite and memory given the same batches hold the same, through any history of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from amqpd.broker.batch import EARLY, PAGED, SHARED, Batch, StoredEntry
from amqpd.store.tables import id_ranges
from tests.store.batches import EVERYTHING, Writer, drop_queue, message, queue
from tests.store.conftest import MemoryPlace, Place, SqlitePlace

LEVELS = (1, 1, 3)  # of the queues: the last one has three lanes
LANES = [(place, level) for place, levels in enumerate(LEVELS) for level in range(levels)]

places = st.integers(0, len(LEVELS) - 1)
lanes = st.sampled_from(LANES)


class Held(NamedTuple):
    """What an entry is expected to be; ``deadline`` 0 is never."""

    flags: int
    deadline: int = 0
    counts: tuple[int, int] = (0, 0)


class TwoStores(RuleBasedStateMachine):
    """``ids``: of the queues. ``held``: for each lane, by its key in the store, the entries by position."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.places: list[Place] = [SqlitePlace(Path(self.directory.name)), MemoryPlace()]
        self.ids = [sum(LEVELS[:place]) + 1 for place in range(len(LEVELS))]
        self.held: dict[int, dict[int, Held]] = {self.key(*lane): {} for lane in LANES}
        self.start()
        first = Batch(1)
        first.next_id = sum(LEVELS) + 1
        first.definitions = [queue(number, levels=levels) for number, levels in zip(self.ids, LEVELS, strict=True)]
        self.commit(first)

    def key(self, place: int, level: int) -> int:
        return self.ids[place] + level

    def start(self) -> None:
        started = [place.start() for place in self.places]
        self.writers: list[Writer] = [writer for writer, _, _ in started]
        self.readers = [reader for _, reader, _ in started]
        assert started[0][2] == started[1][2]

    def commit(self, batch: Batch) -> None:
        for writer in self.writers:
            writer.commit(batch)

    def new(self) -> Batch:
        return self.writers[0].new()

    @rule(
        holders=st.sets(lanes, min_size=1),
        count=st.integers(1, 80),
        paged=st.booleans(),
        gap=st.integers(0, 3),
        deadlines=st.lists(st.sampled_from([0, 0, 50, 70, 90]), min_size=1, max_size=7),
    )
    def publish(self, holders: set[tuple[int, int]], count: int, paged: bool, gap: int, deadlines: list[int]) -> None:
        """``deadlines``: of the messages in turn; the odd ones among those that expire are early."""
        batch = self.new()
        ids = range(batch.next_id + gap, batch.next_id + gap + count)
        flags = PAGED if paged else SHARED if len(holders) > 1 else 0
        messages = batch.paged_messages if paged else batch.messages
        entries = batch.paged_entries if paged else batch.entries
        expiring = batch.paged_expiring if paged else batch.expiring
        for number in ids:
            messages.append(message(number))
            deadline = deadlines[number % len(deadlines)]
            for lane in sorted(self.key(*holder) for holder in holders):
                held = Held(flags | EARLY if deadline and number % 2 else flags, deadline)
                if deadline:
                    expiring.append((lane, number, held.flags, deadline, None))
                else:
                    entries.append((lane, number, flags))
                self.held[lane][number] = held
        batch.next_id = ids.stop
        self.commit(batch)

    @rule(lane=lanes, data=st.data())
    def count(self, lane: tuple[int, int], data: st.DataObject) -> None:
        """Counts change, of entries that are gone too."""
        source = self.key(*lane)
        batch = self.new()
        known = st.sampled_from([*self.held[source], batch.next_id])
        for position in sorted(data.draw(st.sets(known, min_size=1))):
            counts = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
            batch.counted.append((source, position, *counts))
            if position in self.held[source]:
                self.held[source][position] = self.held[source][position]._replace(counts=counts)
        self.commit(batch)

    @rule(lane=lanes, data=st.data())
    def settle(self, lane: tuple[int, int], data: st.DataObject) -> None:
        source = self.key(*lane)
        held = self.held[source]
        if not held:
            return
        gone = sorted(data.draw(st.sets(st.sampled_from(sorted(held)))))
        batch = self.new()
        batch.settled = [(source, first, last) for first, last in id_ranges(gone)]
        batch.released = id_ranges([number for number in gone if not held[number].flags & (SHARED | PAGED)])
        batch.shared = [number for number in gone if held[number].flags & SHARED]
        batch.redelivered = [(source, number) for number in gone[:1]]
        batch.depths = [(source, len(held) - len(gone), 7)]
        for number in gone:
            del held[number]
        self.commit(batch)

    @rule(lane=lanes, data=st.data())
    def purge(self, lane: tuple[int, int], data: st.DataObject) -> None:
        source = self.key(*lane)
        last = self.new().next_id - 1
        bounds = st.integers(1, last)
        low, high = sorted((data.draw(bounds), data.draw(bounds)))
        batch = self.new()
        batch.purged = [(source, low, high)]
        self.commit(batch)
        self.held[source] = {number: held for number, held in self.held[source].items() if not low <= number <= high}

    @rule(place=places)
    def drop(self, place: int) -> None:
        """Drop a queue and declare another of its name, which is a new queue."""
        old = self.ids[place]
        batch = self.new()
        new = batch.next_id
        batch.next_id = new + LEVELS[place]
        batch.definitions = [drop_queue(old), queue(new, f"queue-{place}", LEVELS[place])]
        self.commit(batch)
        self.ids[place] = new
        for level in range(LEVELS[place]):
            del self.held[old + level]
            self.held[new + level] = {}

    @rule()
    def tidy(self) -> None:
        for writer in self.writers:
            writer.store.tidy()

    @rule()
    def resume(self) -> None:
        assert len({writer.store.resume() for writer in self.writers}) == 1

    @rule(release=st.booleans())
    def restart(self, release: bool) -> None:
        for place in self.places:
            place.stop(release)
        for lane, held in self.held.items():
            self.held[lane] = {position: entry for position, entry in held.items() if not entry.flags & PAGED}
        self.start()

    @invariant()
    def both_hold_what_was_published_and_not_settled(self) -> None:
        for lane, held in self.held.items():
            sqlite, memory = (reader.load(lane, 0, 100_000, EVERYTHING) for reader in self.readers)
            assert sqlite == memory
            assert {entry.position: held_by(entry) for entry in sqlite} == held
            assert [entry.position for entry in sqlite] == sorted(held)
        assert self.readers[0].summary() == self.readers[1].summary()

    @invariant()
    def both_tell_what_is_due(self) -> None:
        for lane, held in self.held.items():
            early = sorted((entry.deadline, position) for position, entry in held.items() if entry.flags & EARLY)
            middle = early[len(early) // 2][1] if early else 0
            for after, up_to, limit, max_bytes in (
                (0, 1000, 100_000, EVERYTHING),
                (0, 70, 100_000, EVERYTHING),
                (middle, 70, 3, EVERYTHING),
                (0, 90, 100_000, 25),
            ):
                behind = [item for item in early if item[1] > after]
                most = min(limit, max_bytes // 10 + 1)  # a body has ten octets
                count = min(most, sum(deadline <= up_to for deadline, _ in behind))
                for reader in self.readers:
                    found = reader.due(lane, after, up_to, limit, max_bytes)
                    assert [(entry.deadline, entry.position) for entry in found.entries] == behind[:count]
                    assert all(held_by(entry) == held[entry.position] for entry in found.entries)
                    assert found.next_deadline == (behind[count][0] if count < len(behind) else 0)

    def teardown(self) -> None:
        for writer in self.writers:
            while writer.store.tidy():
                pass
        live = {position for held in self.held.values() for position in held}
        assert [place.stored_messages() for place in self.places] == [live, live]
        for place in self.places:
            place.stop()
        self.directory.cleanup()


def held_by(entry: StoredEntry) -> Held:
    return Held(entry.flags, entry.deadline, (entry.deliveries, entry.acquired))


TestStoresAgree = TwoStores.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
