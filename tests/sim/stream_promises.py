"""What the broker promises of streams, written down once: the model of one, beside promises.py.

1. *Confirmed is safe*: what is confirmed is in the stream, also after a crash, until retention may drop it. That is:
   what is left is at least max-length-bytes, or all that goes is older than max-age; whole chunks go, the newest one
   stays. At rest nothing is left that should have gone.
2. *Offsets* are dense, and one that was delivered to anybody is that message's for ever. So nothing is delivered that
   is not on disk yet.
3. *Every consumer* gets, in order, once and without a gap but for what retention dropped ahead of it, all that it wants
   from its start on; nothing comes again, whatever it says of what it got.
4. *The store* holds the chunks that were published, finds each offset, and counts right.
5. *Memory*: a stream that nobody consumes from holds nothing in the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from amqpd.broker.batch import Chunk
from amqpd.broker.queue import Queue
from amqpd.queues.stream.queue import StreamQueue
from amqpd.store.contract import StoreReader
from tests.sim.promises import Copy, Pending, QueueModel, Session, Subscription
from tests.support.linked import Received

# What a message says of itself in x-stream-filter-value, by its number.
VALUES = (None, "a", "b")
# A stream may go above max-length-bytes by this share of it before anything is dropped.
SLACK_SHARE = 16


@dataclass
class World:
    """``batch``: number of the open batch. ``policy``: what is in force for all streams."""

    now: int = 0
    batch: int = 0
    policy: dict[str, Any] = field(default_factory=dict)


class StreamCopy(Copy):
    """``before``: octets of all that was ever ahead of it. ``batch``: that brings it."""

    def __init__(self, place: int, body: bytes, offset: int, world: World, before: int) -> None:
        super().__init__(place, body, True)
        self.offset = offset
        self.time = world.now
        self.batch = world.batch
        self.before = before

    def end(self) -> int:
        return self.before + len(self.body)


class StreamSubscription(Subscription):
    """``offset``: below this one it is to get nothing more. ``values``: those it wants only, None for everything."""

    values: frozenset[str | None] | None = None
    offset = 0

    def wants(self, body: bytes) -> bool:
        return self.values is None or value_of(body) in self.values


def value_of(body: bytes) -> str | None:
    return VALUES[int(body[:6]) % len(VALUES)]


class StreamModel(QueueModel):
    """``log``: all that was ever published, by offset. ``first``: where it begins now.

    ``known``: bodies by offset, of all that was ever delivered.
    """

    def __init__(self, name: str, arguments: dict[str, Any], world: World) -> None:
        super().__init__(name, True, False)
        self.arguments = {"x-queue-type": "stream", **arguments}
        self.world = world
        self.log: list[StreamCopy] = []
        self.first = 0
        self.unsettled = 0
        self.known: dict[int, bytes] = {}

    # What clients do

    def copies(self) -> list[Copy]:
        return list(self.log[self.first :])

    def message_count(self) -> int:
        return len(self.log) - self.first

    def enter(self, place: int, pending: Pending) -> Copy:
        before = self.log[-1].end() if self.log else 0
        copy = StreamCopy(place, pending.body, len(self.log), self.world, before)
        self.log.append(copy)
        return copy

    def handed_out(self, copy: Copy) -> None:
        self.unsettled += 1

    def settled(self, copy: Copy, how: str) -> None:
        self.unsettled -= 1

    def start(self, where: object) -> int:
        """The offset a consumer begins with. ``where``: x-stream-offset, but for a timestamp a list with the time."""
        end = len(self.log)
        if isinstance(where, int) and where >= 0:
            return max(self.first, where)
        if where in (None, "next") or not end:
            return end
        if where == "first":
            return self.first
        chunks = chunks_of(self.log[self.first :])
        if where == "last":
            return chunks[-1][0].offset
        if isinstance(where, list):
            return next((chunk[0].offset for chunk in chunks if chunk[-1].time >= where[0]), end)
        assert isinstance(where, int)
        return max(self.first, end + where)

    def time_of_chunk(self, index: int) -> int:
        """Of one of those there are; now, where there is none."""
        chunks = chunks_of(self.log[self.first :])
        return chunks[index % len(chunks)][-1].time if chunks else self.world.now

    # What comes back

    def delivered(self, session: Session, one: Subscription, came: Received, committed: int) -> Copy:
        """Promises 2 and 3. ``committed``: the last batch the broker knows to be on disk."""
        assert isinstance(one, StreamSubscription)
        assert self.alive, f"{came.body!r} was delivered from {self.name}, which is deleted"
        assert not came.values["redelivered"]
        session.take_tag(came.values["delivery_tag"])
        headers = came.properties["headers"]
        offset: int = headers.pop("x-stream-offset")
        value = value_of(came.body)
        assert headers == ({} if value is None else {"x-stream-filter-value": value})
        assert self.known.setdefault(offset, came.body) == came.body, f"offset {offset} was {self.known[offset]!r}"
        assert offset < len(self.log), f"offset {offset} of {self.name} is not there yet"
        copy = self.log[offset]
        assert copy.body == came.body, f"{came.body!r} came as offset {offset}, which is {copy}"
        assert copy.batch <= committed, f"{copy} was delivered before it was on disk"
        assert offset >= one.offset, f"{one.tag} got offset {offset} after {one.offset - 1}, or ahead of its start"
        assert one.wants(copy.body), f"{one.tag} got {copy}, which it does not want"
        skipped = [other for other in self.log[max(one.offset, self.first) : offset] if one.wants(other.body)]
        assert not skipped, f"{one.tag} got offset {offset} and {skipped} ahead of it are missing"
        one.offset = offset + 1
        return copy

    def has_for(self, subscription: Subscription) -> bool:
        assert isinstance(subscription, StreamSubscription)
        ahead = self.log[max(self.first, subscription.offset) :]
        return any(subscription.wants(copy.body) for copy in ahead)

    # Retention

    def limits(self) -> tuple[int | None, int | None]:
        """max-length-bytes, and max-age in milliseconds."""
        size = self.world.policy.get("max-length-bytes", self.arguments.get("x-max-length-bytes"))
        age = self.world.policy.get("max-age", self.arguments.get("x-max-age"))
        return size, 1000 * int(age[:-1]) if age is not None else None

    def begins(self, first: int) -> None:
        """Promise 1: the stream says that it begins with this offset now."""
        if first == self.first:
            return
        assert first > self.first, f"{self.name} begins with {first} after {self.first}"
        starts = [chunk[0].offset for chunk in chunks_of(self.log[self.first :])]
        assert first in starts, f"{self.name} was cut at {first}, in the middle of a chunk: {starts}"
        size, age = self.limits()
        left = self.log[-1].end() - self.log[first].before
        too_large = size is not None and left >= size
        too_old = age is not None and self.log[first - 1].time <= self.world.now - age
        assert too_large or too_old, f"{self.name} dropped what is ahead of {first}; {left} octets are left"
        self.first = first

    def kept_enough(self) -> None:
        """Promise 1, at rest: nothing is left that should have gone."""
        chunks = chunks_of(self.log[self.first :])
        if len(chunks) < 2:
            return
        size, age = self.limits()
        if size is not None:
            held, left = (self.log[-1].end() - chunk[0].before for chunk in chunks[:2])
            assert held <= size + size // SLACK_SHARE or left < size, f"{self.name} keeps {held} octets"
        if age is not None:
            last = chunks[0][-1]
            assert last.time > self.world.now - age, f"{self.name} keeps {last}, which is too old"

    # Restarts and looks behind the broker's back

    def restored(self, copies: tuple[Copy, ...], clean: bool) -> QueueModel:
        stream = StreamModel(self.name, {}, self.world)
        stream.arguments = self.arguments
        stream.identity = self.identity
        stream.known = self.known
        if copies:
            first, last = copies[0], copies[-1]
            assert isinstance(first, StreamCopy)
            assert isinstance(last, StreamCopy)
            stream.first = first.offset
            stream.log = self.log[: last.offset + 1]
        lost = [offset for offset in self.known if offset >= len(stream.log)]
        assert not lost, f"offsets {lost} of {self.name} were delivered, and are lost"
        return stream

    def counters_equal_lengths(self, queue: Queue) -> int:
        assert isinstance(queue, StreamQueue)
        assert queue.unacked_count() == self.unsettled
        assert queue.next_offset == len(self.log)
        held = int(queue.tail.bytes) + sum(int(cursor.page_bytes) for cursor in queue.cursors.values())
        assert held == 0 or self.subscriptions, f"{self.name} holds {held} octets for nobody"
        return held

    def store_holds(self, reader: StoreReader, copies: tuple[Copy, ...]) -> None:
        """Promise 4: ``copies`` are those of the store."""
        stored = [copy for copy in copies if isinstance(copy, StreamCopy)]
        positions = [entry.position for entry in reader.load(self.identity, 0, 1 << 30, 1 << 40)]
        at = dict(zip([copy.offset for copy in stored], positions, strict=True))
        expected = [Chunk(one[0].offset, at[one[0].offset], one[-1].time, one[0].before) for one in chunks_of(stored)]
        assert reader.chunks(self.identity, -1, 1 << 30) == expected
        assert reader.last_chunk(self.identity) == (expected[-1] if expected else None)
        for offset, position in at.items():
            assert reader.place(self.identity, offset) == position, f"offset {offset} of {self.name}"
        if stored:
            assert reader.place(self.identity, stored[0].offset - 1) == 0
            assert reader.place(self.identity, stored[-1].offset + 1) == 0


def chunks_of(copies: list[StreamCopy]) -> list[list[StreamCopy]]:
    """What each batch brought; the time of a chunk is that of its newest message."""
    return [list(chunk) for _, chunk in groupby(copies, lambda copy: copy.batch)]
