"""Deadlines of the core. Time comes in as integer milliseconds; nothing here reads a clock."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import mypyc_attr

# Places of cancelled timers that are not worth the making anew.
STALE_MAX: Final = 100


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """Something that wants to be woken. ``deadline`` is 0 while it is not set."""

    deadline: int = 0

    def fire(self, now: int) -> None:
        """The deadline passed; may set a new one."""
        raise NotImplementedError


class Timers:
    """A heap of deadlines. A timer that is set anew or cancelled leaves its old place in the heap to be skipped later.

    A far deadline must not keep what its timer holds (a connection that ended) until then: the heap is made anew
    when half of it may be such places.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0
        self._stale = 0  # places left behind, at most

    def set(self, timer: Timer, deadline: int) -> None:
        self.cancel(timer)
        timer.deadline = deadline
        self._count += 1
        heappush(self._heap, (deadline, self._count, timer))

    def cancel(self, timer: Timer) -> None:
        if not timer.deadline:
            return
        timer.deadline = 0
        self._stale += 1
        if self._stale > STALE_MAX and 2 * self._stale > len(self._heap):
            self._heap = [place for place in self._heap if place[2].deadline == place[0]]
            heapify(self._heap)
            self._stale = 0

    def next_deadline(self) -> int:
        """0 when nothing is set."""
        while self._heap and self._heap[0][2].deadline != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else 0

    def fire(self, now: int) -> None:
        """Wake everything that is due."""
        while self._heap and self._heap[0][0] <= now:
            deadline, _, timer = heappop(self._heap)
            if timer.deadline == deadline:
                timer.deadline = 0
                timer.fire(now)
