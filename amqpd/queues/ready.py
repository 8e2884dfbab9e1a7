"""The ready messages of one lane: which is the next, and which expired, wherever they lie. Hot.

1. The first entry of ``head`` tells when it is due, and with it all behind it that are not ``early``.
2. An early entry, or one that came back, is in a heap while it is in memory (amqpd/queues/deadlines.py). It is taken
   out of the middle and leaves a slot: it is ``gone``.
3. An early one that is only on disk is read by its deadline, when the smallest one there has passed.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.batch import StoredEntry
from amqpd.broker.message import Entry
from amqpd.broker.shard import PageRequest
from amqpd.queues.deadlines import NEVER
from amqpd.queues.fifo import Fifo
from amqpd.queues.paged import PagedList

# Slots of entries that are gone, before they are cut out of the lists.
HOLES_MAX: Final = 1000


@final
class FifoReady(PagedList):
    """A lane, first in, first out. Where its entries lie is what ``PagedList`` knows."""

    def push(self, entry: Entry) -> None:
        self.ready_bytes += entry.message.header.body_size
        if entry.deadline:
            self.deadlines.enters(entry, self.count() == 0 and self._alone())
        else:
            self.deadlines.horizon = NEVER
        if not self.disk_messages and not self.tail.count() and self.shard.room(self.memory_bytes * self.sharers):
            self.sequence += 1
            entry.sequence = self.sequence
            self.head.push(entry)
            self._grown(entry)
        else:
            self._push_tail(entry)

    def pop(self) -> Entry | None:
        head = self.head
        if self.returned and self._returned_first():
            entry = heappop(self.returned)[1]
        elif head.count():
            entry = head.pop()
        elif self.tail.count() > self.tail_holes and not self.disk_messages:
            self._adopt_tail()
            entry = self.head.pop()
        else:
            self.want_page()
            return None
        if self.holes:
            self._skip_holes()
        self._shrunk(entry)
        return entry

    def available(self) -> bool:
        if self.head.count() or (self.returned and self._returned_first()):
            return True
        if self.disk_messages:
            self.want_page()
            return False
        return self.tail.count() > self.tail_holes

    def loading(self) -> bool:
        if not self.disk_messages or self.head.count():
            return False
        return not (self.returned and self._returned_first())

    def _returned_first(self) -> bool:
        """Whether the next entry is one of ``returned``, of which there are some.

        One that left the list from the disk or the tail (a dead letter nobody took) may be younger than what is there.
        """
        if self.head.count():
            return self.returned[0][0] < self.head.first().position
        if self.disk_messages:
            return self.returned[0][0] <= self.disk_after
        if self.tail.count() > self.tail_holes:
            self._adopt_tail()
            return self.returned[0][0] < self.head.first().position
        return True

    def put_back(self, entry: Entry) -> None:
        heappush(self.returned, (int(entry.position), entry))
        self.ready_bytes += entry.message.header.body_size
        self._grown(entry)
        if entry.deadline:
            self.deadlines.watch(entry)

    def _alone(self) -> bool:
        """Nothing of the queue is in flight or a dead letter, on its way or kept.

        What is could be in front again after a restart, and the store would not tell that the next one is early.
        """
        return self.queue.apart() == 0 and not self.shard.letters

    def expire(self, now: i64, inclusive: bool) -> list[Entry]:
        before = now + 1 if inclusive else now
        found: list[Entry] = []
        entry = self._front()
        while entry is not None and entry.deadline and entry.deadline < before:
            self.head.pop()
            if self.holes:
                self._skip_holes()
            self._shrunk(entry)
            found.append(entry)
            entry = self._front()
        first = self.deadlines.first()
        in_order = first is None
        while first is not None and first.deadline < before:
            self._remove(first)
            found.append(first)
            first = self.deadlines.first()
        if not in_order:
            found.sort(key=_position)
        self._read_due(before - 1)
        return found

    def next_deadline(self) -> i64:
        soonest: i64 = NEVER
        front = self._front()
        if front is not None and front.deadline:
            soonest = front.deadline
        first = self.deadlines.first()
        if first is not None and first.deadline < soonest:
            soonest = first.deadline
        on_disk = self.deadlines.on_disk
        if on_disk and not self.deadlines.asked and on_disk < soonest:
            soonest = on_disk
        return 0 if soonest == NEVER else soonest

    def _front(self) -> Entry | None:
        """The first entry of ``head`` and what follows it; None where it is not in memory."""
        if self.head.count():
            return self.head.first()
        if self.tail.count() > self.tail_holes and not self.disk_messages:
            self._adopt_tail()
            return self.head.first()
        return None

    def _remove(self, entry: Entry) -> None:
        """Take an entry out of ``head``, ``returned`` or ``tail``, wherever it is in it."""
        entry.gone = True
        # One that came back is in ``returned``, though its old slot may be in ``tail``.
        if self.tail.count() and entry.position >= self.tail.first().position and not entry.redelivered:
            self.tail_holes += 1
            self.ready_bytes -= entry.message.header.body_size
            self.deadlines.unwatch(entry)
            return
        self.holes += 1
        self._shrunk(entry)
        self._skip_holes()
        if self.holes > HOLES_MAX and 2 * self.holes > self.head.count() + len(self.returned):
            self._cut_holes()

    def _cut_holes(self) -> None:
        head = Fifo()
        for other in self.head.entries():
            if not other.gone:
                head.push(other)
        self.head = head
        self.returned = [item for item in self.returned if not item[1].gone]
        heapify(self.returned)
        self.holes = 0

    def _read_due(self, up_to: i64) -> None:
        """Ask for what is due and only on disk; nobody knows the deadline of an entry that is first there."""
        deadlines = self.deadlines
        due = deadlines.on_disk != 0 and deadlines.on_disk <= up_to
        if not self.head.count() and (due or not self.unread):
            self.want_page()
        if not due or deadlines.asked:
            return
        # What was taken and is still on disk comes first: it must not fill the whole answer.
        limit = self.shard.page_messages + len(deadlines.taken)
        max_bytes = self.shard.page_bytes + deadlines.taken_bytes
        deadlines.asks()
        self.shard.page_requests.append(
            PageRequest(self.lane, int(self.generation), int(self.disk_after), int(limit), int(max_bytes), int(up_to))
        )

    def take_due(self, request: PageRequest, page: list[StoredEntry]) -> list[Entry]:
        """Early entries that are due, read by deadline: out of the range on disk."""
        deadlines = self.deadlines
        deadlines.asked = False
        if request.next_deadline:
            deadlines.to_disk(request.next_deadline)
        found: list[Entry] = []
        held: dict[int, bool] = {}
        for stored in page:
            position = stored.position
            held[position] = True
            if position not in deadlines.taken and self.disk_after < position <= self.disk_last:
                entry = self.restored.entry(stored, self.lane)
                self._off_disk(entry)
                size = entry.message.header.body_size
                self.ready_bytes -= size
                deadlines.take(position, size)
                found.append(entry)
        if request.next_deadline == 0 or request.next_deadline > request.due_up_to:
            deadlines.confirm(held)
        if not self.disk_messages:
            self._disk_empty()
        return found

    def check_order(self, entry: Entry) -> None:
        """After a crash what was in flight is ready again, ahead of entries that did not count with it."""
        if entry.early:
            return
        if not entry.deadline:
            self.read_horizon = NEVER
        elif entry.deadline < self.read_horizon:
            self.deadlines.watch(entry)
        else:
            self.read_horizon = entry.deadline


def _position(entry: Entry) -> int:
    return int(entry.position)
