"""Notes as rows: keys that plugins keep for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from amqpd.broker.batch import Batch
from amqpd.store.tables import pieces, repeated


def write_notes(connection: sqlite3.Connection, batch: Batch) -> None:
    """What is outdated goes, then notes are put and forgotten."""
    if batch.outdated:
        connection.executemany("DELETE FROM note WHERE space = ? AND expires <= ?", batch.outdated)
    for count, values in pieces(batch.notes):
        connection.execute(
            repeated("INSERT OR REPLACE INTO note (space, key, expires) VALUES ", "(?,?,?)", count), values
        )
    for count, values in pieces(batch.forgotten):
        connection.execute(repeated("DELETE FROM note WHERE (space, key) IN (VALUES ", "(?,?)", count, ")"), values)


def drop_notes(connection: sqlite3.Connection, spaces: Sequence[int]) -> None:
    """All notes of ``spaces``."""
    if spaces:
        connection.executemany("DELETE FROM note WHERE space = ?", [(space,) for space in spaces])


def read_notes(connection: sqlite3.Connection, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]:
    rows = connection.execute(
        "SELECT key, expires FROM note WHERE space = ? AND key > ? ORDER BY key LIMIT ?", (space, after, limit)
    )
    return rows.fetchall()
