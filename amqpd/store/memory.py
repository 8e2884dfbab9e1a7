"""A store that forgets with the process: for tests and for brokers that need no disk."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from heapq import merge
from operator import attrgetter
from typing import final

from amqpd.broker.batch import (
    EARLY,
    KINDS,
    Batch,
    Chunk,
    CountRow,
    Definition,
    Due,
    EntryRange,
    EntryRow,
    ExpiringRow,
    MessageRow,
    MovedRow,
    QueueSummary,
    Scalar,
    StoredEntry,
    Summary,
)
from amqpd.store.contract import Opened, StoreCorrupt, StoreFenced, StoreUnavailable

_POSITION_MAX = (1 << 63) - 1
_offset = attrgetter("offset")


@final
class MemoryDisk:
    """What outlives a ``MemoryStore``: give it to the next one, as a file is found again after a restart."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shard: str | None = None
        self.owner: str | None = None
        self.epoch = 0
        self.last_batch = 0
        self.next_id = 1
        self.clean = True
        self.definitions: dict[str, dict[tuple[Scalar, ...], dict[str, Scalar]]] = {kind: {} for kind in KINDS}
        self.depths: dict[int, tuple[int, int]] = {}
        self.redelivered: dict[int, int] = {}
        # By space, when each key expires.
        self.notes: dict[int, dict[bytes, int]] = {}
        # By stream, in order of offset.
        self.chunks: dict[int, list[Chunk]] = {}
        self.durable = _Shelf()
        self.paged = _Shelf()


@final
class MemoryStore:
    """The writer. ``disk`` holds the content; without one the store begins empty."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self._epoch = 0
        self._opened = False

    def reader(self) -> MemoryReader:
        return MemoryReader(self.disk)

    def open(self, shard: str, owner: str) -> Opened:
        disk = self.disk
        with disk.lock:
            if disk.owner is not None:
                raise StoreUnavailable(f"the store is in use by {disk.owner}")
            if disk.shard not in (None, shard):
                raise StoreCorrupt(f"the store holds the shard {disk.shard!r}, not {shard!r}")
            clean = disk.clean
            disk.shard, disk.owner, disk.clean = shard, owner, False
            disk.epoch += 1
            disk.paged = _Shelf()
            self._epoch = disk.epoch
            self._opened = True
            return Opened(disk.epoch, disk.last_batch, disk.next_id, clean)

    def commit(self, batch: Batch) -> None:
        disk = self.disk
        with disk.lock:
            self._check_owner()
            if batch.number == disk.last_batch:
                return
            assert batch.number == disk.last_batch + 1, "batches are dense"
            _apply(disk, batch)

    def tidy(self) -> bool:
        with self.disk.lock:
            self._check_owner()
        return False

    def renew(self) -> float:
        return math.inf

    def resume(self) -> int:
        with self.disk.lock:
            self._check_owner()
            return self.disk.last_batch

    def close(self, release: bool) -> None:
        with self.disk.lock:
            if not self._opened:
                return
            self._opened = False
            if self.disk.epoch == self._epoch:
                self.disk.owner = None
                self.disk.clean = release

    def _check_owner(self) -> None:
        if not self._opened:
            raise StoreUnavailable("the store is not open")
        if self.disk.epoch != self._epoch:
            raise StoreFenced("another broker took the store over")


@final
class MemoryReader:
    """Reads a ``MemoryDisk``; from any thread."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def summary(self) -> Summary:
        disk = self._disk
        with disk.lock:
            definitions = [
                Definition(kind, False, dict(values))
                for kind, rows in disk.definitions.items()
                for values in rows.values()
            ]
            queues = [
                _queue_summary(disk, lane)
                for row in disk.definitions["queue"].values()
                for lane in _lanes(row)
                if lane == row["id"] or lane in disk.depths or lane in disk.redelivered
            ]
            return Summary(definitions, sorted(queues))

    def due(self, queue: int, after: int, up_to: int, limit: int, max_bytes: int) -> Due:
        entries: list[StoredEntry] = []
        size = 0
        with self._disk.lock:
            durable, paged = self._disk.durable, self._disk.paged
            waiting = merge(durable.early.get(queue, []), paged.early.get(queue, []))
            for deadline, position in waiting:
                if position <= after:
                    continue
                if deadline > up_to or len(entries) == limit or size > max_bytes:
                    return Due(entries, deadline)
                shelf = durable if (queue, position) in durable.flags else paged
                entries.append(shelf.stored(queue, position))
                size += len(entries[-1].body)
        return Due(entries, 0)

    def upcoming(self, queue: int, after: tuple[int, int], limit: int, max_bytes: int) -> list[StoredEntry]:
        page: list[StoredEntry] = []
        size = 0
        with self._disk.lock:
            durable, paged = self._disk.durable, self._disk.paged
            for deadline, position in merge(durable.early.get(queue, []), paged.early.get(queue, [])):
                if (deadline, position) <= after:
                    continue
                if len(page) == limit or size > max_bytes:
                    break
                shelf = durable if (queue, position) in durable.flags else paged
                page.append(shelf.stored(queue, position))
                size += len(page[-1].body)
        return page

    def named(self, queue: int, name: str, limit: int) -> list[StoredEntry]:
        with self._disk.lock:
            found = [
                shelf.stored(queue, position)
                for shelf in (self._disk.durable, self._disk.paged)
                for (lane, position), one in shelf.names.items()
                if lane == queue and one == name
            ]
        return sorted(found)[:limit]

    def overdue(self, queue: int, up_to: int) -> int:
        with self._disk.lock:
            shelves = (self._disk.durable, self._disk.paged)
            return sum(bisect_right(shelf.early.get(queue, []), (up_to, _POSITION_MAX)) for shelf in shelves)

    def notes(self, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        with self._disk.lock:
            notes = self._disk.notes.get(space, {})
            return sorted(item for item in notes.items() if item[0] > after)[:limit]

    def chunks(self, queue: int, after: int, limit: int) -> list[Chunk]:
        with self._disk.lock:
            chunks = self._disk.chunks.get(queue, [])
            first = bisect_right(chunks, after, key=_offset)
            return chunks[first : first + limit]

    def last_chunk(self, queue: int) -> Chunk | None:
        with self._disk.lock:
            return next(reversed(self._disk.chunks.get(queue, [])), None)

    def chunk_since(self, queue: int, time: int) -> Chunk | None:
        with self._disk.lock:
            return next((chunk for chunk in self._disk.chunks.get(queue, []) if chunk.time >= time), None)

    def place(self, queue: int, offset: int) -> int:
        with self._disk.lock:
            chunks = self._disk.chunks.get(queue, [])
            number = bisect_right(chunks, offset, key=_offset)
            if number == 0:
                return 0
            chunk = chunks[number - 1]
            count = offset - chunk.offset + 1
            positions = self._disk.durable.next_positions(queue, chunk.position - 1, count)
            return positions[-1] if len(positions) == count else 0

    def load(self, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]:
        page: list[StoredEntry] = []
        size = 0
        with self._disk.lock:
            durable, paged = self._disk.durable, self._disk.paged
            found = [(position, durable) for position in durable.next_positions(queue, after, limit)]
            found += [(position, paged) for position in paged.next_positions(queue, after, limit)]
            found.sort(key=lambda item: item[0])
            for position, shelf in found[:limit]:
                page.append(shelf.stored(queue, position))
                size += len(page[-1].body)
                if size > max_bytes:
                    break
        return page

    def bodies(self, ids: Sequence[int]) -> list[bytes]:
        with self._disk.lock:
            bodies: list[bytes] = []
            for message in ids:
                row = self._disk.durable.messages.get(message) or self._disk.paged.messages.get(message)
                if row is None:
                    raise StoreCorrupt(f"message {message} is missing")
                bodies.append(row[4])
            return bodies

    def close(self) -> None:
        """Nothing is held."""


@final
class _Shelf:
    """Messages and the entries that refer to them."""

    def __init__(self) -> None:
        self.messages: dict[int, MessageRow] = {}
        self.queues: dict[int, list[int]] = {}
        self.flags: dict[tuple[int, int], int] = {}
        # Of the entries that have them: deadlines, and how often they were delivered and acquired.
        self.deadlines: dict[tuple[int, int], int] = {}
        self.counts: dict[tuple[int, int], tuple[int, int]] = {}
        self.names: dict[tuple[int, int], str] = {}
        # By queue, (deadline, position) of its early entries, ascending.
        self.early: dict[int, list[tuple[int, int]]] = {}
        self.holders: dict[int, int] = {}

    def put(self, messages: Iterable[MessageRow], entries: Iterable[EntryRow], expiring: Iterable[ExpiringRow]) -> None:
        for message in messages:
            self.messages.setdefault(message[0], message)
        for queue, position, flags in entries:
            self._put(queue, position, flags)
        for queue, position, flags, deadline, name in expiring:
            self._put(queue, position, flags)
            self.deadlines[queue, position] = deadline
            if name is not None:
                self.names[queue, position] = name
            if flags & EARLY:
                insort(self.early.setdefault(queue, []), (deadline, position))

    def _put(self, queue: int, position: int, flags: int) -> None:
        assert (queue, position) not in self.flags, "an entry is put once"
        self.flags[queue, position] = flags
        insort(self.queues.setdefault(queue, []), position)
        self.holders[position] = self.holders.get(position, 0) + 1

    def count(self, rows: Iterable[CountRow]) -> None:
        for queue, position, deliveries, acquired in rows:
            if (queue, position) in self.flags:
                self.counts[queue, position] = (deliveries, acquired)

    def move(self, rows: Iterable[MovedRow]) -> None:
        for queue, position, deadline in rows:
            if self.flags.get((queue, position), 0) & EARLY:
                early = self.early[queue]
                del early[bisect_left(early, (self.deadlines[queue, position], position))]
                insort(early, (deadline, position))
                self.deadlines[queue, position] = deadline

    def take(self, ranges: Iterable[EntryRange]) -> list[int]:
        """Remove the entries inside ``ranges``; returns their positions."""
        taken: list[int] = []
        for queue, first, last in ranges:
            positions = self.queues.get(queue, [])
            low, high = bisect_left(positions, first), bisect_right(positions, last)
            for position in positions[low:high]:
                self._forget(queue, position)
                self.holders[position] -= 1
                taken.append(position)
            del positions[low:high]
            if not positions:
                self.queues.pop(queue, None)
        return taken

    def _forget(self, queue: int, position: int) -> None:
        flags = self.flags.pop((queue, position))
        self.counts.pop((queue, position), None)
        self.names.pop((queue, position), None)
        deadline = self.deadlines.pop((queue, position), 0)
        if flags & EARLY:
            early = self.early[queue]
            del early[bisect_left(early, (deadline, position))]
            if not early:
                del self.early[queue]

    def release(self, ids: Iterable[int]) -> None:
        """Remove the messages among ``ids`` that no entry refers to."""
        for message in ids:
            if not self.holders.get(message):
                self.holders.pop(message, None)
                self.messages.pop(message, None)

    def next_positions(self, queue: int, after: int, limit: int) -> list[int]:
        positions = self.queues.get(queue, [])
        low = bisect_right(positions, after)
        return positions[low : low + limit]

    def stored(self, queue: int, position: int) -> StoredEntry:
        row = self.messages.get(position)
        if row is None:
            raise StoreCorrupt(f"entry {position} of queue {queue} refers to a message that is missing")
        key = (queue, position)
        deliveries, acquired = self.counts.get(key, (0, 0))
        return StoredEntry(position, self.flags[key], *row[1:], self.deadlines.get(key, 0), deliveries, acquired)


def _apply(disk: MemoryDisk, batch: Batch) -> None:
    """The order is that of the SQLite store: puts, deletes, depths, drops."""
    discarded = list(batch.purged)
    for definition in batch.definitions:
        if definition.drop and definition.kind == "queue":
            row = disk.definitions["queue"].get((definition.values["id"],), definition.values)
            discarded.extend((lane, 0, _POSITION_MAX) for lane in _lanes(row))
        _define(disk, definition)
    disk.durable.put(batch.messages, batch.entries, batch.expiring)
    disk.paged.put(batch.paged_messages, batch.paged_entries, batch.paged_expiring)
    disk.durable.count(batch.counted)
    disk.paged.count(batch.counted)
    disk.durable.move(batch.moved)
    disk.paged.move(batch.moved)
    disk.durable.take(batch.settled)
    for first, last in batch.released:
        for message in range(first, last + 1):
            disk.durable.messages.pop(message, None)
    disk.durable.release(batch.shared)
    disk.paged.release(disk.paged.take(batch.settled))
    for queue, messages, size in batch.depths:
        disk.depths[queue] = (messages, size)
    for queue, position in batch.redelivered:
        disk.redelivered[queue] = max(position, disk.redelivered.get(queue, 0))
    _write_notes(disk, batch)
    _write_chunks(disk, batch)
    for shelf in (disk.durable, disk.paged):
        shelf.release(shelf.take(discarded))
    for queue, _, last in discarded:
        if last == _POSITION_MAX:
            disk.depths.pop(queue, None)
            disk.redelivered.pop(queue, None)
            disk.notes.pop(queue, None)
            disk.chunks.pop(queue, None)
    disk.last_batch = batch.number
    disk.next_id = batch.next_id


def _write_notes(disk: MemoryDisk, batch: Batch) -> None:
    for space, up_to in batch.outdated:
        disk.notes[space] = {key: expires for key, expires in disk.notes.get(space, {}).items() if expires > up_to}
    for space, key, expires in batch.notes:
        disk.notes.setdefault(space, {})[key] = expires
    for space, key in batch.forgotten:
        disk.notes.get(space, {}).pop(key, None)


def _write_chunks(disk: MemoryDisk, batch: Batch) -> None:
    for queue, *chunk in batch.chunks:
        disk.chunks.setdefault(queue, []).append(Chunk._make(chunk))
    for queue, offset in batch.truncated:
        chunks = disk.chunks.get(queue, [])
        del chunks[: bisect_left(chunks, offset, key=_offset)]


def _define(disk: MemoryDisk, definition: Definition) -> None:
    kind = KINDS[definition.kind]
    rows = disk.definitions[definition.kind]
    key = tuple(definition.values[column] for column in kind.key)
    rows.pop(key, None)
    if not definition.drop:
        rows[key] = {column: definition.values[column] for column in (*kind.key, *kind.columns)}


def _lanes(row: dict[str, Scalar]) -> range:
    """The keys of a queue's lanes."""
    first = int(row["id"] or 0)
    return range(first, first + int(row.get("levels") or 1))


def _queue_summary(disk: MemoryDisk, queue: int) -> QueueSummary:
    messages, size = disk.depths.get(queue, (0, 0))
    positions = disk.durable.queues.get(queue) or [0]
    early = disk.durable.early.get(queue)
    deadlines = [early[0][0] if early else 0, disk.durable.deadlines.get((queue, positions[0]), 0)]
    soonest = min([one for one in deadlines if one], default=0)
    redelivered = disk.redelivered.get(queue, 0)
    return QueueSummary(queue, messages, size, positions[0], positions[-1], redelivered, soonest)
