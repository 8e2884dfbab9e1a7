"""The file for transient messages that were put out of memory.

1. It needs no durability: it is written without fsync, thrown away at every start, and made when first
   needed.
2. It commits before the main file. What it does is safe to repeat, so a batch may be committed again when
   the main file failed, and a batch that the main file holds never misses its paged messages.
3. It finds by itself which messages a settled range sets free: ``released`` and ``shared`` of a batch speak
   of durable entries only, because one message may be durable in one queue and paged out of another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

from amqpd.broker.batch import PAGED, Batch, EntryRange
from amqpd.store.connection import connect, transaction
from amqpd.store.schema import PAGE_SIZE, configure, create_message_tables
from amqpd.store.tables import MessageTables

# Without fsync a checkpoint is a copy in memory, so the commit does it, a little at a time.
LOG_PAGES_MAX: Final = 128


@final
class PagedFile:
    """``present`` says that the file and its tables are there; readers ask before they open it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.present = False
        self._connection: sqlite3.Connection | None = None
        self._tables: MessageTables | None = None

    def remove(self) -> None:
        """Take the file away. Raises OSError."""
        self.close()
        self.present = False
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._tables = None

    def commit(self, batch: Batch, discarded: Sequence[EntryRange], rows_max: int, bytes_max: int) -> None:
        """Write what ``batch`` says of paged messages. ``discarded`` are ranges that are purged or
        dropped.
        """
        if not self.present and not batch.paged_messages:
            return
        put = batch.paged_messages or batch.paged_entries or batch.paged_expiring
        if not (put or batch.counted or batch.moved or batch.settled or discarded or self._trash_waiting()):
            return
        connection, tables = self._open()
        with transaction(connection):
            tables.insert(batch.paged_messages, batch.paged_entries, batch.paged_expiring)
            tables.count(batch.counted)
            tables.move(batch.moved)
            if batch.settled:
                tables.delete(batch.settled, [], tables.positions(batch.settled))
            tables.discard(discarded)
            tables.sweep(rows_max, bytes_max)

    def tidy(self, rows_max: int, bytes_max: int) -> bool:
        """Delete a slice of what was discarded. Returns whether something is left."""
        if not self.present or not self._trash_waiting():
            return False
        connection, tables = self._open()
        with transaction(connection):
            return tables.sweep(rows_max, bytes_max)

    def _trash_waiting(self) -> bool:
        return self._tables is None or self._tables.trash_waiting

    def _open(self) -> tuple[sqlite3.Connection, MessageTables]:
        if self._connection is None or self._tables is None:
            connection = self._connection = connect(self.path, create=True)
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            configure(connection, "OFF", LOG_PAGES_MAX)
            tables = MessageTables(connection, PAGED, repeatable=True)
            if not self.present:
                with transaction(connection):
                    create_message_tables(connection, PAGED)
            self._tables = tables
            self.present = True
        return self._connection, self._tables
