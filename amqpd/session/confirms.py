"""Publisher confirms of one channel (spec: RabbitMQ's confirm class). Hot.

1. Publishes are numbered from 1. Each waits for the batch that carries it; 0 where nothing needs the disk.
2. Batches are committed in order, so publishes are confirmed in order, in runs: one basic.ack with ``multiple``
   for all that a commit released.
3. A refused publish is answered with basic.nack in its place in that order.
"""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64

from amqpd.wire.outbox import Outbox


@final
class Confirms:
    """``published``: number of the last publish. ``answered``: all up to this one were acked or nacked.

    The newest run is kept in ``run_*`` (``run_last`` 0 when there is none), older ones in ``runs``.
    """

    def __init__(self) -> None:
        self.enabled: bool = False
        self.published: i64 = 0
        self.answered: i64 = 0
        # Runs in order: (last publish, batch, refused).
        self.runs: deque[tuple[int, int, bool]] = deque()
        self.run_last: i64 = 0
        self.run_batch: i64 = 0
        self.run_refused: bool = False

    def add(self, batch: i64, refused: bool) -> None:
        """One more publish, waiting for ``batch``."""
        self.published += 1
        if self.run_last:
            if batch < self.run_batch:
                batch = self.run_batch  # in publish order, so not before those that wait already
            if batch != self.run_batch or refused or self.run_refused:
                self.runs.append((int(self.run_last), int(self.run_batch), self.run_refused))
        self.run_last = self.published
        self.run_batch = batch
        self.run_refused = refused

    def waits(self) -> bool:
        return self.run_last != 0

    def release(self, committed: i64, outbox: Outbox, channel: i64) -> None:
        """Answer everything that waits for batches up to ``committed``."""
        runs = self.runs
        acked: i64 = 0
        while runs and runs[0][1] <= committed:
            last, _, refused = runs.popleft()
            if refused:
                self._answer(acked, False, outbox, channel)
                self._answer(last, True, outbox, channel)
                acked = 0
            else:
                acked = last
        if not runs and self.run_last and self.run_batch <= committed:
            if self.run_refused:
                self._answer(acked, False, outbox, channel)
                self._answer(self.run_last, True, outbox, channel)
                acked = 0
            else:
                acked = self.run_last
            self.run_last = 0
        self._answer(acked, False, outbox, channel)

    def _answer(self, last: i64, refused: bool, outbox: Outbox, channel: i64) -> None:
        """Answer everything up to ``last``; 0 is nothing."""
        if last == 0:
            return
        multiple = last - self.answered > 1
        self.answered = last
        if refused:
            outbox.nack(channel, last, multiple)
        else:
            outbox.ack(channel, last, multiple)
