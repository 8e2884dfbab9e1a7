"""The schedule against a model that knows every message: time, partial progress, reads that are old, restarts.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.broker import Broker
from amqpd.broker.message import Entry
from amqpd.broker.shard import PageRequest
from amqpd.queues.schedule import DONE, END_OF_TIME, KEPT, Keeper
from amqpd.store.contract import Store
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.store.sqlite import SqliteStore
from tests.queues.building import message
from tests.queues.scheduling import EVERYTHING, START_MS, ScheduleBench, named

LONG = os.environ.get("AMQPD_SIMULATION") == "long"
pytestmark = pytest.mark.timeout(7200 if LONG else 600)

PERIOD_MS = 7
OCCURRENCES = 3
NAMES = ("", "a", "b")
DELAYS = st.sampled_from((-3, 0, 1, 1, 2, 3, 5, 10, 10, 20, 40, 100, 10_000))
# What becomes of a message when its time comes: it goes, it is kept, it comes again, it asks for those named a or b.
KINDS = st.sampled_from((b"go", b"go", b"keep", b"again", b"ask:a", b"ask:b"))
CHANGES = st.sampled_from(("settle", "move", "move", "move and back", "release"))


@dataclass(frozen=True)
class Known:
    """A message that waits. ``came``: how often its time came already."""

    body: bytes
    deadline: int
    name: str
    came: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What the store must hold once a batch is committed: what waits by position, and what came out."""

    waiting: dict[int, Known]
    out: frozenset[bytes]


class ModelKeeper(Keeper):
    """Asks the machine. (It is made before the machine knows its broker.)"""

    machine: ScheduleMachine

    def due(self, entry: Entry) -> int:
        return self.machine.due(entry)

    def found(self, asking: Entry, entries: list[Entry]) -> None:
        self.machine.found(asking, entries)


@dataclass
class Looking:
    """A read beside the turns, as an operator's command does it. ``page``: None until it was read."""

    number: int
    generation: int
    page: dict[int, StoredEntry] | None = None


class ScheduleMachine(RuleBasedStateMachine):
    """What comes out goes to the queue ``out``. Subclasses give another store."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.bodies = 0
        self.started = False

    def inner_store(self) -> Store:
        return MemoryStore(self.disk)

    @initialize(
        durable=st.sampled_from((True, True, False)),
        window=st.sampled_from((4, 4, 8, 20)),
        counts_overdue=st.booleans(),
        open_bytes_max=st.sampled_from((1 << 25, 1 << 14)),
    )
    def declare(self, durable: bool, window: int, counts_overdue: bool, open_bytes_max: int) -> None:
        self.durable, self.window, self.counts_overdue = durable, window, counts_overdue
        self.open_bytes_max = open_bytes_max
        self.waiting: dict[int, Known] = {}
        self.out: set[bytes] = set()
        self.snapshots: dict[int, Snapshot] = {}
        self.open(START_MS)
        self.bench.vhost.declare_queue("out", "classic", True, False, None, {})
        self.started = True
        self.commit()

    # The broker's life

    def open(self, now: int) -> None:
        self.bench = ScheduleBench(
            self.inner_store(), self.window, self.durable, self.make_keeper, now, self.counts_overdue
        )
        self.bench.journal.open_bytes_max = self.open_bytes_max
        self.schedule = self.bench.schedule
        self.batch: Batch | None = None
        self.written = False
        self.answers: deque[tuple[PageRequest, list[StoredEntry]]] = deque()
        self.looking: list[Looking] = []
        self.kept: set[int] = set()
        self.asking: dict[int, str] = {}
        self.turn()

    def make_keeper(self, broker: Broker) -> Keeper:
        keeper = ModelKeeper()
        keeper.machine = self
        return keeper

    def snapshot(self) -> Snapshot:
        return Snapshot(dict(self.waiting), frozenset(self.out))

    @property
    def now(self) -> int:
        return self.bench.now

    def turn(self) -> None:
        """After it nothing that is due waits in memory, unless the open batch is full."""
        self.bench.turn()
        if self.schedule.overdue < 0 or not self.bench.broker.has_room():
            return
        late = [one for place, one in self.places() if place[0] <= self.now and place <= self.schedule.horizon]
        assert not late, f"due, and still here: {late}"

    def places(self) -> list[tuple[tuple[int, int], Known]]:
        """What waits in order."""
        items = self.waiting.items()
        return sorted(((one.deadline, at), one) for at, one in items if at not in self.kept)

    # The keeper

    def due(self, entry: Entry) -> int:
        position = int(entry.position)
        assert position in self.waiting, f"{entry.message.body!r} came, and does not wait"
        assert position not in self.kept
        one = self.waiting[position]
        assert (entry.message.body, entry.deadline, entry.deliveries) == (one.body, one.deadline, one.came)
        assert one.deadline <= self.now, f"{one} came too early"
        (deadline, first), _ = self.places()[0]
        assert (deadline, first) == (one.deadline, position), f"{one} was passed over by {self.waiting[first]}"
        kind = one.body.split(b" ")[1]
        if kind == b"again":
            return self.comes_again(entry, one)
        if kind == b"go":
            self.release(position, one.body)
            return DONE
        self.kept.add(position)
        if kind.startswith(b"ask:"):
            self.asking[position] = kind[4:].decode()
            self.schedule.look_up(self.asking[position], entry)
        return KEPT

    def comes_again(self, entry: Entry, one: Known) -> int:
        position = int(entry.position)
        entry.deliveries += 1
        again = replace(one, came=one.came + 1, deadline=one.deadline + PERIOD_MS)
        body = b"%s #%d" % (one.body, again.came)
        if again.came == OCCURRENCES:
            self.release(position, body)
            return DONE
        self.publish_out(body)
        self.waiting[position] = again
        self.bench.journal.count(entry)
        return again.deadline

    def release(self, position: int, body: bytes) -> None:
        self.publish_out(body)
        del self.waiting[position]
        self.kept.discard(position)
        self.asking.pop(position, None)

    def publish_out(self, body: bytes) -> None:
        assert body not in self.out, f"{body!r} came twice"
        self.out.add(body)
        self.bench.vhost.queues["out"].publish(message(body))

    def found(self, asking: Entry, entries: list[Entry]) -> None:
        """Every other request moves those it finds instead of settling them."""
        position = int(asking.position)
        name = self.asking[position]
        wanted = sorted(at for at, one in self.waiting.items() if one.name == name and at < position)
        assert [int(entry.position) for entry in entries] == wanted
        for entry in entries:
            if position % 2:
                self.settle_one(entry)
            else:
                self.move_one(entry, self.now + 5)
        self.release(position, asking.message.body)
        self.schedule.settle(asking)

    # Steps

    @rule(
        delays=st.lists(DELAYS, min_size=1, max_size=10),
        kind=KINDS,
        name=st.sampled_from(NAMES),
        size=st.sampled_from((0, 50)),
        turns=st.booleans(),
    )
    def put(self, delays: list[int], kind: bytes, name: str, size: int, turns: bool) -> None:
        for delay in delays:
            self.bodies += 1
            body = b"%06d %s %s" % (self.bodies, kind, b"." * size)
            made = named(body, name)
            deadline = self.now + delay
            assert self.schedule.put(made, deadline)
            self.waiting[int(made.id)] = Known(body, deadline, name)
        if turns:
            self.turn()

    @rule(milliseconds=st.sampled_from((1, 1, 2, 5, 10, 30, 200)), at_once=st.sampled_from((0, 0, 1, 2)))
    def step(self, milliseconds: int, at_once: int) -> None:
        """``at_once``: a turn that publishes no more than that; 0 is a whole one."""
        broker = self.bench.broker
        broker.now += milliseconds
        broker.tick(self.now)
        if at_once:
            self.schedule.post(broker, at_once)
        else:
            self.turn()

    def step_at_rest(self, milliseconds: int) -> None:
        """With nothing in the way, everything comes in the very millisecond it is due."""
        self.at_rest()
        self.bench.advance(milliseconds, self.punctual)

    def punctual(self) -> None:
        self.catch_up()
        late = [one for place, one in self.places() if place[0] <= self.now]
        assert not late
        behind = [one for place, one in self.places() if place[0] < self.now]
        assert not behind

    @precondition(lambda self: bool(self.waiting))
    @rule(index=st.integers(0, 30), count=st.integers(1, 5), what=CHANGES, delay=DELAYS)
    def touch(self, index: int, count: int, what: str, delay: int) -> None:
        """Some that memory knows."""
        held = [entry for at in self.waiting if (entry := self.schedule.holding(None, at)) is not None]
        for _ in range(min(count, len(held))):
            self.change(held.pop(index % len(held)), what, delay)

    @precondition(lambda self: bool(self.waiting))
    @rule(index=st.integers(0, 30), count=st.integers(1, 5), what=CHANGES, delay=DELAYS)
    def touch_any(self, index: int, count: int, what: str, delay: int) -> None:
        """Some of all that wait."""
        self.begin_look()
        self.read_look(-1)
        self.end_look(-1, index, count, what, delay)

    def change(self, entry: Entry, what: str, delay: int) -> None:
        if what == "settle":
            self.settle_one(entry)
        elif what == "move":
            self.move_one(entry, self.now + delay)
        elif what == "move and back":
            deadline = int(entry.deadline)
            self.move_one(entry, self.now + delay)
            if int(entry.position) in self.waiting:
                self.move_one(entry, deadline)
        else:
            self.release(int(entry.position), entry.message.body)
            self.schedule.settle(entry)

    def settle_one(self, entry: Entry) -> None:
        position = int(entry.position)
        del self.waiting[position]
        self.kept.discard(position)
        self.asking.pop(position, None)
        self.schedule.settle(entry)

    def move_one(self, entry: Entry, deadline: int) -> None:
        position = int(entry.position)
        if position in self.asking:
            return self.settle_one(entry)
        self.waiting[position] = replace(self.waiting[position], deadline=deadline)
        self.kept.discard(position)
        self.schedule.move(entry, deadline)
        return None

    @rule()
    def begin_look(self) -> None:
        self.looking.append(Looking(self.schedule.begin_read(), int(self.schedule.generation)))

    @precondition(lambda self: bool(self.looking))
    @rule(index=st.integers(0, 5))
    def read_look(self, index: int) -> None:
        one = self.looking[index % len(self.looking)]
        if one.page is not None:
            return
        one.page = {stored.position: stored for stored in self.bench.stored()}

    @precondition(lambda self: bool(self.looking))
    @rule(which=st.integers(0, 5), index=st.integers(0, 30), count=st.integers(0, 4), what=CHANGES, delay=DELAYS)
    def end_look(self, which: int, index: int, count: int, what: str, delay: int) -> None:
        """What was read and what is in memory are all that waits; some of it is changed."""
        self.read_look(which)
        one = self.looking[which % len(self.looking)]
        self.looking.remove(one)
        assert one.page is not None
        page = one.page if one.generation == self.schedule.generation else {}
        found: list[Entry] = []
        for position in sorted({*page, *self.waiting}):
            entry = self.schedule.holding(page.get(position), position)
            assert (entry is not None) == (position in self.waiting), f"{position}: {self.waiting.get(position)}"
            if entry is not None:
                assert entry.deadline == self.waiting[position].deadline
                found.append(entry)
        for number in range(min(count, len(found))):
            self.change(found.pop((index + number) % len(found)), what, delay)
        self.schedule.end_read(one.number)

    @rule(
        what=st.sampled_from(("nothing", "rest", "step at rest", "purge", "crash", "crash", "restart")),
        milliseconds=st.sampled_from((0, 10, 40, 120)),
    )
    def disturb(self, what: str, milliseconds: int) -> None:
        """Steps of which only one in many is wanted: in between much must wait."""
        if what == "rest":
            self.at_rest()
        elif what == "step at rest":
            self.step_at_rest(milliseconds)
        elif what == "purge":
            self.purge()
        elif what == "crash":
            self.restart(False, milliseconds)
        elif what == "restart":
            self.restart(True, milliseconds)

    def purge(self) -> None:
        assert self.schedule.purge() == len(self.waiting)
        self.waiting.clear()
        self.kept.clear()
        self.asking.clear()

    # The store

    @rule()
    def seal(self) -> None:
        if self.batch is not None:
            return
        now, number = self.snapshot(), int(self.bench.journal.number)
        self.batch = self.bench.broker.take_batch()
        if self.batch is None:
            assert now == self.snapshots[number - 1], "something changed, and nothing is written"
        else:
            assert self.batch.number == number
            self.snapshots[number] = now

    @precondition(lambda self: self.batch is not None and not self.written)
    @rule()
    def write(self) -> None:
        assert self.batch is not None
        self.bench.store.commit(self.batch)
        self.written = True
        self.store_holds(self.snapshots[self.batch.number])

    @precondition(lambda self: self.written)
    @rule()
    def told(self) -> None:
        self.batch, self.written = None, False
        self.bench.broker.batch_committed()
        self.turn()

    @rule()
    def commit(self) -> None:
        for _ in range(1000):
            self.seal()
            if self.batch is None:
                return
            if not self.written:
                self.write()
            self.told()
        raise AssertionError("it never stops writing")

    @rule()
    def read(self) -> None:
        self.answers.extend(self.bench.read())

    @precondition(lambda self: bool(self.answers))
    @rule()
    def answer(self) -> None:
        self.bench.broker.page_loaded(*self.answers.popleft())
        self.turn()

    def store_holds(self, expected: Snapshot) -> None:
        reader = self.bench.reader
        lane = int(self.schedule.lane.id)
        found = {one.position: (one.body, one.deadline, one.deliveries) for one in reader.load(lane, 0, *EVERYTHING)}
        assert found == {at: (one.body, one.deadline, one.came) for at, one in expected.waiting.items()}
        in_order = [one.position for one in reader.upcoming(lane, (0, 0), *EVERYTHING)]
        assert in_order == sorted(found, key=lambda at: (expected.waiting[at].deadline, at))
        summary = {row.queue: row for row in reader.summary().queues}
        if self.durable and lane in summary:
            counted = summary[lane].messages, summary[lane].bytes
            assert counted == (len(found), sum(len(one.body) for one in expected.waiting.values()))
        out = self.bench.vhost.queues["out"]
        assert {one.body for one in reader.load(int(out.id), 0, *EVERYTHING)} == expected.out

    def catch_up(self) -> None:
        self.turn()
        for _ in range(1000):
            self.commit()
            if not self.answers:
                self.read()
            if not self.answers:
                return
            while self.answers:
                self.answer()
        raise AssertionError("it never comes to rest")

    def at_rest(self) -> None:
        self.catch_up()
        late = [one for place, one in self.places() if place[0] <= self.now]
        assert not late, f"due, and never comes: {late}"
        waits = self.places()
        if waits:
            assert self.schedule.next_deadline() == waits[0][0][0]
            assert self.bench.broker.next_deadline() == waits[0][0][0]
        assert self.asking == {}
        if not self.looking:
            self.all_let_go()

    def all_let_go(self) -> None:
        """A window that was cut lets go with the next batch."""
        self.bodies += 1
        self.publish_out(b"%06d" % self.bodies)
        self.catch_up()
        assert (self.schedule.unwritten, self.schedule.gone, self.schedule.reads) == ({}, {}, {})
        assert self.schedule.looking == []
        assert set(self.schedule.kept) == self.kept

    # Ends

    def restart(self, clean: bool, downtime: int) -> None:
        now = self.now + downtime
        if clean:
            if self.written:
                self.told()
            self.bench.broker.finish()
            self.commit()
        self.bench.reader.close()
        self.bench.store.close(release=clean)
        last_batch = self.last_batch()
        kept = self.snapshots[last_batch]
        if clean:
            assert kept == self.snapshot()
        self.waiting = dict(kept.waiting) if self.durable else {}
        self.out = set(kept.out)
        self.kept.clear()
        self.snapshots = {last_batch: self.snapshot()}
        self.open(now)
        self.commit()

    def last_batch(self) -> int:
        store = self.inner_store()
        last = store.open("main", "somebody who looks").last_batch
        store.close(release=False)
        return last

    @invariant()
    def counts_are_exact(self) -> None:
        if not self.started:
            return
        schedule = self.schedule
        assert schedule.message_count() == len(self.waiting)
        assert schedule.size == sum(len(one.body) for one in self.waiting.values())

    @invariant()
    def memory_is_what_it_must_be(self) -> None:
        """The window holds what comes next; the rest is there only as long as a read may not see it."""
        if not self.started:
            return
        schedule = self.schedule
        assert len(schedule.window) <= self.window
        ahead = {place[1] for place, _ in self.places() if place <= schedule.horizon}
        assert set(schedule.window) == ahead
        assert schedule.window_bytes == sum(len(self.waiting[at].body) for at in ahead)
        seen = min(schedule.reads.values(), default=int(self.bench.journal.committed))
        assert all(batch > seen for batch, _ in schedule.unwritten.values())
        assert all(batch > seen for batch in schedule.gone.values())
        assert all(at in self.waiting and at not in ahead for at in schedule.unwritten)
        assert not any(at in self.waiting for at in schedule.gone)
        assert set(schedule.kept) == self.kept

    @invariant()
    def what_a_read_may_see_is_right(self) -> None:
        """Of what memory does not know, every read under way or to come finds the truth."""
        if not self.started:
            return
        schedule = self.schedule
        seen = min(schedule.reads.values(), default=int(self.bench.journal.committed))
        for number in range(seen, max(self.snapshots) + 1):
            stored = self.snapshots[number].waiting
            for position, one in self.waiting.items():
                if schedule.holding(None, position) is None:
                    assert stored.get(position) == one, f"batch {number} has not {one}"
            for position, one in stored.items():
                if position not in self.waiting:
                    found = StoredEntry(position, 0, "", "", b"\0\0", one.body, one.deadline)
                    assert schedule.holding(found, position) is None, f"batch {number} brings back {one}"

    def teardown(self) -> None:
        if not self.started:
            return
        for one in self.looking:
            self.schedule.end_read(one.number)
        self.looking.clear()
        self.at_rest()
        for _ in range(3):
            self.bench.advance(20_000, self.punctual)
            self.at_rest()
        for position in sorted(self.kept):
            self.change(self.bench.entry(position), "release", 0)
        self.at_rest()
        assert not self.waiting
        assert self.schedule.horizon[0] == END_OF_TIME
        assert self.bench.broker.next_deadline() == 0


class SqliteScheduleMachine(ScheduleMachine):
    """The same over files."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="amqpd-schedule-"))

    def inner_store(self) -> Store:
        return SqliteStore(self.directory / "amqpd.db")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if self.started:
                self.bench.store.close(release=False)
            shutil.rmtree(self.directory, ignore_errors=True)


def profile(examples: int, examples_long: int) -> settings:
    return settings(
        max_examples=examples_long if LONG else examples,
        stateful_step_count=60 if LONG else 20,  # many short runs find more than a few long ones
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = profile(500, 20000)

TestScheduleOverFiles = SqliteScheduleMachine.TestCase
TestScheduleOverFiles.settings = profile(30, 1000)
