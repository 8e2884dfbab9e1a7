"""The stream against a model that knows every message: commits, reads that are old, truncation, restarts.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.policies import Policy
from amqpd.broker.queue import Consumer
from amqpd.broker.shard import PageRequest
from amqpd.queues.stream.queue import StreamQueue
from amqpd.wire.table import Field
from tests.queues.building import Bench, FakeChannel, message
from tests.queues.stream.streaming import acknowledge, declared, found, offset_of, rest, subscribed

LONG = os.environ.get("AMQPD_SIMULATION") == "long"
pytestmark = pytest.mark.timeout(7200 if LONG else 600)

SIZE = 106  # of a body
WINDOW = 5 * (400 + SIZE)
READERS_MAX = 5


@dataclass
class Reader:
    """``next``: the offset of its next message, unless chunks went."""

    consumer: Consumer
    channel: FakeChannel
    next: int


class StreamMachine(RuleBasedStateMachine):
    """``count``: messages published. ``sealed``, ``committed``: how many of them those batches hold.

    ``requests``: pages that were not read yet. ``pages``: those that were read, and not handed in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(WINDOW)
        self.stream: StreamQueue = declared(self.bench)
        self.bench.commit()
        self.count = self.sealed = self.committed = 0
        self.chunks: list[tuple[int, int]] = []  # offset and time
        self.open = False  # the open batch has a chunk
        self.batch: Batch | None = None
        self.readers: list[Reader] = []
        self.requests: list[PageRequest] = []
        self.pages: list[tuple[PageRequest, list[StoredEntry]]] = []
        self.tags = 0

    def first(self) -> int:
        chunk = self.stream.first_chunk()
        return chunk.offset if chunk is not None else 0

    # Publishing and the store

    @rule(count=st.integers(1, 6))
    def publish(self, count: int) -> None:
        if not self.open:
            self.chunks.append((self.count, self.bench.broker.now))
            self.open = True
        for _ in range(count):
            self.stream.publish(message(b"%06d" % self.count + b"." * 100))
            self.count += 1

    @precondition(lambda self: self.batch is None)
    @rule()
    def seal(self) -> None:
        self.batch = self.bench.broker.take_batch()
        self.sealed = self.count
        self.open = False

    @precondition(lambda self: self.batch is not None)
    @rule()
    def store(self) -> None:
        """It is on disk; the broker does not know yet."""
        assert self.batch is not None
        self.bench.store.commit(self.batch)

    @precondition(lambda self: self.batch is not None)
    @rule()
    def commit(self) -> None:
        self.bench.write(self.batch)
        self.batch = None
        self.committed = self.sealed

    # Reading

    @rule()
    def turn(self) -> None:
        self.bench.broker.run_turn()
        self.requests += self.bench.broker.take_page_requests()
        self.look()

    @precondition(lambda self: self.requests)
    @rule()
    def read(self) -> None:
        request = self.requests.pop(0)
        self.pages.append((request, request.read(self.bench.store.reader())))

    @precondition(lambda self: self.pages)
    @rule()
    def hand_in(self) -> None:
        self.bench.broker.page_loaded(*self.pages.pop(0))

    def look(self) -> None:
        """What readers got: in order, each once, none before its commit, nothing left out but what is gone."""
        first = self.first()
        for reader in self.readers:
            for _, entry in reader.channel.got:
                offset = offset_of(entry)
                assert entry.message.body == b"%06d" % offset + b"." * 100
                assert offset < self.committed
                assert not entry.redelivered
                assert reader.next <= offset <= max(reader.next, first)
                reader.next = offset + 1
            reader.channel.got = []

    # Readers

    def add(self, offset: int | str | Field, room: int, start: int) -> None:
        self.tags += 1
        channel = FakeChannel(room)
        consumer = subscribed(self.stream, channel, offset, f"c{self.tags}", prefetch=self.tags % 3)
        self.readers.append(Reader(consumer, channel, start))

    @precondition(lambda self: len(self.readers) < READERS_MAX)
    @rule(offset=st.one_of(st.sampled_from(["first", "last", "next"]), st.integers(-30, 60)), room=st.integers(0, 9))
    def subscribe(self, offset: int | str, room: int) -> None:
        first = self.first()
        last = self.chunks[-1][0] if self.chunks else 0
        if isinstance(offset, int):
            start = max(first, offset if offset >= 0 else self.count + offset)
        else:
            start = {"first": first, "last": last, "next": self.count}[offset]
        self.add(offset, room, start)

    @precondition(lambda self: len(self.readers) < READERS_MAX)
    @rule(age=st.integers(1, 20), room=st.integers(0, 9))
    def subscribe_since(self, age: int, room: int) -> None:
        since = self.bench.broker.now - age * 1000
        start = next((offset for offset, time in self.chunks if time >= since), self.count)
        self.add(f"{age}s", room, max(self.first(), start))

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, READERS_MAX - 1), count=st.integers(1, 12))
    def acknowledge(self, which: int, count: int) -> None:
        reader = self.readers[which % len(self.readers)]
        acknowledge(reader.consumer, reader.channel, count)

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, READERS_MAX - 1))
    def cancel(self, which: int) -> None:
        reader = self.readers.pop(which % len(self.readers))
        self.stream.cancel(reader.consumer)
        if not self.readers:
            assert self.bench.shard.window_bytes == 0

    # Retention

    @rule(milliseconds=st.sampled_from([1, 500, 1000, 3000]))
    def advance(self, milliseconds: int) -> None:
        self.bench.broker.now += milliseconds
        self.bench.broker.tick(self.bench.broker.now)

    @rule(
        limit=st.sampled_from(
            [
                {"max-length-bytes": 0},
                {"max-length-bytes": 4 * SIZE},
                {"max-length-bytes": 40 * SIZE},
                {"max-age": "5s"},
            ]
        )
    )
    def limit(self, limit: dict[str, int | str]) -> None:
        self.bench.vhost.put_policy(Policy("p", "^s$", limit, 0, "streams"), False)

    @precondition(lambda self: self.bench.vhost.policies.policies)
    @rule()
    def unlimit(self) -> None:
        self.bench.vhost.drop_policy("p", False)

    # Rest and restart

    @rule()
    def come_to_rest(self) -> None:
        if self.batch is not None:
            self.commit()
        self.requests += self.bench.broker.take_page_requests()
        while self.requests:
            self.read()
        while self.pages:
            self.hand_in()
        self.seal()
        if self.batch is not None:
            self.commit()
        rest(self.bench)
        self.committed = self.count
        self.look()
        for reader in self.readers:
            assert reader.channel.room == 0 or max(reader.next, self.first()) >= self.count
        self.check_store()

    def check_store(self) -> None:
        store = self.bench.store.reader()
        stream = int(self.stream.id)
        entries = store.load(stream, 0, 1 << 20, 1 << 30)
        first = self.first()
        assert [int(entry.body[:6]) for entry in entries] == list(range(first, self.count))
        assert [one.offset for one in store.chunks(stream, -1, 1 << 20)] == [
            offset for offset, _ in self.chunks if offset >= first
        ]
        lane = self.stream.lane
        assert (lane.stored_messages, lane.stored_bytes) == (len(entries), SIZE * len(entries))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean and self.batch is not None:
            self.commit()
        on_disk = self.bench.disk.last_batch
        if self.batch is not None and self.batch.number == on_disk:
            self.committed = self.sealed
        if clean:
            self.committed = self.count
        first = self.first() if clean else None
        self.bench = self.bench.reopened(clean)
        self.stream = found(self.bench)
        self.count = self.sealed = self.committed
        self.chunks = [one for one in self.chunks if one[0] < self.count]
        self.batch, self.open = None, False
        self.readers, self.requests, self.pages = [], [], []
        assert self.stream.next_offset == self.stream.committed == self.count
        assert first is None or self.first() >= first
        assert self.bench.shard.window_bytes == 0

    @invariant()
    def counts(self) -> None:
        assert self.stream.next_offset == self.count
        assert self.stream.message_count() == self.count - self.first()
        assert self.bench.shard.window_bytes >= 0
        if self.chunks:
            assert self.first() <= self.chunks[-1][0]

    def teardown(self) -> None:
        self.come_to_rest()
        for reader in self.readers:
            acknowledge(reader.consumer, reader.channel, 1000)
        self.come_to_rest()
        for reader in self.readers:
            assert max(reader.next, self.first()) >= self.count
            self.stream.cancel(reader.consumer)
        assert self.bench.shard.window_bytes == 0


TestStream = StreamMachine.TestCase
TestStream.settings = settings(
    max_examples=5000 if LONG else 100,
    stateful_step_count=100 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
