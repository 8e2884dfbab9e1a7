"""Message TTL against a model that looks at every message: random traffic, clock, commits, pages, crashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.broker import Broker
from amqpd.broker.letters import EXPIRED, Letter, LetterHandler
from amqpd.broker.message import NOT_STORED, Entry, Message
from amqpd.broker.queue import NACKED
from amqpd.broker.shard import PageRequest
from amqpd.queues.classic import ClassicQueue
from amqpd.wire.content import header_from_properties
from amqpd.wire.table import Field
from tests.queues.building import Bench, FakeChannel, consumer, message
from tests.sim.contents import lanes

pytestmark = pytest.mark.timeout(600)

WINDOW = 1500  # three messages
NEVER = 1 << 60
HIGHEST = 2  # level of the priority queue
LEVELS = st.sampled_from((0, 0, 1, HIGHEST))
TTLS = st.one_of(st.just(-1), st.integers(0, 40))


@dataclass
class Known:
    """A message the queue should hold. ``deadline`` is NEVER where it has none; ``level`` 0 in a plain queue."""

    body: bytes
    deadline: int
    level: int
    in_flight: bool = False


def with_properties(body: bytes, ttl: int, level: int, persistent: bool) -> Message:
    """A message with a priority, and an expiration unless ``ttl`` is -1."""
    made = message(body)
    mode, text = b"\x02" if persistent else b"\x01", str(ttl).encode()
    flags, expiration = (b"\x19\x00", bytes([len(text)]) + text) if ttl >= 0 else (b"\x18\x00", b"")
    return Message(made.address, header_from_properties(flags + mode + bytes([level]) + expiration, len(body)), body)


class Collector(LetterHandler):
    """Settles dead letters, and notes them."""

    def __init__(self) -> None:
        self.posted: list[Letter] = []

    def post(self, broker: Broker, letter: Letter) -> None:
        self.posted.append(letter)
        if letter.entry.batch != NOT_STORED:
            broker.journal.settle(letter.entry)


class ExpiryMachine(RuleBasedStateMachine):
    """After every step a turn is run, as the server does before the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(WINDOW)
        self.batch: Batch | None = None
        self.answers: deque[tuple[PageRequest, list[StoredEntry]]] = deque()
        self.known: dict[int, Known] = {}
        self.published: dict[int, Known] = {}
        self.flight: list[Entry] = []
        self.channel = FakeChannel(0)
        self.letters = Collector()
        self.number = 0

    @initialize(
        ttl=st.sampled_from([-1, -1, 0, 7, 30]),
        durable=st.booleans(),
        dead_letters=st.booleans(),
        consume=st.booleans(),
        priorities=st.booleans(),
    )
    def declare(self, ttl: int, durable: bool, dead_letters: bool, consume: bool, priorities: bool = False) -> None:
        self.priorities = priorities
        queue = self.make(durable)
        self.ttl = ttl
        if ttl >= 0:
            queue.settings["message-ttl"] = ttl
        self.dead_letters = dead_letters
        self.consume = consume
        self.configure(queue)
        self.bench.commit()

    def make(self, durable: bool) -> ClassicQueue:
        arguments = {"x-max-priority": Field("I", HIGHEST)} if self.priorities else {}
        queue = self.bench.vhost.declare_queue("q", "classic", durable, False, None, arguments)
        assert isinstance(queue, ClassicQueue)
        return queue

    def configure(self, queue: ClassicQueue) -> None:
        """What a restart, a policy and the first declare do."""
        if self.ttl >= 0:
            queue.settings["message-ttl"] = self.ttl
        else:
            queue.settings.pop("message-ttl", None)
        queue.reconfigure(self.bench.broker.registry.queue_features)
        queue.dead_letters = self.dead_letters
        self.bench.broker.registry.letter_handler = self.letters
        self.queue = queue
        if self.consume and not queue.consumers():
            queue.consume(consumer(queue, self.channel))
        self.turn()

    @property
    def now(self) -> int:
        return self.bench.broker.now

    def turn(self) -> None:
        broker = self.bench.broker
        broker.run_turn()
        while broker.busy() and broker.registry.letter_handler is not None:
            broker.run_turn()
        for _, entry in self.channel.got:
            self.delivered(entry)
        self.channel.got.clear()
        for letter in self.letters.posted:
            assert letter.reason == EXPIRED
            assert self.published[letter.entry.position].deadline <= self.now
            # Purged is purged; else it was still there, and not in flight.
            assert not self.known.pop(letter.entry.position).in_flight
        self.letters.posted.clear()

    def delivered(self, entry: Entry) -> None:
        one = self.known[entry.position]
        assert not one.in_flight
        assert one.body == entry.message.body
        assert one.deadline >= self.now, "an expired message was delivered"
        place = (-one.level, entry.position)
        ahead = [at for at, other in self.known.items() if (-other.level, at) < place and not other.in_flight]
        assert all(self.known[at].deadline <= self.now for at in ahead), "one ahead of it was passed over"
        one.in_flight = True
        self.flight.append(entry)

    @rule(ttl=TTLS, level=LEVELS, persistent=st.booleans())
    def publish(self, ttl: int, persistent: bool, level: int = 0) -> None:
        self.number += 1
        body = b"%04d" % self.number + b"." * 100
        made = with_properties(body, ttl, level, persistent)
        level = level if self.priorities else 0
        limits = [limit for limit in (self.ttl, ttl) if limit >= 0]
        deadline = self.now + min(limits) if limits else NEVER
        self.queue.publish(made)
        self.published[int(made.id)] = Known(body, deadline, level)
        self.known[int(made.id)] = Known(body, deadline, level)
        self.turn()

    @rule(
        ttls=st.lists(TTLS, min_size=4, max_size=12),
        levels=st.lists(LEVELS, min_size=1, max_size=5),
        persistent=st.booleans(),
        written=st.booleans(),
    )
    def backlog(self, ttls: list[int], persistent: bool, written: bool, levels: Sequence[int] = (0,)) -> None:
        """More than the window holds."""
        for number, ttl in enumerate(ttls):
            self.publish(ttl, persistent, levels[number % len(levels)])
        if written:
            self.seal()
        if written and self.batch is not None:
            self.told()

    @rule(milliseconds=st.integers(1, 25))
    def step(self, milliseconds: int) -> None:
        self.bench.broker.now += milliseconds
        self.bench.broker.tick(self.now)
        self.turn()

    @rule()
    def get(self) -> None:
        entry = self.queue.get()
        if entry is not None:
            self.delivered(entry)
        elif not self.queue.loading():
            assert not [one for one in self.known.values() if not one.in_flight and one.deadline > self.now]
        self.turn()

    @rule(room=st.integers(1, 5))
    def take(self, room: int) -> None:
        self.channel.room = room
        for one in self.queue.consumers():
            self.queue.resume(one)
        self.turn()

    @precondition(lambda self: bool(self.flight))
    @rule(data=st.data(), back=st.booleans())
    def settle(self, data: st.DataObject, back: bool) -> None:
        entry = self.flight.pop(data.draw(st.integers(0, len(self.flight) - 1)))
        if back:
            self.known[entry.position].in_flight = False
            self.queue.requeue(entry, NACKED)
        else:
            del self.known[entry.position]
            self.queue.settle(entry)
        self.turn()

    @rule()
    def purge(self) -> None:
        self.queue.purge()
        # What has expired and waits to be a dead letter is no part of the queue any more.
        waiting = {int(letter.entry.position) for letter in self.bench.shard.letters}
        self.known = {at: one for at, one in self.known.items() if one.in_flight or at in waiting}
        self.turn()

    @rule(ttl=st.sampled_from([-1, 0, 12]))
    def policy(self, ttl: int) -> None:
        self.ttl = ttl
        self.configure(self.queue)

    @rule(on=st.booleans())
    def post(self, on: bool) -> None:
        """Dead letters may have to wait."""
        self.bench.broker.registry.letter_handler = self.letters if on else None
        self.turn()

    @rule()
    def seal(self) -> None:
        if self.batch is None:
            self.batch = self.bench.broker.take_batch()
            if self.batch is not None:
                self.bench.store.commit(self.batch)

    @precondition(lambda self: self.batch is not None)
    @rule()
    def told(self) -> None:
        self.batch = None
        self.bench.broker.batch_committed()
        self.turn()

    @rule()
    def read(self) -> None:
        for request in self.bench.broker.take_page_requests():
            self.answers.append((request, request.read(self.bench.store.reader())))

    @precondition(lambda self: bool(self.answers))
    @rule()
    def answer(self) -> None:
        self.bench.broker.page_loaded(*self.answers.popleft())
        self.turn()

    @rule()
    def at_rest(self) -> None:
        """Once everything is written and read, the counts are those of the model."""
        if self.bench.broker.registry.letter_handler is None:
            self.post(True)
        for _ in range(1000):
            requests = len(self.answers)
            self.read()
            if self.batch is not None:
                self.told()
            self.seal()
            if not self.answers and not requests and self.batch is None:
                break
            if self.answers:
                self.answer()
        else:
            raise AssertionError("it never comes to rest")
        ready = [one for one in self.known.values() if not one.in_flight and one.deadline > self.now]
        assert self.queue.message_count() == len(ready)
        assert self.queue.ready_bytes() == sum(len(one.body) for one in ready)
        assert self.queue.unacked_count() == len(self.flight)
        self.known = {at: one for at, one in self.known.items() if one.in_flight or one.deadline > self.now}
        used = lanes(self.queue)
        assert sum(lane.memory_bytes for lane in used) == self.bench.shard.window_bytes
        soonest = min([one.deadline for one in ready], default=NEVER)
        timer = self.bench.broker.next_deadline()
        assert soonest == NEVER or 0 < timer <= soonest or any(lane.disk_messages for lane in used)

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean:
            self.at_rest()
        elif self.batch is not None:
            self.batch = None  # on disk, and nobody heard of it
        durable = self.queue.durable
        self.bench = self.bench.reopened(clean)
        self.answers.clear()
        self.flight.clear()
        self.channel = FakeChannel(0)
        stored = {position for _, position in self.bench.disk.durable.flags}
        # Ids that were not on disk are given to others now.
        self.published = {at: one for at, one in self.published.items() if at in stored}
        self.known = {at: Known(one.body, one.deadline, one.level) for at, one in self.published.items()}
        if durable:
            found = self.bench.vhost.queues["q"]
            assert isinstance(found, ClassicQueue)
            self.configure(found)
        else:
            assert not self.known
            self.configure(self.make(durable=False))

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.at_rest()
        for entry in list(self.flight):
            self.flight.remove(entry)
            del self.known[entry.position]
            self.queue.settle(entry)
        self.channel.room = 0
        for _ in range(10 * len(self.known) + 1):
            if not self.known:
                break
            self.get()
            self.at_rest()
            while self.flight:
                entry = self.flight.pop()
                del self.known[entry.position]
                self.queue.settle(entry)
        self.at_rest()
        assert not self.known
        assert self.queue.message_count() == 0
        shelves = (self.bench.disk.durable, self.bench.disk.paged)
        assert [dict(shelf.flags) for shelf in shelves] == [{}, {}]
        assert [list(shelf.messages) for shelf in shelves] == [[], []]
        for lane in self.queue.lanes():
            assert self.bench.disk.depths.get(int(lane.id), (0, 0)) == (0, 0)


ExpiryMachine.TestCase.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestExpiry = ExpiryMachine.TestCase


def test_a_due_read_under_way_when_the_disk_is_used_up_counts_nothing_twice() -> None:
    machine = ExpiryMachine()
    machine.declare(ttl=-1, durable=True, dead_letters=False, consume=False)
    machine.publish(persistent=False, ttl=-1)
    machine.policy(ttl=12)
    machine.publish(persistent=True, ttl=-1)
    machine.backlog(persistent=True, ttls=[*[-1] * 8, 1], written=False)
    machine.restart(clean=True)
    machine.get()
    machine.at_rest()
    machine.step(milliseconds=13)
    machine.at_rest()
