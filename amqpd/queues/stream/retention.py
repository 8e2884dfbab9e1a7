"""How much of a stream is kept: x-max-length-bytes and x-max-age, as arguments or by policy.

1. Whole chunks go, the oldest first; the newest one always stays.
2. A chunk goes by size when what is left without it is still max-length-bytes; so at least that much is kept, if it was
   ever there. RabbitMQ drops whole segments, and keeps up to one segment more.
3. A chunk goes by age when all of it is older than max-age. RabbitMQ looks when a segment is full; here a timer does.
4. To spare the disk many small deletes, the size may go above the limit by a sixteenth of it, or by the stream's
   segment size where that is less; and by the chunk that lies across the limit.

The chunks that go next are known here, up to ``KNOWN_MAX``; when they run out, the next ones are read from the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, final

from amqpd.broker.batch import Chunk, StoredEntry
from amqpd.broker.queue import NO_NUMBER, Lane
from amqpd.broker.shard import PageRequest, PageSource
from amqpd.broker.timers import Timer
from amqpd.spec.arguments import max_age_ms

if TYPE_CHECKING:
    from amqpd.queues.stream.queue import StreamQueue

KNOWN_MAX: Final = 1000
UNLIMITED_MAX: Final = 32  # where everything is kept, until a policy says something else
SLACK_SHARE: Final = 16
SEGMENT_BYTES: Final = 500_000_000  # RabbitMQ's x-stream-max-segment-size-bytes where nobody says anything
FOREVER: Final = 0


class OldestChunks(PageRequest):
    """Reads the chunks behind ``offset``; ``chunks`` is what was found."""

    def __init__(self, lane: Lane, offset: int, limit: int) -> None:
        super().__init__(lane, 0, 0, limit, 0)
        self.offset = offset
        self.chunks: list[Chunk] = []

    def read(self, source: PageSource) -> list[StoredEntry]:
        self.chunks = source.chunks(int(self.lane.id), self.offset, self.limit)
        return []


class AgeTimer(Timer):
    """Fires when the oldest chunk is too old."""

    def __init__(self, retention: Retention) -> None:
        self.retention = retention

    def fire(self, now: int) -> None:
        self.retention.apply()


@final
class Retention:
    """``known``: the oldest chunks, in order and without a gap; the first one is where the stream begins.

    ``max_bytes``: NO_NUMBER for no limit. ``max_age``: milliseconds, FOREVER for no limit.
    """

    def __init__(self, stream: StreamQueue) -> None:
        self.stream = stream
        self.known: deque[Chunk] = deque()
        self.known_max = KNOWN_MAX
        self.max_bytes = NO_NUMBER
        self.slack = 0
        self.max_age = FOREVER
        self.limited = False
        self.asked = False
        self.timer = AgeTimer(self)

    def configure(self) -> None:
        """The stream's settings were set or have changed."""
        stream = self.stream
        self.max_bytes = stream.number("max-length-bytes")
        age = stream.text("max-age")
        self.max_age = (max_age_ms(age) or FOREVER) if age is not None else FOREVER
        self.limited = self.max_bytes != NO_NUMBER or self.max_age != FOREVER
        segment = stream.number("stream-max-segment-size-bytes")
        self.slack = min(SEGMENT_BYTES if segment == NO_NUMBER else segment, max(self.max_bytes, 0) // SLACK_SHARE)
        self.stop()
        self.apply()

    def begun(self, chunk: Chunk) -> None:
        """The newest chunk."""
        known = self.known
        most = self.known_max if self.limited else min(UNLIMITED_MAX, self.known_max)
        if not known or (known[-1] == self.stream.last_chunk and len(known) < most):
            known.append(chunk)

    def sealed(self, chunk: Chunk) -> None:
        """The newest chunk as it is stored."""
        if self.known[-1].offset == chunk.offset:
            self.known[-1] = chunk

    def found(self, chunks: Iterable[Chunk]) -> None:
        """The oldest ones that were asked for."""
        self.asked = False
        for chunk in chunks:
            if chunk.offset > self.known[-1].offset:
                self.known.append(chunk)
        last = self.stream.last_chunk
        if len(self.known) == 1 and last is not None and last.offset >= self.stream.committed:
            return  # what comes next is not to be seen yet: when it is committed, it is looked for again
        self.apply()

    def apply(self) -> None:
        """Let go of what need not be kept any more."""
        if not self.limited or not self.known:
            return
        count = self._outlived()
        if count:
            self._drop(count)
        if len(self.known) == 1 and self.known[0] != self.stream.last_chunk and self._wants_more():
            self._ask()
        self._set_timer()

    def stop(self) -> None:
        self.stream.shard.timers.cancel(self.timer)

    def _outlived(self) -> int:
        """How many of the known chunks are not to be kept."""
        known = self.known
        total = self.stream.total_bytes
        old = self.stream.shard.now - self.max_age if self.max_age != FOREVER else NO_NUMBER
        full = self.max_bytes != NO_NUMBER and total - known[0].before > self.max_bytes + self.slack
        count = 0
        while count + 1 < len(known):
            by_size = full and total - known[count + 1].before >= self.max_bytes
            if not by_size and known[count].time > old:
                break
            count += 1
        return count

    def _wants_more(self) -> bool:
        """The only chunk that is known may have to go."""
        first = self.known[0]
        if self.max_age != FOREVER:
            return True
        return self.stream.total_bytes - first.before > self.max_bytes + self.slack

    def _drop(self, count: int) -> None:
        stream = self.stream
        before = self.known[0]
        for _ in range(count):
            self.known.popleft()
        first = self.known[0]
        lane = stream.lane
        lane.stored_messages -= first.offset - before.offset
        lane.stored_bytes -= first.before - before.before
        stream.shard.journal.truncate(lane, first)

    def _ask(self) -> None:
        if not self.asked:
            self.asked = True
            stream = self.stream
            stream.shard.page_requests.append(OldestChunks(stream.lane, self.known[0].offset, self.known_max))

    def _set_timer(self) -> None:
        """The newest chunk stays whatever its age."""
        timers = self.stream.shard.timers
        if self.max_age == FOREVER or len(self.known) < 2:
            timers.cancel(self.timer)
            return
        deadline = self.known[0].time + self.max_age
        if self.timer.deadline != deadline:
            timers.set(self.timer, deadline)
