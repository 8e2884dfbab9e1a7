"""SQLite and memory given the same batches hold the same, through any history of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from amqpd.broker.batch import PAGED, SHARED, Batch
from amqpd.store.tables import id_ranges
from tests.store.batches import EVERYTHING, Writer, drop_queue, message, queue
from tests.store.conftest import MemoryPlace, Place, SqlitePlace

QUEUES = 3

places = st.integers(0, QUEUES - 1)


class TwoStores(RuleBasedStateMachine):
    """``held``: for each queue the positions it holds, each with its flags."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.places: list[Place] = [SqlitePlace(Path(self.directory.name)), MemoryPlace()]
        self.ids = list(range(1, QUEUES + 1))
        self.held: dict[int, dict[int, int]] = {number: {} for number in self.ids}
        self.start()
        first = Batch(1)
        first.next_id = QUEUES + 1
        first.definitions = [queue(number) for number in self.ids]
        self.commit(first)

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
        holders=st.sets(places, min_size=1),
        count=st.integers(1, 80),
        paged=st.booleans(),
        gap=st.integers(0, 3),
    )
    def publish(self, holders: set[int], count: int, paged: bool, gap: int) -> None:
        batch = self.new()
        ids = range(batch.next_id + gap, batch.next_id + gap + count)
        flags = PAGED if paged else SHARED if len(holders) > 1 else 0
        messages = batch.paged_messages if paged else batch.messages
        entries = batch.paged_entries if paged else batch.entries
        for number in ids:
            messages.append(message(number))
            for queue_id in sorted(self.ids[holder] for holder in holders):
                entries.append((queue_id, number, flags))
                self.held[queue_id][number] = flags
        batch.next_id = ids.stop
        self.commit(batch)

    @rule(place=places, data=st.data())
    def settle(self, place: int, data: st.DataObject) -> None:
        source = self.ids[place]
        held = self.held[source]
        if not held:
            return
        gone = sorted(data.draw(st.sets(st.sampled_from(sorted(held)))))
        batch = self.new()
        batch.settled = [(source, first, last) for first, last in id_ranges(gone)]
        batch.released = id_ranges([number for number in gone if held[number] == 0])
        batch.shared = [number for number in gone if held[number] == SHARED]
        batch.redelivered = [(source, number) for number in gone[:1]]
        batch.depths = [(source, len(held) - len(gone), 7)]
        for number in gone:
            del held[number]
        self.commit(batch)

    @rule(place=places, data=st.data())
    def purge(self, place: int, data: st.DataObject) -> None:
        source = self.ids[place]
        last = self.new().next_id - 1
        bounds = st.integers(1, last)
        low, high = sorted((data.draw(bounds), data.draw(bounds)))
        batch = self.new()
        batch.purged = [(source, low, high)]
        self.commit(batch)
        self.held[source] = {number: flags for number, flags in self.held[source].items() if not low <= number <= high}

    @rule(place=places)
    def drop(self, place: int) -> None:
        """Drop a queue and declare another of its name, which is a new queue."""
        old = self.ids[place]
        batch = self.new()
        new = batch.next_id
        batch.next_id = new + 1
        batch.definitions = [drop_queue(old), queue(new, f"queue-{place}")]
        self.commit(batch)
        self.ids[place] = new
        del self.held[old]
        self.held[new] = {}

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
        for number, held in self.held.items():
            self.held[number] = {position: flags for position, flags in held.items() if flags != PAGED}
        self.start()

    @invariant()
    def both_hold_what_was_published_and_not_settled(self) -> None:
        for number, held in self.held.items():
            sqlite, memory = (reader.load(number, 0, 100_000, EVERYTHING) for reader in self.readers)
            assert sqlite == memory
            assert [(entry.position, entry.flags) for entry in sqlite] == sorted(held.items())
        assert self.readers[0].summary() == self.readers[1].summary()

    def teardown(self) -> None:
        for writer in self.writers:
            while writer.store.tidy():
                pass
        live = {position for held in self.held.values() for position in held}
        assert [place.stored_messages() for place in self.places] == [live, live]
        for place in self.places:
            place.stop()
        self.directory.cleanup()


TestStoresAgree = TwoStores.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
