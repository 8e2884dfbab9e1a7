"""The store in one SQLite file: the writer.

1. A batch is one transaction: definitions, messages, entries, deletions, depths, and the mark that says
   which batch it was. COMMIT with ``synchronous=FULL`` is what makes it durable.
2. The order inside a batch: what is put comes before what is deleted, because a batch may do both to a queue;
   counts come in between, so that they find what is put; depths come before drops, because a dropped queue has none.
3. The epoch is checked by the statement that writes the mark. The lock beside the file makes a second owner
   on this machine impossible; the epoch catches one that took the lock away.
4. After an error nothing of the batch is left, and the same batch may be committed again.
5. Purging or dropping a queue, or truncating a stream, is a row in ``trash``; the deleting is done in slices, some in
   each commit and the rest by ``tidy``. A commit may delete more than it puts, or a stream that is published to and
   truncated all day would grow for ever.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from amqpd.broker.batch import Batch, EntryRange
from amqpd.store.checkpoint import Checkpointer
from amqpd.store.chunks import drop_chunks, write_chunks
from amqpd.store.connection import connect, roll_back
from amqpd.store.contract import (
    Opened,
    StoreCorrupt,
    StoreFenced,
    StoreFull,
    StoreUnavailable,
    StoreUncertain,
)
from amqpd.store.definitions import write_definitions
from amqpd.store.errors import store_error
from amqpd.store.lock import FileLock
from amqpd.store.notes import drop_notes, write_notes
from amqpd.store.paged import PagedFile
from amqpd.store.reader import SqliteReader
from amqpd.store.schema import PAGE_SIZE, prepare
from amqpd.store.tables import POSITION_MAX, MessageTables, pieces, repeated

# One slice of deleting what was purged or dropped: entries, and octets of their bodies. In a commit
# somebody waits.
COMMIT_SLICE: Final = (1_000, 4 << 20)
TIDY_SLICE: Final = (5_000, 16 << 20)

# What a commit puts into the log beside bodies: the last pages of a few tables, and octets for each row.
_COMMIT_BYTES: Final = 4 * PAGE_SIZE
_ROW_BYTES: Final = 64

_MARK: Final = "UPDATE meta SET last_batch = ?, next_id = ? WHERE id = 1 AND epoch = ?"


@final
class SqliteStore:
    """Writes ``path`` (made when it is not there) with ``-wal`` and ``-shm`` beside it while it is open, a
    lock file ``.lock`` and, when transient messages were paged out, ``.paged``.

    ``checkpointer`` must be stepped by somebody: without it the log grows until close.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._gate = threading.Lock()
        self.checkpointer = Checkpointer(path, self._gate)
        self._paged = PagedFile(path.with_name(path.name + ".paged"))
        self._lock: FileLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._epoch = 0
        self._last_batch = 0

    def reader(self) -> SqliteReader:
        """A reader of its own connections; any number, after ``open``."""
        return SqliteReader(self.path, self._paged)

    def open(self, shard: str, owner: str) -> Opened:
        """See the contract. ``owner`` is kept in the file for people to read."""
        assert self._lock is None, "the store is open"
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        try:
            self._paged.remove()
            with self._errors():
                connection = self._connect(create=True)
                prepare(connection, self.path)
                opened = self._claim(connection, shard, owner)
        except OSError as error:
            self._abandon()
            raise store_error(error, self.path) from error
        except BaseException:
            self._abandon()
            raise
        self._epoch, self._last_batch = opened.epoch, opened.last_batch
        # A log that brokers before us left behind counts, or it would grow from crash to crash.
        log = self.path.with_name(self.path.name + "-wal")
        self.checkpointer.written = log.stat().st_size if log.exists() else 0
        return opened

    def commit(self, batch: Batch) -> None:
        if batch.number == self._last_batch:
            return
        assert batch.number == self._last_batch + 1, "batches are dense"
        with self._errors(), self._gate:
            connection, tables = self._writer()
            discarded = _discarded(connection, batch)
            self._paged.commit(batch, discarded, *COMMIT_SLICE)
            with self._transaction(connection):
                self._mark(connection, batch)
                _write(connection, tables, batch, discarded)
                if tables.trash_waiting:
                    tables.sweep(*_slice(batch))
        self._last_batch = batch.number
        self.checkpointer.written += _log_bytes(batch)

    def tidy(self) -> bool:
        """Delete a slice of what was purged or dropped; returns whether something is left. For idle
        moments.
        """
        with self._errors(), self._gate:
            left = self._paged.tidy(*TIDY_SLICE)
            connection, tables = self._writer()
            if not tables.trash_waiting:
                return left
            with self._transaction(connection):
                self._check_epoch(connection)
                left = tables.sweep(*TIDY_SLICE) or left
            self.checkpointer.written += _COMMIT_BYTES
            return left

    def renew(self) -> float:
        return math.inf

    def resume(self) -> int:
        """See the contract. What the file holds afterwards is on disk, also when it was an fsync that failed.

        While the cause lasts it raises StoreUnavailable, for want of room too.
        """
        assert self._lock is not None, "the store is not open"
        with self._gate:
            self._disconnect()
            try:
                with self._errors():
                    epoch, self._last_batch = self._look_again(self._connect())
            except BaseException as error:
                self._disconnect()
                if isinstance(error, StoreFull):
                    raise StoreUnavailable(str(error)) from error
                raise
        if epoch != self._epoch:
            raise StoreFenced(f"{self.path}: another broker took the store over")
        return self._last_batch

    def close(self, release: bool) -> None:
        """See the contract. With ``release`` the log is copied back, so that one file remains.

        Raises StoreError when that fails; the store is closed and unlocked all the same. Repeating is safe.
        """
        if self._lock is None:
            return
        try:
            self.checkpointer.close()
            if release and self._connection is not None:
                with self._errors(), self._gate:
                    self._release(self._connection)
        finally:
            self._abandon()

    def _writer(self) -> tuple[sqlite3.Connection, MessageTables]:
        if self._connection is None:
            raise StoreUnavailable(f"{self.path} is not open")
        return self._connection, self._tables

    def _connect(self, create: bool = False) -> sqlite3.Connection:
        self._connection = connect(self.path, create)
        self._tables = MessageTables(self._connection, chunks=True)
        return self._connection

    def _look_again(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """The epoch and the last batch on disk."""
        prepare(connection, self.path)
        # A failed fsync may be forgotten by the kernel: the next one succeeds and the pages never reach the
        # disk. Copying the log to the database writes and syncs every page of it anew.
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(f"{self.path}: a reader keeps the log busy")
        epoch, last_batch = connection.execute("SELECT epoch, last_batch FROM meta").fetchone()
        return int(epoch), int(last_batch)

    def _disconnect(self) -> None:
        self.checkpointer.reopen()
        self._paged.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _abandon(self) -> None:
        """Let go of everything, whatever state it is in."""
        try:
            self.checkpointer.close()
            self._disconnect()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _claim(self, connection: sqlite3.Connection, shard: str, owner: str) -> Opened:
        with self._transaction(connection):
            rows = connection.execute("SELECT shard, epoch, last_batch, next_id, clean FROM meta").fetchall()
            stored_shard, epoch, last_batch, next_id, clean = rows[0] if rows else (shard, 0, 0, 1, 1)
            if stored_shard != shard:
                raise StoreCorrupt(f"{self.path} holds the shard {stored_shard!r}, not {shard!r}")
            if not (epoch >= 0 and last_batch >= 0 and next_id >= 1):
                raise StoreCorrupt(f"{self.path} has impossible marks (epoch, batch, next id)")
            connection.execute(
                "INSERT OR REPLACE INTO meta (id, shard, owner, epoch, last_batch, next_id, clean)"
                " VALUES (1, ?, ?, ?, ?, ?, 0)",
                (shard, owner, epoch + 1, last_batch, next_id),
            )
        return Opened(epoch + 1, last_batch, next_id, bool(clean))

    def _release(self, connection: sqlite3.Connection) -> None:
        with self._transaction(connection):
            self._check_epoch(connection)
            connection.execute("UPDATE meta SET clean = 1 WHERE id = 1")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._paged.remove()

    def _mark(self, connection: sqlite3.Connection, batch: Batch) -> None:
        done = connection.execute(_MARK, (batch.number, batch.next_id, self._epoch))
        if done.rowcount != 1:
            raise StoreFenced(f"{self.path}: another broker took the store over")

    def _check_epoch(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT epoch FROM meta WHERE id = 1").fetchone()
        if row != (self._epoch,):
            raise StoreFenced(f"{self.path}: another broker took the store over")

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """All or nothing; a COMMIT that fails with an IO error is uncertain."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            roll_back(connection)
            failure = store_error(error, self.path, committing=True)
            if isinstance(failure, StoreUncertain):
                # Nothing more is written before resume has looked what the file holds.
                self._disconnect()
            raise failure from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Only the contract's errors leave."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, self.path) from error


def _discarded(connection: sqlite3.Connection, batch: Batch) -> list[EntryRange]:
    """Ranges to throw away: what was purged, and all lanes of queues that are dropped."""
    dropped: list[EntryRange] = []
    put: dict[int, int] = {}
    for definition in batch.definitions:
        if definition.kind != "queue":
            continue
        first = int(definition.values["id"] or 0)
        if not definition.drop:
            put[first] = int(definition.values["levels"] or 1)
            continue
        levels = put.get(first) or _levels(connection, first)
        dropped += [(lane, 0, POSITION_MAX) for lane in range(first, first + levels)]
    return [*batch.purged, *dropped]


def _levels(connection: sqlite3.Connection, queue: int) -> int:
    """How many lanes a stored queue has; a queue that is not stored counts as one."""
    row = connection.execute("SELECT levels FROM queue WHERE id = ?", (queue,)).fetchone()
    return (row[0] or 1) if row else 1


def _write(connection: sqlite3.Connection, tables: MessageTables, batch: Batch, discarded: list[EntryRange]) -> None:
    if batch.definitions:
        write_definitions(connection, batch.definitions)
    tables.insert(batch.messages, batch.entries, batch.expiring)
    tables.count(batch.counted)
    tables.move(batch.moved)
    tables.delete(batch.settled, batch.released, batch.shared)
    tables.set_depths(batch.depths)
    tables.set_redelivered(batch.redelivered)
    tables.discard(discarded)
    write_notes(connection, batch)
    write_chunks(connection, batch)
    dropped = [queue for queue, _, last in discarded if last == POSITION_MAX]
    for count, values in pieces([(queue,) for queue in dropped]):
        connection.execute(repeated("DELETE FROM queue_depth WHERE queue IN (", "?", count, ")"), values)
    drop_notes(connection, dropped)
    drop_chunks(connection, dropped)


def _slice(batch: Batch) -> tuple[int, int]:
    """How much a commit deletes of what was put off: entries, and octets of their bodies."""
    rows, size = COMMIT_SLICE
    bodies = sum(len(row[4]) for row in batch.messages)
    return max(rows, 2 * (len(batch.entries) + len(batch.expiring))), max(size, 2 * bodies)


def _log_bytes(batch: Batch) -> int:
    """About how much the batch added to the log."""
    bodies = sum(len(row[4]) + len(row[3]) for row in batch.messages)
    rows = len(batch.messages) + len(batch.entries) + len(batch.expiring) + len(batch.counted)
    rows += len(batch.moved) + len(batch.notes) + len(batch.chunks) + len(batch.definitions) + len(batch.depths)
    return _COMMIT_BYTES + bodies + _ROW_BYTES * rows
