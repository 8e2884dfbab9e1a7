"""A shard: the journal and what its queues share. Nothing routes across shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, final

from mypy_extensions import i64

from amqpd.broker.batch import Chunk, Due, StoredEntry
from amqpd.broker.events import Events, Trace
from amqpd.broker.journal import Journal
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.timers import Timers

if TYPE_CHECKING:
    from amqpd.broker.letters import Letter, Poster

# A queue keeps this much of itself in memory whatever others do, and never more than the second figure; in
# between the shard's budget decides. Octets of bodies, each message counted with ``MESSAGE_COST`` more.
WINDOW_BYTES_MIN: Final = 256 << 10
WINDOW_BYTES_MAX: Final = 16 << 20
WINDOW_BUDGET: Final = 64 << 20
MESSAGE_COST: Final = 400

# One page read back: rows and octets of bodies. The next one is asked for when less than ``PAGE_LOW`` octets are left.
PAGE_MESSAGES: Final = 2000
PAGE_BYTES: Final = 4 << 20
PAGE_LOW: Final = 2 << 20
PAGE_BYTES_CROWDED: Final = 64 << 10  # when the shard's window budget is used up


# Dead letters that wait to be published: above this nobody who publishes is read until they are fewer.
LETTERS_MAX: Final = 20_000
# Dead letters of one queue that wait, stored, for somebody who takes them (amqpd/features/kept_letters.py). With so
# many the queue lets no more of its messages expire.
KEPT_MAX: Final = 10_000


class PageSource(Protocol):
    """Where pages are read: the store's reader (amqpd/store/contract.py)."""

    def load(self, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]: ...

    def due(self, queue: int, after: int, up_to: int, limit: int, max_bytes: int) -> Due: ...

    def upcoming(self, queue: int, after: tuple[int, int], limit: int, max_bytes: int) -> list[StoredEntry]: ...

    def named(self, queue: int, name: str, limit: int) -> list[StoredEntry]: ...

    def overdue(self, queue: int, up_to: int) -> int: ...

    def notes(self, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]: ...

    def chunks(self, queue: int, after: int, limit: int) -> list[Chunk]: ...

    def last_chunk(self, queue: int) -> Chunk | None: ...

    def chunk_since(self, queue: int, time: int) -> Chunk | None: ...

    def place(self, queue: int, offset: int) -> int: ...


class PageRequest:
    """A read a lane asks for, at most ``limit`` entries and ``max_bytes`` of bodies. Subclasses read something else.

    ``due_up_to`` 0: the entries behind position ``after``. Else: those of them that are ``early`` and whose deadline
    is not above it, in order of deadline; ``next_deadline`` is then the smallest one left, 0 for none.
    ``generation`` comes back with the answer, so that the queue can tell that it was purged meanwhile.
    """

    def __init__(self, lane: Lane, generation: int, after: int, limit: int, max_bytes: int, due_up_to: int = 0) -> None:
        self.lane: Lane = lane
        self.queue: Queue = lane.queue
        self.generation: int = generation
        self.after: int = after
        self.limit: int = limit
        self.max_bytes: int = max_bytes
        self.due_up_to: int = due_up_to
        self.next_deadline: int = 0

    def read(self, source: PageSource) -> list[StoredEntry]:
        """Blocks; called where the store is read."""
        if not self.due_up_to:
            return source.load(int(self.lane.id), self.after, self.limit, self.max_bytes)
        due = source.due(int(self.lane.id), self.after, self.due_up_to, self.limit, self.max_bytes)
        self.next_deadline = due.next_deadline
        return due.entries


@final
class Shard:
    """``window_bytes``: octets all queues of the shard hold in memory as ready messages.

    ``now``: milliseconds since 1970, set by the edge before each input; it never goes back.
    ``letters``: entries that left their queue for good and go to its dead-letter exchange.
    ``due``: those that have delayed messages to publish now.
    ``unwanted``: queues that are to be deleted at the end of the turn.
    ``traces``: copies for the firehose, published in the next turn: all of them, they are what one turn's input made.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal: Journal = journal
        self.timers: Timers = Timers()
        self.now: i64 = 0
        self.events: Events = Events(self)
        self.traces: list[Trace] = []
        self.letters: list[Letter] = []
        self.due: list[Poster] = []
        self.unwanted: list[Queue] = []
        self.dirty: list[Queue] = []
        self.page_requests: list[PageRequest] = []
        # Queues whose page came: whoever waits for it goes on after the turn.
        self.loaded: list[Queue] = []
        # Consumers that lost their queue: their channels are told after the turn's replies.
        self.cancelled: list[Consumer] = []
        self.window_bytes: i64 = 0
        self.window_bytes_min: i64 = WINDOW_BYTES_MIN
        self.window_bytes_max: i64 = WINDOW_BYTES_MAX
        self.window_budget: i64 = WINDOW_BUDGET
        self.page_messages: i64 = PAGE_MESSAGES
        self.page_bytes: i64 = PAGE_BYTES
        self.page_low: i64 = PAGE_LOW
        self.kept_max: i64 = KEPT_MAX

    def crowded(self) -> bool:
        """Publishers should not be read for a while."""
        return self.journal.full() or len(self.letters) > LETTERS_MAX

    def room(self, queue_bytes: i64) -> bool:
        """Whether a queue that holds ``queue_bytes`` in memory may take one more message there."""
        if queue_bytes < self.window_bytes_min:
            return True
        return queue_bytes < self.window_bytes_max and self.window_bytes < self.window_budget
