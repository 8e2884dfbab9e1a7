"""Reading a store's files while the writer goes on."""

from __future__ import annotations

import heapq
import sqlite3
import threading
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeVar, final

from amqpd.broker.batch import EARLY, Chunk, Due, QueueSummary, StoredEntry, Summary
from amqpd.store.chunks import read_chunk_since, read_chunks, read_last_chunk, read_place
from amqpd.store.connection import connect, roll_back
from amqpd.store.contract import StoreCorrupt
from amqpd.store.definitions import read_definitions
from amqpd.store.errors import store_error
from amqpd.store.notes import read_notes
from amqpd.store.paged import PagedFile
from amqpd.store.tables import POSITION_MAX, pieces, repeated

Result = TypeVar("Result")

_ENTRY: Final = """
SELECT e.position, e.flags, m.exchange, m.routing_key, m.properties, m.body, coalesce(e.deadline, 0), e.deliveries,
       e.acquired
FROM entry AS e LEFT JOIN message AS m ON m.id = e.position
"""
LOAD: Final = f"""
{_ENTRY}
WHERE e.queue = ? AND e.position BETWEEN ? AND ?
ORDER BY e.position LIMIT ?
"""

_NOT_TRASHED: Final = """
NOT EXISTS (SELECT 1 FROM trash WHERE trash.queue = e.queue AND e.position BETWEEN trash.first AND trash.last)
"""
DUE: Final = f"""
{_ENTRY.replace("entry AS e", "entry AS e INDEXED BY entry_early")}
WHERE e.queue = ? AND e.flags & {EARLY} AND e.deadline <= ? AND e.position > ? AND {_NOT_TRASHED}
ORDER BY e.deadline, e.position LIMIT ?
"""
# The next one behind (deadline, position).
NEXT_DUE: Final = f"""
SELECT e.deadline FROM entry AS e INDEXED BY entry_early
WHERE e.queue = ? AND e.flags & {EARLY} AND (e.deadline, e.position) > (?, ?) AND e.position > ? AND {_NOT_TRASHED}
ORDER BY e.deadline, e.position LIMIT 1
"""

UPCOMING: Final = f"""
{_ENTRY.replace("entry AS e", "entry AS e INDEXED BY entry_early")}
WHERE e.queue = ? AND e.flags & {EARLY} AND (e.deadline, e.position) > (?, ?) AND {_NOT_TRASHED}
ORDER BY e.deadline, e.position LIMIT ?
"""
OVERDUE: Final = f"""
SELECT count(*) FROM entry AS e INDEXED BY entry_early
WHERE e.queue = ? AND e.flags & {EARLY} AND e.deadline <= ? AND {_NOT_TRASHED}
"""
NAMED: Final = f"""
{_ENTRY.replace("entry AS e", "entry AS e INDEXED BY entry_name")}
WHERE e.queue = ? AND e.name = ? AND {_NOT_TRASHED}
ORDER BY e.position LIMIT ?
"""

# Ends of a lane's range and its first deadline, found by one seek each; what is in the trash does not count. A lane
# has a row of its own where it ever held something, the first one always.
SUMMARY: Final = f"""
SELECT lane.id, coalesce(depth.messages, 0), coalesce(depth.bytes, 0),
       (SELECT min(position) FROM entry WHERE entry.queue = lane.id),
       (SELECT max(position) FROM entry WHERE entry.queue = lane.id),
       coalesce(depth.redelivered, 0),
       (SELECT min(deadline) FROM entry INDEXED BY entry_early
        WHERE entry.queue = lane.id AND entry.flags & {EARLY})
FROM (
    SELECT id FROM queue
    UNION
    SELECT depth.queue FROM queue CROSS JOIN queue_depth AS depth
    ON depth.queue BETWEEN queue.id + 1 AND queue.id + queue.levels - 1 WHERE queue.levels > 1
) AS lane LEFT JOIN queue_depth AS depth ON depth.queue = lane.id
ORDER BY lane.id
"""

_TRASH: Final = "SELECT first, last FROM trash WHERE queue = ? ORDER BY first"


@final
class SqliteReader:
    """Reads the main file and, where there is one, the file of paged-out transient messages.

    May be called from any thread; calls wait for each other. After an error the next call opens the files
    again.
    """

    def __init__(self, path: Path, paged: PagedFile | None = None) -> None:
        self._main = _File(path)
        self._paged_file = paged
        self._paged = _File(paged.path) if paged is not None else None
        self._lock = threading.Lock()

    def summary(self) -> Summary:
        return self._read(self._main, _read_summary)

    def load(self, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]:
        """See the contract. Durable and paged-out entries come together in order of position."""

        def load(connection: sqlite3.Connection) -> list[StoredEntry]:
            return _load(connection, queue, after, limit, max_bytes)

        durable = self._read(self._main, load)
        paged = self._present_paged()
        if paged is None:
            return durable
        transient = self._read(paged, load)
        if not transient:
            return durable
        merged = heapq.merge(durable, transient, key=attrgetter("position"))
        return _cut(list(merged), limit, max_bytes)

    def due(self, queue: int, after: int, up_to: int, limit: int, max_bytes: int) -> Due:
        """See the contract."""

        def read(connection: sqlite3.Connection) -> Due:
            return _due(connection, queue, after, up_to, limit, max_bytes)

        durable = self._read(self._main, read)
        paged = self._present_paged()
        if paged is None:
            return durable
        transient = self._read(paged, read)
        entries = sorted([*durable.entries, *transient.entries], key=attrgetter("deadline", "position"))
        kept = _cut(entries, limit, max_bytes)
        left = [one.deadline for one in entries[len(kept) :][:1]]
        left += [due.next_deadline for due in (durable, transient) if due.next_deadline]
        return Due(kept, min(left, default=0))

    def upcoming(self, queue: int, after: tuple[int, int], limit: int, max_bytes: int) -> list[StoredEntry]:
        def read(connection: sqlite3.Connection) -> list[StoredEntry]:
            return _page(queue, connection.execute(UPCOMING, (queue, *after, limit)), max_bytes)

        found = sorted(self._both(read), key=attrgetter("deadline", "position"))
        return _cut(found, limit, max_bytes)

    def named(self, queue: int, name: str, limit: int) -> list[StoredEntry]:
        def read(connection: sqlite3.Connection) -> list[StoredEntry]:
            return _page(queue, connection.execute(NAMED, (queue, name, limit)), POSITION_MAX)

        return sorted(self._both(read))[:limit]

    def overdue(self, queue: int, up_to: int) -> int:
        def read(connection: sqlite3.Connection) -> list[int]:
            return [count for (count,) in connection.execute(OVERDUE, (queue, up_to))]

        return sum(self._both(read))

    def notes(self, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        return self._read(self._main, lambda connection: read_notes(connection, space, after, limit))

    def chunks(self, queue: int, after: int, limit: int) -> list[Chunk]:
        return self._read(self._main, lambda connection: read_chunks(connection, queue, after, limit))

    def last_chunk(self, queue: int) -> Chunk | None:
        return self._read(self._main, lambda connection: read_last_chunk(connection, queue))

    def chunk_since(self, queue: int, time: int) -> Chunk | None:
        return self._read(self._main, lambda connection: read_chunk_since(connection, queue, time))

    def place(self, queue: int, offset: int) -> int:
        return self._read(self._main, lambda connection: read_place(connection, queue, offset))

    def _both(self, read: Callable[[sqlite3.Connection], list[Result]]) -> list[Result]:
        """What one question finds among durable entries, and then among paged-out ones."""
        found = self._read(self._main, read)
        paged = self._present_paged()
        return found if paged is None else found + self._read(paged, read)

    def bodies(self, ids: Sequence[int]) -> list[bytes]:
        found = self._read(self._main, lambda connection: _bodies(connection, ids))
        paged = self._present_paged()
        missing = [message for message in ids if message not in found]
        if missing and paged is not None:
            found.update(self._read(paged, lambda connection: _bodies(connection, missing)))
        try:
            return [found[message] for message in ids]
        except KeyError as error:
            raise StoreCorrupt(f"{self._main.path}: message {error} is missing") from error

    def close(self) -> None:
        with self._lock:
            self._main.close()
            if self._paged is not None:
                self._paged.close()

    def _present_paged(self) -> _File | None:
        return self._paged if self._paged_file is not None and self._paged_file.present else None

    def _read(self, file: _File, read: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._lock:
            try:
                return read(file.connection())
            except sqlite3.Error as error:
                file.close()
                raise store_error(error, file.path) from error


@final
class _File:
    """One file and its connection, opened when first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path)
            self._connection.execute("PRAGMA query_only = ON")
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read_summary(connection: sqlite3.Connection) -> Summary:
    connection.execute("BEGIN")
    try:
        definitions = read_definitions(connection)
        trashed = {queue for (queue,) in connection.execute("SELECT DISTINCT queue FROM trash")}
        queues: list[QueueSummary] = []
        for queue, messages, size, first, last, redelivered, deadline in connection.execute(SUMMARY).fetchall():
            if queue in trashed:
                first, last = _ends(connection, queue)
                deadline = _next_deadline(connection, queue, 0, (0, 0))
            deadlines = [one for one in (deadline, _deadline(connection, queue, first)) if one]
            soonest = min(deadlines, default=0)
            queues.append(QueueSummary(queue, messages, size, first or 0, last or 0, redelivered, soonest))
        return Summary(definitions, queues)
    finally:
        roll_back(connection)


def _deadline(connection: sqlite3.Connection, queue: int, position: int | None) -> int | None:
    """Of one entry; None where it has none, or is none."""
    if not position:
        return None
    row = connection.execute("SELECT deadline FROM entry WHERE queue = ? AND position = ?", (queue, position))
    return next(iter(row.fetchone() or ()), None)


def _ends(connection: sqlite3.Connection, queue: int) -> tuple[int, int]:
    """First and last position of a queue of which parts lie in the trash; 0 and 0 when nothing else is
    there.
    """
    first = last = 0
    for low, high in _spans(connection, queue, 0):
        ends = connection.execute(
            "SELECT min(position), max(position) FROM entry WHERE queue = ? AND position BETWEEN ? AND ?",
            (queue, low, high),
        ).fetchone()
        if ends[0] is not None:
            first = first or ends[0]
            last = ends[1]
    return first, last


def _spans(connection: sqlite3.Connection, queue: int, after: int) -> list[tuple[int, int]]:
    """The ranges of positions above ``after`` that are not in the trash."""
    spans: list[tuple[int, int]] = []
    low = after + 1
    for first, last in connection.execute(_TRASH, (queue,)):
        if low < first:
            spans.append((low, first - 1))
        low = max(low, last + 1)
    if low <= POSITION_MAX:
        spans.append((low, POSITION_MAX))
    return spans


def _load(connection: sqlite3.Connection, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]:
    page: list[StoredEntry] = []
    size = 0
    for first, last in _spans(connection, queue, after):
        rows = connection.execute(LOAD, (queue, first, last, limit - len(page)))
        for row in rows:
            entry = _entry(queue, row)
            page.append(entry)
            size += len(entry.body)
            if size > max_bytes:
                rows.close()
                return page
        if len(page) >= limit:
            break
    return page


def _due(connection: sqlite3.Connection, queue: int, after: int, up_to: int, limit: int, max_bytes: int) -> Due:
    entries = _page(queue, connection.execute(DUE, (queue, up_to, after, limit)), max_bytes)
    last = (entries[-1].deadline, entries[-1].position) if entries else (0, 0)
    return Due(entries, _next_deadline(connection, queue, after, last))


def _page(queue: int, rows: sqlite3.Cursor, max_bytes: int) -> list[StoredEntry]:
    """Rows up to the one whose body makes the sum of bodies exceed ``max_bytes``."""
    page: list[StoredEntry] = []
    size = 0
    for row in rows:
        page.append(_entry(queue, row))
        size += len(page[-1].body)
        if size > max_bytes:
            rows.close()
            break
    return page


def _next_deadline(connection: sqlite3.Connection, queue: int, after: int, last: tuple[int, int]) -> int:
    """The smallest deadline of early entries behind ``last`` (deadline, position); 0 for none."""
    found = connection.execute(NEXT_DUE, (queue, *last, after)).fetchone()
    return int(found[0]) if found else 0


def _entry(queue: int, row: tuple[Any, ...]) -> StoredEntry:
    entry = StoredEntry._make(row)
    if entry.body is None:
        raise StoreCorrupt(f"entry {entry.position} of queue {queue} refers to a message that is missing")
    return entry


def _cut(page: list[StoredEntry], limit: int, max_bytes: int) -> list[StoredEntry]:
    """The front of ``page``: ``limit`` entries, ending with the one that exceeds ``max_bytes``."""
    size = 0
    for count, entry in enumerate(page[:limit], 1):
        size += len(entry.body)
        if size > max_bytes:
            return page[:count]
    return page[:limit]


def _bodies(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for count, values in pieces([(message,) for message in ids]):
        found.update(
            connection.execute(
                repeated("SELECT id, body FROM message WHERE id IN (", "?", count, ")"), values
            ).fetchall()
        )
    return found
