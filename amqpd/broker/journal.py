"""The journal: what must become durable, gathered into batches. Hot.

1. There is always one open batch, numbered ``number``. What a turn decides goes into it.
2. At most one sealed batch is under way in the writer; while it is written the open one fills. No timer.
3. One journal for all queues of a shard: a publish routed to five queues lies in one batch, so a batch number is
   enough to know when to confirm it.
4. An entry that is settled while the batch that inserts it is still open is annihilated: it never reaches the disk.
5. A batch in which everything was annihilated is not written; who waits for it is told at once.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.batch import EARLY, PAGED, SHARED, Batch, Chunk, Definition, MessageRow
from amqpd.broker.message import ANNIHILATED, NOT_STORED, Entry, Message
from amqpd.broker.queue import Lane, Queue
from amqpd.wire.content import message_id

# Bodies waiting in the open batch: above this nobody who publishes is read until the writer caught up.
OPEN_BYTES_MAX: Final = 32 << 20
FORGOTTEN: Final = -1
ENTRY_COST: Final = 200  # octets an open entry is counted with, beside its body, and a definition


@mypyc_attr(allow_interpreted_subclasses=True)
class CommitPort:
    """Somebody who waits for a batch: a channel with confirms or a transaction."""

    def batch_committed(self, number: i64) -> None:
        raise NotImplementedError


@final
class Journal:
    """``committed``: number of the last batch on disk. ``sealed``: the batch under way, or None."""

    def __init__(self, next_id: i64, last_batch: i64) -> None:
        self.next_id: i64 = next_id
        self.number: i64 = last_batch + 1
        self.committed: i64 = last_batch
        self.sealed: Batch | None = None
        self.open_bytes: i64 = 0
        self.open_bytes_max: i64 = OPEN_BYTES_MAX
        self.inserted: list[Entry] = []
        self.annihilated: i64 = 0
        self.settled: list[Entry] = []
        self.definitions: list[Definition] = []
        self.purged: list[tuple[int, int, int]] = []
        self.redelivered: list[tuple[int, int]] = []
        self.depth_changed: list[Lane] = []
        # By lane and position. One that comes back again and again is written once.
        self.counted: dict[tuple[int, int], Entry] = {}
        # By lane and position.
        self.moved: dict[tuple[int, int], Entry] = {}
        # By space and key: when it expires, FORGOTTEN where it goes.
        self.notes: dict[tuple[int, bytes], int] = {}
        self.outdated: dict[int, int] = {}
        self.chunks: list[tuple[Lane, Chunk]] = []
        # By stream: what is ahead of this chunk goes.
        self.truncated: dict[int, Chunk] = {}
        # Ports that wait for the open batch and for the sealed one.
        self.waiting: list[CommitPort] = []
        self.waiting_sealed: list[CommitPort] = []
        # Queues that want to know when what they inserted is on disk.
        self.paging: list[Queue] = []
        self.paging_sealed: list[Queue] = []

    def new_id(self) -> i64:
        """Ids of messages and queues come from here, ascending."""
        return self.new_ids(1)

    def new_ids(self, count: i64) -> i64:
        """A block of ids; returns the first."""
        value = self.next_id
        self.next_id = value + count
        return value

    def place(self, message: Message, lane: Lane) -> Entry:
        """A new entry for ``message``: all queues know a message by the same id, which is its position."""
        if message.id == 0:
            message.id = self.next_id
            self.next_id += 1
        entry = Entry(message, lane)
        entry.position = message.id
        return entry

    def insert(self, entry: Entry) -> None:
        """Store the entry with the open batch."""
        message = entry.message
        entry.batch = self.number
        if not entry.paged:
            message.holders += 1
            message.copies += 1
        self.open_bytes += ENTRY_COST + message.header.body_size
        self.inserted.append(entry)

    def settle(self, entry: Entry) -> None:
        """A stored entry leaves its queue for good."""
        if entry.batch == self.number:
            entry.batch = ANNIHILATED
            if not entry.paged:
                entry.message.holders -= 1
            self.annihilated += 1
        else:
            self.settled.append(entry)

    def count(self, entry: Entry) -> None:
        """How often the entry was delivered has changed: write it, where the entry is stored at all."""
        if entry.batch != NOT_STORED:
            self.counted[int(entry.lane.id), int(entry.position)] = entry

    def move(self, entry: Entry) -> None:
        """The deadline of an early entry has changed: write it."""
        if entry.batch != self.number:
            self.moved[int(entry.lane.id), int(entry.position)] = entry

    def note(self, space: int, key: bytes, expires: int) -> None:
        """Keep ``key`` in the store until ``expires``, in milliseconds since 1970, or replace it.

        ``space``: the id of a durable queue; when that is dropped, its notes go.
        """
        self.notes[space, key] = expires
        self.open_bytes += ENTRY_COST

    def forget_note(self, space: int, key: bytes) -> None:
        self.notes[space, key] = FORGOTTEN

    def forget_notes(self, space: int, up_to: int) -> None:
        """Drop the notes of ``space`` that expired up to ``up_to``, but for those put in the open batch."""
        self.outdated[space] = up_to

    def begin_chunk(self, lane: Lane, chunk: Chunk) -> None:
        """What a stream inserts from now on, until the open batch is sealed, is this chunk. Not without an entry."""
        self.chunks.append((lane, chunk))

    def truncate(self, lane: Lane, first: Chunk) -> None:
        """Drop what is ahead of ``first`` in a stream; the lane's depth is already without it."""
        self.truncated[int(lane.id)] = first
        self.depth_touched(lane)

    def define(self, definition: Definition) -> None:
        """Put or drop a definition with the open batch."""
        self.definitions.append(definition)
        self.open_bytes += ENTRY_COST

    def full(self) -> bool:
        """Publishers should not be read for a while."""
        return self.open_bytes > self.open_bytes_max

    def empty(self) -> bool:
        """Nothing of the open batch needs the disk."""
        return (
            len(self.inserted) == self.annihilated
            and not self.settled
            and not self.definitions
            and not self.purged
            and not self.redelivered
            and not self.counted
            and not self.moved
            and not self.notes
            and not self.outdated
            and not self.truncated
        )

    def seal(self) -> Batch:
        """Close the open batch and open the next one. Only when none is under way."""
        assert self.sealed is None
        batch = Batch(int(self.number))
        batch.next_id = int(self.next_id)
        batch.definitions = self.definitions
        batch.purged = self.purged
        batch.redelivered = self.redelivered
        self._seal_inserted(batch)
        self._seal_settled(batch)
        self._seal_counted(batch)
        self._seal_notes(batch)
        self._seal_chunks(batch)
        for lane in self.depth_changed:
            batch.depths.append((int(lane.id), int(lane.stored_messages), int(lane.stored_bytes)))
        self.sealed = batch
        self.number += 1
        self.waiting_sealed = self.waiting
        self.paging_sealed = self.paging
        self._reset()
        return batch

    def _reset(self) -> None:
        self.open_bytes = 0
        self.inserted = []
        self.annihilated = 0
        self.settled = []
        self.definitions = []
        self.purged = []
        self.redelivered = []
        self.depth_changed = []
        self.counted = {}
        self.moved = {}
        self.notes = {}
        self.outdated = {}
        self.chunks = []
        self.truncated = {}
        self.waiting = []
        self.paging = []

    def nothing_to_write(self) -> None:
        """Everything in the open batch was annihilated: forget it; its number stays for what comes next."""
        self.open_bytes = 0
        self.inserted = []
        self.annihilated = 0

    def batch_committed(self) -> None:
        """The sealed batch is on disk."""
        assert self.sealed is not None
        self.committed = self.number - 1
        self.sealed = None

    def depth_touched(self, lane: Lane) -> None:
        if lane.depth_batch != self.number:
            lane.depth_batch = self.number
            self.depth_changed.append(lane)

    def _seal_inserted(self, batch: Batch) -> None:
        number = self.number
        last_id: i64 = 0
        last_paged_id: i64 = 0
        highest_id: i64 = 0
        apart: list[Message] = []
        for entry in self.inserted:
            if entry.batch != number:
                continue
            lane = entry.lane
            if lane.queue.deleted:
                # The definition's drop in this batch would race with the rows it must drop.
                entry.batch = ANNIHILATED
                continue
            message = entry.message
            message_id = message.id
            # A message's entries mostly lie side by side, inserted by one publish: comparing with the last id is
            # enough to write its body once. Where a queue put a copy in between, it comes back below the highest.
            if entry.paged:
                if entry.deadline:
                    flags = PAGED | EARLY if entry.early else PAGED
                    batch.paged_expiring.append(
                        (int(lane.id), int(message_id), flags, int(entry.deadline), name_of(entry))
                    )
                else:
                    batch.paged_entries.append((int(lane.id), int(message_id), PAGED))
                if message_id != last_paged_id:
                    last_paged_id = message_id
                    batch.paged_messages.append(message_row(message))
                continue
            if entry.deadline:
                flags = (SHARED if message.copies > 1 else 0) | (EARLY if entry.early else 0)
                batch.expiring.append((int(lane.id), int(message_id), flags, int(entry.deadline), name_of(entry)))
            else:
                batch.entries.append((int(lane.id), int(message_id), SHARED if message.copies > 1 else 0))
            if message_id != last_id:
                last_id = message_id
                if message_id > highest_id:
                    highest_id = message_id
                    batch.messages.append(message_row(message))
                else:
                    apart.append(message)
            lane.stored_messages += 1
            lane.stored_bytes += message.header.body_size
            self.depth_touched(lane)
        if apart:
            add_missing(batch.messages, apart)

    def _seal_counted(self, batch: Batch) -> None:
        for (lane, position), entry in self.counted.items():
            if entry.batch != ANNIHILATED and not entry.queue.deleted:
                batch.counted.append((lane, position, int(entry.deliveries), int(entry.acquired)))
        for (lane, position), entry in self.moved.items():
            if not entry.queue.deleted:
                batch.moved.append((lane, position, int(entry.deadline)))

    def _seal_notes(self, batch: Batch) -> None:
        for (space, key), expires in self.notes.items():
            if expires == FORGOTTEN:
                batch.forgotten.append((space, key))
            else:
                batch.notes.append((space, key, expires))
        batch.outdated = list(self.outdated.items())

    def _seal_chunks(self, batch: Batch) -> None:
        for lane, begun in self.chunks:
            if not lane.queue.deleted:
                chunk = lane.queue.chunk_sealed(begun)
                batch.chunks.append((int(lane.id), chunk.offset, chunk.position, chunk.time, chunk.before))
        for stream, first in self.truncated.items():
            batch.purged.append((stream, 0, first.position - 1))
            batch.truncated.append((stream, first.offset))

    def _seal_settled(self, batch: Batch) -> None:
        """Settled entries as ranges: of positions for each lane, and of message ids nobody else holds."""
        places = batch.settled
        lane: Lane | None = None
        first: i64 = 0
        last: i64 = 0
        sequence: i64 = 0
        ids: list[int] = []
        for entry in self.settled:
            holder = entry.lane
            if holder.queue.deleted:
                continue
            if holder is lane and sequence != 0 and entry.sequence == sequence + 1:
                last = entry.position
            else:
                if lane is not None:
                    places.append((int(lane.id), int(first), int(last)))
                lane = holder
                first = last = entry.position
            sequence = entry.sequence
            # A paged message lies in tables of its own, which the store clears by its entries.
            if not entry.paged:
                if entry.message.copies > 1:
                    batch.shared.append(int(entry.position))
                else:
                    ids.append(int(entry.position))
                holder.stored_messages -= 1
                holder.stored_bytes -= entry.message.header.body_size
                self.depth_touched(holder)
        if lane is not None:
            places.append((int(lane.id), int(first), int(last)))
        batch.released = id_ranges(ids)


def name_of(entry: Entry) -> str | None:
    """What the entry can be found by in the store."""
    return message_id(entry.message.header) if entry.lane.named else None


def message_row(message: Message) -> MessageRow:
    address = message.address
    return (int(message.id), address.exchange, address.routing_key, message.header.payload[12:], message.body)


def add_missing(rows: list[MessageRow], messages: list[Message]) -> None:
    """Rows for those of ``messages`` that have none yet, in order of id."""
    ids = {row[0]: True for row in rows}
    for message in messages:
        if int(message.id) not in ids:
            ids[int(message.id)] = True
            rows.append(message_row(message))
    rows.sort()


def id_ranges(ids: list[int]) -> list[tuple[int, int]]:
    """Ascending (first, last) ranges of consecutive ids."""
    ranges: list[tuple[int, int]] = []
    if not ids:
        return ranges
    ids.sort()
    first = last = ids[0]
    for value in ids:
        if value > last + 1:
            ranges.append((first, last))
            first = value
        last = value
    ranges.append((first, last))
    return ranges
