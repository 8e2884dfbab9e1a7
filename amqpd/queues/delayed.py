"""Entries a queue holds back for a while before they are ready again (delayed retry).

1. They are neither ready nor with a consumer; the queue counts them as in flight, since they may still come back.
2. A purge takes them, too; so does the end of the queue. Other settings leave them where they are.
3. Their time to live goes on: one that expires comes back after its deadline, to be found by the expiry of what is
   ready.
4. The store knows nothing of the delay: after a restart they are ready at once.
5. There are at most ``DELAYED_MAX`` of them, and ``DELAYED_BYTES_MAX`` octets of bodies; above, the one that is due
   first comes back early.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from amqpd.broker.message import Entry
from amqpd.broker.timers import Timer

if TYPE_CHECKING:
    from amqpd.queues.classic import ClassicQueue

DELAYED_MAX: Final = 100_000
DELAYED_BYTES_MAX: Final = 64 << 20


class Delayed(Timer):
    """``heap``: (due, position, entry), the time in milliseconds since 1970."""

    def __init__(self, queue: ClassicQueue) -> None:
        self.queue = queue
        self.heap: list[tuple[int, int, Entry]] = []
        self.size_bytes = 0

    def add(self, entry: Entry, delay_ms: int) -> None:
        due = int(self.queue.shard.now) + delay_ms
        if entry.deadline:
            due = min(due, int(entry.deadline) + 1)
        heappush(self.heap, (due, int(entry.position), entry))
        self.size_bytes += int(entry.size())
        while self.heap and (len(self.heap) > DELAYED_MAX or self.size_bytes > DELAYED_BYTES_MAX):
            self._release()
        self._set_timer()

    def fire(self, now: int) -> None:
        while self.heap and self.heap[0][0] <= now:
            self._release()
        self._set_timer()

    def take_all(self) -> list[Entry]:
        """In order of position."""
        taken = [entry for _, _, entry in sorted(self.heap, key=lambda place: place[1])]
        self.heap = []
        self.size_bytes = 0
        self.queue.shard.timers.cancel(self)
        return taken

    def _release(self) -> None:
        entry = heappop(self.heap)[2]
        self.size_bytes -= int(entry.size())
        self.queue.release(entry)

    def _set_timer(self) -> None:
        due = self.heap[0][0] if self.heap else 0
        if due != self.deadline:
            if due:
                self.queue.shard.timers.set(self, due)
            else:
                self.queue.shard.timers.cancel(self)
