"""SQLite and memory given the same batches hold the same, through any history of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from amqpd.broker.batch import EARLY, PAGED, SHARED, Batch, Chunk, StoredEntry
from amqpd.store.tables import id_ranges
from tests.store.batches import EVERYTHING, Writer, add, drop_queue, message, queue
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
    """``ids``: of the queues. ``held``: for each lane, by its key in the store, the entries by position.

    ``stream``: the key of a stream. ``logged``: the positions of all it was ever given, by offset; ``kept``: the chunks
    it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.sqlite = SqlitePlace(Path(self.directory.name))
        self.places: list[Place] = [self.sqlite, MemoryPlace()]
        self.ids = [sum(LEVELS[:place]) + 1 for place in range(len(LEVELS))]
        self.held: dict[int, dict[int, Held]] = {self.key(*lane): {} for lane in LANES}
        self.stream = sum(LEVELS) + 1
        self.logged: list[int] = []
        self.kept: list[Chunk] = []
        self.start()
        first = Batch(1)
        first.next_id = self.stream + 1
        first.definitions = [queue(number, levels=levels) for number, levels in zip(self.ids, LEVELS, strict=True)]
        first.definitions.append(queue(self.stream, "stream"))
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

    @rule(counts=st.lists(st.integers(1, 90), min_size=1, max_size=3), gap=st.integers(0, 3), later=st.integers(0, 2))
    def log(self, counts: list[int], gap: int, later: int) -> None:
        """A stream gets chunks of so many entries; between two entries lies a message of another queue."""
        batch = self.new()
        for count in counts:
            positions = range(batch.next_id + gap, batch.next_id + gap + 2 * count, 2)
            time = (self.kept[-1].time if self.kept else 0) + later
            self.kept.append(Chunk(len(self.logged), positions[0], time, 10 * len(self.logged)))
            batch.chunks.append((self.stream, *self.kept[-1]))
            add(batch, [self.stream], list(positions))
            self.logged += positions
        self.commit(batch)

    @rule(data=st.data(), count=st.integers(0, 3))
    def truncate(self, data: st.DataObject, count: int) -> None:
        """Chunks go at the front while some come at the end, by one batch; the last one stays."""
        if not self.kept:
            return
        batch = self.new()
        for number in range(batch.next_id, batch.next_id + count):
            self.kept.append(Chunk(len(self.logged), number, self.kept[-1].time, 10 * len(self.logged)))
            batch.chunks.append((self.stream, *self.kept[-1]))
            add(batch, [self.stream], [number])
            self.logged.append(number)
        first = data.draw(st.sampled_from(self.kept))
        batch.purged = [(self.stream, 0, first.position - 1)]
        batch.truncated = [(self.stream, first.offset)]
        batch.depths = [(self.stream, len(self.logged) - first.offset, 7)]
        self.kept = [chunk for chunk in self.kept if chunk.offset >= first.offset]
        self.commit(batch)

    @rule()
    def drop_stream(self) -> None:
        batch = self.new()
        old, self.stream = self.stream, batch.next_id
        batch.next_id += 1
        batch.definitions = [drop_queue(old), queue(self.stream, "stream")]
        self.commit(batch)
        self.logged, self.kept = [], []
        for reader in self.readers:
            assert reader.chunks(old, -1, 10) == []
            assert reader.last_chunk(old) is reader.chunk_since(old, 0) is None
            assert reader.place(old, 0) == 0

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

    @invariant()
    def both_find_their_way_in_the_stream(self) -> None:
        first = self.kept[0].offset if self.kept else len(self.logged)
        middle = self.kept[len(self.kept) // 2] if self.kept else Chunk(0, 0, 0, 0)
        for reader in self.readers:
            assert reader.chunks(self.stream, -1, 10_000) == self.kept
            behind = [chunk for chunk in self.kept if chunk.offset > middle.offset]
            assert reader.chunks(self.stream, middle.offset, 2) == behind[:2]
            assert reader.last_chunk(self.stream) == (self.kept[-1] if self.kept else None)
            since = [chunk for chunk in self.kept if chunk.time >= middle.time]
            assert reader.chunk_since(self.stream, middle.time) == (since[0] if since else None)
            assert reader.chunk_since(self.stream, self.kept[-1].time + 1 if self.kept else 0) is None
            entries = reader.load(self.stream, 0, 100_000, EVERYTHING)
            assert [entry.position for entry in entries] == self.logged[first:]
            for offset in {0, first - 1, first, middle.offset + 1, len(self.logged) - 1, len(self.logged)}:
                there = first <= offset < len(self.logged)
                assert reader.place(self.stream, offset) == (self.logged[offset] if there else 0)

    def teardown(self) -> None:
        for writer in self.writers:
            while writer.store.tidy():
                pass
        live = {position for held in self.held.values() for position in held}
        live.update(self.logged[self.kept[0].offset :] if self.kept else [])
        assert [place.stored_messages() for place in self.places] == [live, live]
        assert self.sqlite.execute("SELECT count(*) FROM chunk") == [(len(self.kept),)]
        for place in self.places:
            place.stop()
        self.directory.cleanup()


def held_by(entry: StoredEntry) -> Held:
    return Held(entry.flags, entry.deadline, (entry.deliveries, entry.acquired))


TestStoresAgree = TwoStores.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
