"""A shard: the journal and what its queues share. Nothing routes across shards."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.journal import Journal
from amqpd.broker.queue import Consumer, Queue

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


@final
class PageRequest:
    """A read a queue asks for: entries behind position ``after``, at most ``limit`` and ``max_bytes`` of bodies.

    ``generation`` comes back with the answer, so that the queue can tell that it was purged meanwhile.
    """

    def __init__(self, queue: Queue, generation: int, after: int, limit: int, max_bytes: int) -> None:
        self.queue: Queue = queue
        self.generation: int = generation
        self.after: int = after
        self.limit: int = limit
        self.max_bytes: int = max_bytes


@final
class Shard:
    """``window_bytes``: octets all queues of the shard hold in memory as ready messages."""

    def __init__(self, journal: Journal) -> None:
        self.journal: Journal = journal
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

    def room(self, queue_bytes: i64) -> bool:
        """Whether a queue that holds ``queue_bytes`` in memory may take one more message there."""
        if queue_bytes < self.window_bytes_min:
            return True
        return queue_bytes < self.window_bytes_max and self.window_bytes < self.window_budget
