"""Rows in and out of the message tables, in few large statements.

1. A statement gives the GIL away and must win it back from the busy trio thread, so what counts is their
   number: rows go in by up to ``ROWS_MAX`` at once, and many ranges go out with one statement.
2. Row counts are powers of two, so that a handful of prepared statements serve all sizes.
3. A range that may hold millions of entries goes to ``trash`` first, in the same transaction as the rest of
   its batch, and is deleted in slices by later ``sweep`` calls. Readers do not see what lies in a trash
   range; no entry is ever put into one, because positions only grow.
4. The chunks of a dropped stream may be as many as its entries, and are deleted with them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Final, final

from amqpd.broker.batch import (
    EARLY,
    SHARED,
    CountRow,
    Depth,
    EntryRange,
    EntryRow,
    ExpiringRow,
    IdRange,
    MessageRow,
    MovedRow,
)
from amqpd.store.contract import StoreCorrupt

ROWS_MAX: Final = 512
RUN_MIN: Final = 64  # a run of entries this long is cheaper to derive from the messages than to bind
POSITION_MAX: Final = (1 << 63) - 1

# Before the rows, a row, behind the rows.
COUNT: Final = (
    "UPDATE entry SET deliveries = column3, acquired = column4 FROM (VALUES ",
    "(?,?,?,?)",
    ") WHERE entry.queue = column1 AND entry.position = column2",
)
MOVE: Final = (
    "UPDATE entry SET deadline = column3 FROM (VALUES ",
    "(?,?,?)",
    f") WHERE entry.queue = column1 AND entry.position = column2 AND entry.flags & {EARLY}",
)

GROW_TRASH: Final = (
    "UPDATE trash SET last = max(last, column2) FROM (VALUES ",
    "(?,?)",
    f") WHERE trash.queue = column1 AND trash.last < {POSITION_MAX}",
)

# Those of a queue up to a position. No index leads there: the search meets only what is to go, and one more.
SWEEP_CHUNKS: Final = f"""
DELETE FROM chunk WHERE queue = ?1 AND "offset" < coalesce(
    (SELECT "offset" FROM chunk WHERE queue = ?1 AND position > ?2 ORDER BY "offset" LIMIT 1), {POSITION_MAX}
)
"""


@cache
def repeated(before: str, row: str, count: int, after: str = "") -> str:
    """``before row, row, ... after`` with ``count`` rows; the same string object each time."""
    return before + ",".join([row] * count) + after


def pieces(rows: Sequence[Sequence[object]]) -> Iterator[tuple[int, list[object]]]:
    """Cut ``rows`` into (count, flat parameters) with counts that are powers of two up to ``ROWS_MAX``."""
    at, left = 0, len(rows)
    while left:
        count = min(ROWS_MAX, 1 << (left.bit_length() - 1))
        yield count, list(chain.from_iterable(rows[at : at + count]))
        at += count
        left -= count


@final
class MessageTables:
    """The message, entry and trash tables of one connection. Raises sqlite3.Error; the caller owns the
    transaction.

    ``shared_flag``: entries with it may share their message with others, and are in the index that tells.
    ``repeatable``: rows that are there already are left alone, so that a batch may be written twice.
    ``chunks``: there is a table of them.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        shared_flag: int = SHARED,
        repeatable: bool = False,
        chunks: bool = False,
    ) -> None:
        self._execute = connection.execute
        self._shared_flag = shared_flag
        self._repeatable = repeatable
        self._chunks = chunks
        self._insert_into = "INSERT OR IGNORE INTO " if repeatable else "INSERT INTO "
        # False only when the trash table is known to be empty.
        self.trash_waiting = True

    def insert(
        self, messages: Sequence[MessageRow], entries: Sequence[EntryRow], expiring: Sequence[ExpiringRow] = ()
    ) -> None:
        """Write messages and the entries that refer to them (or to messages written before)."""
        for count, values in pieces(messages):
            self._execute(repeated(self._insert_into + "message VALUES ", "(?,?,?,?,?)", count), values)
        if len(entries) >= RUN_MIN and not self._repeatable and _is_run(entries):
            self._insert_run(entries)
        else:
            for count, values in pieces(entries):
                self._execute(
                    repeated(self._insert_into + "entry (queue, position, flags) VALUES ", "(?,?,?)", count), values
                )
        for count, values in pieces(expiring):
            self._execute(
                repeated(
                    self._insert_into + "entry (queue, position, flags, deadline, name) VALUES ", "(?,?,?,?,?)", count
                ),
                values,
            )

    def count(self, rows: Sequence[CountRow]) -> None:
        """Write how often entries were delivered; one that is not there is passed over."""
        before, row, after = COUNT
        for count, values in pieces(rows):
            self._execute(repeated(before, row, count, after), values)

    def move(self, rows: Sequence[MovedRow]) -> None:
        """Give early entries another deadline; one that is not there is passed over."""
        before, row, after = MOVE
        for count, values in pieces(rows):
            self._execute(repeated(before, row, count, after), values)

    def delete(self, settled: Sequence[EntryRange], released: Sequence[IdRange], shared: Sequence[int]) -> None:
        """Delete entries in ranges, messages in id ranges, and the ``shared`` messages no entry refers to."""
        if len(settled) == 1:
            self._execute("DELETE FROM entry WHERE queue = ? AND position BETWEEN ? AND ?", settled[0])
        else:
            for count, values in pieces(settled):
                self._execute(
                    repeated(
                        "DELETE FROM entry WHERE (queue, position) IN (SELECT e.queue, e.position FROM (VALUES ",
                        "(?,?,?)",
                        count,
                        ") AS r CROSS JOIN entry AS e"
                        " ON e.queue = r.column1 AND e.position BETWEEN r.column2 AND r.column3)",
                    ),
                    values,
                )
        self._delete_messages(released)
        for count, values in pieces([(message,) for message in shared]):
            self._execute(
                repeated(
                    "DELETE FROM message WHERE id IN (",
                    "?",
                    count,
                    ") AND NOT EXISTS (SELECT 1 FROM entry INDEXED BY entry_shared"
                    f" WHERE entry.position = message.id AND entry.flags & {self._shared_flag})",
                ),
                values,
            )

    def discard(self, ranges: Sequence[EntryRange]) -> None:
        """Throw entry ranges away, and their messages: at once for readers, in slices for the disk.

        A range from 0 on is what a stream lets go of, again and again: a stream has one row for all of it.
        """
        truncated = [(queue, last) for queue, first, last in ranges if first == 0 and last < POSITION_MAX]
        for count, values in pieces(truncated):
            before, row, after = GROW_TRASH
            self._execute(repeated(before, row, count, after), values)
        for count, values in pieces(ranges):
            self._execute(
                repeated(
                    "INSERT INTO trash SELECT column1, column2, column3 FROM (VALUES ",
                    "(?,?,?)",
                    count,
                    ") WHERE EXISTS (SELECT 1 FROM entry WHERE queue = column1"
                    " AND position BETWEEN column2 AND column3)"
                    " AND NOT EXISTS (SELECT 1 FROM trash WHERE trash.queue = column1 AND column2 = 0"
                    f" AND trash.last < {POSITION_MAX} AND trash.last >= column3)",
                ),
                values,
            )
        if ranges:
            self.trash_waiting = True

    def sweep(self, rows_max: int, bytes_max: int) -> bool:
        """Delete one slice of what lies in the trash: at most ``rows_max`` entries, and no more once their
        bodies exceed ``bytes_max``. Returns whether something is left."""
        swept = False
        while self.trash_waiting and rows_max > 0 and bytes_max > 0:
            row = self._execute("SELECT rowid, queue, first, last FROM trash LIMIT 1").fetchone()
            if row is None:
                # A sweep that did something may still be rolled back: the next one finds out.
                self.trash_waiting = swept
                break
            rows, size = self._sweep_range(row, rows_max, bytes_max)
            swept = True
            # A range costs a few statements even when it is nearly empty.
            rows_max -= rows + RUN_MIN
            bytes_max -= size
        return self.trash_waiting

    def positions(self, ranges: Sequence[EntryRange]) -> list[int]:
        """The positions of the entries inside ``ranges``."""
        found: list[int] = []
        for count, values in pieces(ranges):
            rows = self._execute(
                repeated(
                    "SELECT e.position FROM (VALUES ",
                    "(?,?,?)",
                    count,
                    ") AS r CROSS JOIN entry AS e"
                    " ON e.queue = r.column1 AND e.position BETWEEN r.column2 AND r.column3",
                ),
                values,
            )
            found.extend(position for (position,) in rows)
        return found

    def set_depths(self, depths: Sequence[Depth]) -> None:
        for count, values in pieces(depths):
            self._execute(
                repeated(
                    "INSERT INTO queue_depth (queue, messages, bytes) VALUES ",
                    "(?,?,?)",
                    count,
                    " ON CONFLICT (queue) DO UPDATE SET messages = excluded.messages, bytes = excluded.bytes",
                ),
                values,
            )

    def set_redelivered(self, marks: Sequence[tuple[int, int]]) -> None:
        for count, values in pieces(marks):
            self._execute(
                repeated(
                    "INSERT INTO queue_depth (queue, redelivered) VALUES ",
                    "(?,?)",
                    count,
                    " ON CONFLICT (queue) DO UPDATE SET redelivered = max(redelivered, excluded.redelivered)",
                ),
                values,
            )

    def _insert_run(self, entries: Sequence[EntryRow]) -> None:
        queue, first, flags = entries[0]
        done = self._execute(
            "INSERT INTO entry (queue, position, flags) SELECT ?, id, ? FROM message WHERE id BETWEEN ? AND ?",
            (queue, flags, first, entries[-1][1]),
        )
        if done.rowcount != len(entries):
            raise StoreCorrupt(f"entries of queue {queue} from {first} on refer to messages that are not stored")

    def _delete_messages(self, ranges: Sequence[IdRange]) -> None:
        if len(ranges) == 1:
            self._execute("DELETE FROM message WHERE id BETWEEN ? AND ?", ranges[0])
            return
        for count, values in pieces(ranges):
            self._execute(
                repeated(
                    "DELETE FROM message WHERE id IN (SELECT m.id FROM (VALUES ",
                    "(?,?)",
                    count,
                    ") AS r CROSS JOIN message AS m ON m.id BETWEEN r.column1 AND r.column2)",
                ),
                values,
            )

    def _sweep_range(self, trashed: tuple[int, int, int, int], rows_max: int, bytes_max: int) -> tuple[int, int]:
        """Delete the front of one trash range. Returns how many entries and how many octets of bodies
        went.
        """
        row, queue, first, last = trashed
        entries = self._execute(
            "SELECT e.position, e.flags, coalesce(length(m.body), 0) FROM entry AS e"
            " LEFT JOIN message AS m ON m.id = e.position"
            " WHERE e.queue = ? AND e.position BETWEEN ? AND ? ORDER BY e.position LIMIT ?",
            (queue, first, last, rows_max),
        )
        own: list[int] = []
        shared: list[int] = []
        size = 0
        end = last
        for position, flags, body_size in entries:
            (shared if flags & self._shared_flag else own).append(position)
            size += body_size
            if size > bytes_max or len(own) + len(shared) == rows_max:
                end = position
                break
        entries.close()
        if end == last:
            self._execute("DELETE FROM trash WHERE rowid = ?", (row,))
        else:
            self._execute("UPDATE trash SET first = ? WHERE rowid = ?", (end + 1, row))
        self.delete([(queue, first, end)], id_ranges(own), shared)
        if self._chunks and last == POSITION_MAX:
            self._execute(SWEEP_CHUNKS, (queue, end))
        return len(own) + len(shared), size


def id_ranges(ids: Sequence[int]) -> list[IdRange]:
    """Ascending ids as (first, last) ranges of consecutive ones."""
    ranges: list[IdRange] = []
    if not ids:
        return ranges
    first = last = ids[0]
    for value in ids[1:]:
        if value != last + 1:
            ranges.append((first, last))
            first = value
        last = value
    ranges.append((first, last))
    return ranges


def _is_run(entries: Sequence[EntryRow]) -> bool:
    """All of one queue with equal flags, and no position left out."""
    queue, first, flags = entries[0]
    if entries[-1][:1] != (queue,) or entries[-1][1] - first != len(entries) - 1:
        return False
    return {(row[0], row[2]) for row in entries} == {(queue, flags)}
