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
    """``published``: number of the last publish. ``answered``: all up to this one were acked or nacked."""

    def __init__(self) -> None:
        self.enabled: bool = False
        self.published: i64 = 0
        self.answered: i64 = 0
        # Runs in order: (last publish, batch, refused).
        self.runs: deque[tuple[int, int, bool]] = deque()
        self.last_batch: i64 = -1

    def add(self, batch: i64, refused: bool) -> None:
        """One more publish, waiting for ``batch``."""
        self.published += 1
        if batch < self.last_batch:
            batch = self.last_batch  # in publish order, so not before those that wait already
        if self.runs and batch == self.last_batch and not refused and not self.runs[-1][2]:
            self.runs.pop()
        self.last_batch = batch
        self.runs.append((int(self.published), int(batch), refused))

    def waits(self) -> bool:
        return len(self.runs) > 0

    def release(self, committed: i64, outbox: Outbox, channel: i64) -> None:
        """Answer everything that waits for batches up to ``committed``."""
        runs = self.runs
        while runs and runs[0][1] <= committed:
            last, _, refused = runs.popleft()
            if not refused:
                while runs and runs[0][1] <= committed and not runs[0][2]:
                    last = runs.popleft()[0]
            multiple = last - self.answered > 1
            self.answered = last
            if refused:
                outbox.nack(channel, last, multiple)
            else:
                outbox.ack(channel, last, multiple)
        if not runs:
            self.last_batch = -1
