"""Copying the log back into the database file, off the commit path.

SQLite appends commits to a write-ahead log; a checkpoint copies the log's pages to the database, and a log
that is copied completely is written from its start again by the next commit.

1. A step runs in a thread and connection of its own and never makes a commit wait, with the exceptions of
   rule 3.
2. The log is left alone until ``step_bytes`` were written to it: a page that changed often is then copied
   once, and a page that was freed and used again is copied once too.
3. Under steady load a step never finds the log standing still. When a step left little to copy
   (``REST_BYTES``), or the log is above ``LOG_BYTES_MAX``, the last part is copied with commits held back
   (``gate``), so that the next one starts the log anew. The first takes a millisecond or two, the second is
   the answer to a disk that is slower than the publishers.
4. The log's file keeps its size: writing over blocks that exist makes each later fsync cheaper. It shrinks
   at close.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final, NamedTuple, final

from amqpd.store.connection import connect
from amqpd.store.errors import store_error

# A step costs the commits beside it a few milliseconds, whatever it copies. One small message a commit puts some 35 KiB
# into the log: at 2,000 a second steps of 32 MiB came twice a second and were the 99th percentile of a confirm
# (5 to 12 ms; 4 to 6 ms with three times that, same machine, same minutes).
STEP_BYTES: Final = 128 << 20
REST_BYTES: Final = 2 << 20
LOG_BYTES_MAX: Final = 512 << 20


class LogState(NamedTuple):
    """Octets in the log, and how many of them are not in the database file yet."""

    log_bytes: int
    rest_bytes: int


@final
class Checkpointer:
    """Call ``checkpoint_step`` about ten times a second from one thread; stop that before the store is
    closed.

    ``written`` is fed by the store: octets put into the log since it was opened.
    """

    def __init__(self, path: Path, gate: threading.Lock) -> None:
        self._path = path
        self._gate = gate
        self._connection: sqlite3.Connection | None = None
        self._page_size = 0
        self._seen = 0
        self._stepping = threading.Lock()
        self._stale = False
        self.written = 0
        self.step_bytes = STEP_BYTES

    def checkpoint_step(self) -> LogState | None:
        """Copy what is due; None when nothing was. Raises the store's errors; the next step starts afresh."""
        written = self.written
        if written - self._seen < self.step_bytes:
            return None
        with self._stepping:
            try:
                state = self._copy()
                if state.rest_bytes <= REST_BYTES or state.log_bytes >= LOG_BYTES_MAX:
                    with self._gate:
                        written = self.written
                        state = self._copy()
            except sqlite3.Error as error:
                self._stale = True
                raise store_error(error, self._path) from error
            # What could not be copied (a reader was in the way) counts towards the next step.
            self._seen = written - min(state.rest_bytes, self.step_bytes)
            return state

    def reopen(self) -> None:
        """Let the next step begin with a connection of its own making. From any thread, at any time."""
        self._stale = True

    def close(self) -> None:
        """Wait for a step under way, then let go of the file. Not with the gate held."""
        with self._stepping:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _copy(self) -> LogState:
        if self._stale:
            self._stale = False
            self._disconnect()
        if self._connection is None:
            self._connection = connect(self._path)
            # The pages must be on disk before the log that holds them is written over.
            self._connection.execute("PRAGMA synchronous = FULL")
            (self._page_size,) = self._connection.execute("PRAGMA page_size").fetchone()
        _, pages, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return LogState(pages * self._page_size, (pages - copied) * self._page_size)
