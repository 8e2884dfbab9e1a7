"""Which entries of a list expire when, without looking at all of them. Hot.

Mostly the front tells: where every entry expires after all that are ahead of it (one TTL for the whole queue), no
entry is due before the first one is. An entry that breaks this order is ``early``, and so is one that was requeued.

1. Early entries in memory are in a heap by deadline; it may hold some that left the list meanwhile.
2. Early entries that are only on disk are in an index of the store; here is only their smallest deadline.
3. What left the list out of order while the store still holds it is remembered in ``taken``, because a page may
   bring it once more. A read of the index that came back complete shows what is deleted; a page that was read before
   that comes before it, since reads are answered in the order they were asked for.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.message import Entry

NEVER: Final = (1 << 62) - 1
# Items of the heap that left the list, before it is made anew; and entries in ``taken`` that nobody asked about.
STALE_MAX: Final = 1000


@final
class Deadlines:
    """``horizon``: the deadline of the last entry that is not early; NEVER once one without a deadline entered.

    ``on_disk``: the smallest deadline of early entries that are only on disk, or a smaller one; 0 is none.
    ``asked``: a read of the store's index is under way; ``reads``: how many were asked for.
    ``taken``: by position, the number of reads asked for before it was taken, and its octets.
    ``lasting``: how many of them there were when some were forgotten last.
    """

    def __init__(self) -> None:
        self.horizon: i64 = 0
        # (deadline, position, number, entry). An entry that was requeued can be in it twice, so the number decides.
        self.heap: list[tuple[int, int, int, Entry]] = []
        self.pushed: i64 = 0
        self.watched: i64 = 0  # entries the heap is for
        self.on_disk: i64 = 0
        self.asked: bool = False
        self.reads: i64 = 0
        self.taken: dict[int, tuple[int, int]] = {}
        self.taken_bytes: i64 = 0
        self.lasting: i64 = 0

    def enters(self, entry: Entry, empty: bool) -> None:
        """An entry with a deadline is put behind all others; ``empty``: there are none, on disk neither."""
        if empty:
            self.horizon = 0
        if entry.deadline < self.horizon:
            entry.early = True
        else:
            self.horizon = entry.deadline

    def watch(self, entry: Entry) -> None:
        """An early or requeued entry is in memory now."""
        if entry.watched:
            return
        entry.watched = True
        self.watched += 1
        self.pushed += 1
        heappush(self.heap, (int(entry.deadline), int(entry.position), int(self.pushed), entry))

    def unwatch(self, entry: Entry) -> None:
        """A watched entry left the list, or memory."""
        entry.watched = False
        self.watched -= 1
        if len(self.heap) > 2 * self.watched + STALE_MAX:
            self.heap = [item for item in self.heap if item[3].watched]
            heapify(self.heap)

    def first(self) -> Entry | None:
        """The watched entry that expires first."""
        heap = self.heap
        while heap:
            entry = heap[0][3]
            if entry.watched:
                return entry
            heappop(heap)
        return None

    def to_disk(self, deadline: i64) -> None:
        """An early entry is only on disk from now on."""
        if not self.on_disk or deadline < self.on_disk:
            self.on_disk = deadline

    def asks(self) -> None:
        """A read of all that is due now is asked for."""
        self.asked = True
        self.reads += 1
        self.on_disk = 0

    def take(self, position: i64, size: i64) -> None:
        """An entry the store holds left the list out of order."""
        self.taken[int(position)] = (int(self.reads), int(size))
        self.taken_bytes += size

    def many_taken(self) -> bool:
        """Most of them may be deleted in the store: a read should be asked for, though nothing else is due."""
        return len(self.taken) > 2 * self.lasting + STALE_MAX

    def confirm(self, held: dict[int, bool]) -> None:
        """A read showed everything that is due: of what was taken before it, the store has just ``held`` still."""
        reads = self.reads
        self._keep({place: note for place, note in self.taken.items() if note[0] >= reads or place in held})

    def passed(self, position: i64) -> None:
        """Pages hold nothing up to ``position`` any more."""
        if self.taken:
            self._keep({place: note for place, note in self.taken.items() if place > position})

    def forget_disk(self) -> None:
        """Nothing is only on disk any more."""
        self.on_disk = 0
        self._keep({})

    def _keep(self, taken: dict[int, tuple[int, int]]) -> None:
        self.taken = taken
        self.lasting = len(taken)
        self.taken_bytes = 0
        for note in taken.values():
            self.taken_bytes += note[1]
