"""Chunks as rows: where the offsets of streams lie among their entries.

A dropped stream's chunks are deleted in slices, with its entries (``tables.py``); readers do not see them any more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from amqpd.broker.batch import Batch, Chunk
from amqpd.store.tables import POSITION_MAX, pieces, repeated

_NOT_DROPPED: Final = f"NOT EXISTS (SELECT 1 FROM trash WHERE trash.queue = ?1 AND trash.last = {POSITION_MAX})"
_CHUNK: Final = 'SELECT "offset", position, time, before FROM chunk'
CHUNKS: Final = f"""
{_CHUNK} WHERE queue = ?1 AND "offset" > ?2 AND {_NOT_DROPPED} ORDER BY "offset" LIMIT ?3
"""
LAST_CHUNK: Final = f"""
{_CHUNK} WHERE queue = ?1 AND {_NOT_DROPPED} ORDER BY "offset" DESC LIMIT 1
"""
CHUNK_SINCE: Final = f"""
{_CHUNK} INDEXED BY chunk_time WHERE queue = ?1 AND time >= ?2 AND {_NOT_DROPPED} ORDER BY time, "offset" LIMIT 1
"""
# One statement, so that the chunk and the entries behind it are of the same moment.
PLACE: Final = f"""
WITH found AS (
    {_CHUNK} WHERE queue = ?1 AND "offset" <= ?2 AND {_NOT_DROPPED} ORDER BY "offset" DESC LIMIT 1
)
SELECT position FROM entry WHERE queue = ?1 AND position >= (SELECT position FROM found) ORDER BY position
LIMIT 1 OFFSET coalesce(?2 - (SELECT "offset" FROM found), 0)
"""


def write_chunks(connection: sqlite3.Connection, batch: Batch) -> None:
    """Chunks are put, then those ahead of a truncated stream's first offset go."""
    for count, values in pieces(batch.chunks):
        connection.execute(
            repeated('INSERT INTO chunk (queue, "offset", position, time, before) VALUES ', "(?,?,?,?,?)", count),
            values,
        )
    if batch.truncated:
        connection.executemany('DELETE FROM chunk WHERE queue = ? AND "offset" < ?', batch.truncated)


def drop_chunks(connection: sqlite3.Connection, queues: Sequence[int]) -> None:
    """All chunks of ``queues``: now, unless entries lie in the trash with which they are swept."""
    for count, values in pieces([(queue,) for queue in queues]):
        connection.execute(
            repeated(
                "DELETE FROM chunk WHERE queue IN (SELECT column1 FROM (VALUES ",
                "(?)",
                count,
                f") WHERE NOT EXISTS (SELECT 1 FROM trash WHERE queue = column1 AND last = {POSITION_MAX}))",
            ),
            values,
        )


def read_chunks(connection: sqlite3.Connection, queue: int, after: int, limit: int) -> list[Chunk]:
    return [Chunk._make(row) for row in connection.execute(CHUNKS, (queue, after, limit))]


def read_last_chunk(connection: sqlite3.Connection, queue: int) -> Chunk | None:
    row = connection.execute(LAST_CHUNK, (queue,)).fetchone()
    return Chunk._make(row) if row else None


def read_chunk_since(connection: sqlite3.Connection, queue: int, time: int) -> Chunk | None:
    row = connection.execute(CHUNK_SINCE, (queue, time)).fetchone()
    return Chunk._make(row) if row else None


def read_place(connection: sqlite3.Connection, queue: int, offset: int) -> int:
    row = connection.execute(PLACE, (queue, offset)).fetchone()
    return int(row[0]) if row else 0
