"""The store contract: what the store thread may ask of a store, and how a store may fail.

Used by the store thread only; every method blocks. No trio, time, thread, socket or SQL type crosses it.

1. A batch is atomic and carries everything its turn decided, definitions too; definitions never go by a
   side door.
2. Numbers are dense, commits happen in order, confirms are released in that order.
3. ``commit(n)`` when ``last_batch == n`` is a no-op: repeating is safe. ``epoch`` and ``last_batch`` are
   written in the same transaction as the data. A commit whose epoch is not the stored one raises
   ``StoreFenced`` and writes nothing.
4. Errors are the five below. Nothing else leaves a store.
5. A requeue keeps its position; it writes nothing but, in a queue that asks for it, how often it was delivered
   (``counted``; an entry that is gone meanwhile is passed over). Ids and positions come from above, unique per shard.
6. A batch puts before it deletes: an entry may be put and purged by the same batch. No entry is put into a
   range that was purged or dropped by an earlier batch. Dropping a queue drops all its lanes.
7. Paged-out transient messages are a world of their own. A paged entry has its own row in
   ``paged_messages``, of this batch or an earlier one; a row that comes again is left alone. ``settled``
   and ``purged`` ranges and dropped queues take paged entries too, and the store finds by itself which
   paged messages nobody refers to any more: ``released``, ``shared``, ``depths`` and the flag SHARED speak
   of durable entries only. ``counted`` and ``moved`` speak of both.
8. Notes and chunks belong to a queue, and go when it is dropped.
9. What a batch calls a queue is a lane. A batch that changes what a lane holds durably gives its depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from amqpd.broker.batch import Batch, Chunk, Due, StoredEntry, Summary


class StoreError(Exception):
    """A store could not do what it was asked."""


class StoreFull(StoreError):
    """No room (disk full, quota): nothing was written; block publishers and commit again later."""


class StoreUncertain(StoreError):
    """The commit may or may not have happened: ``resume`` tells, then repeat or confirm."""


class StoreUnavailable(StoreError):
    """The store does not answer (IO error, read-only, locked): nothing was written; ``resume``, then
    repeat.
    """


class StoreFenced(StoreError):
    """Another owner holds the shard: final, this broker must stop."""


class StoreCorrupt(StoreError):
    """The file is damaged or not ours, or its schema is newer than this program: final."""


class Opened(NamedTuple):
    """What opening found.

    ``clean`` says that the last owner released its claim: the redelivered marks are exact. Without it every
    message found may have been delivered before.
    """

    epoch: int
    last_batch: int
    next_message_id: int
    clean: bool


class Store(Protocol):
    """The writer. One owner at a time."""

    def open(self, shard: str, owner: str) -> Opened:
        """Claim the shard: epoch + 1. Raises StoreUnavailable when another process holds it, StoreCorrupt."""
        ...

    def commit(self, batch: Batch) -> None:
        """Write ``batch``; when this returns it is durable."""
        ...

    def tidy(self) -> bool:
        """Do a bounded piece of what earlier commits put off (deleting what was purged); for idle moments.
        Returns whether something is left. It has no number and need not be repeated; it fails as ``commit``
        does, and the same errors ask for ``resume``."""
        ...

    def renew(self) -> float:
        """Seconds the claim still holds; ``inf`` where a claim cannot be lost."""
        ...

    def resume(self) -> int:
        """After StoreUncertain or StoreUnavailable: reopen what is needed; returns the number of the last
        batch on disk. Raises StoreUnavailable while the cause lasts; commits are refused with it until
        then."""
        ...

    def close(self, release: bool) -> None:
        """Close. With ``release`` the claim is given back and the next open is clean. Raises StoreError
        when that could not be written; the store is closed all the same."""
        ...

    def reader(self) -> StoreReader:
        """A new reader; any number of them, once the store was opened."""
        ...


class StoreReader(Protocol):
    """Reads through its own connection; sees every batch whose commit returned."""

    def summary(self) -> Summary:
        """A row for each queue, and one for each further lane of it whose depth was ever written."""
        ...

    def load(self, queue: int, after: int, limit: int, max_bytes: int) -> list[StoredEntry]:
        """Entries of ``queue`` with a position above ``after``, in order: at most ``limit``, ending with the
        one whose body makes the sum of bodies exceed ``max_bytes``. Durable and paged-out entries alike."""
        ...

    def due(self, queue: int, after: int, up_to: int, limit: int, max_bytes: int) -> Due:
        """Early entries of ``queue`` with a position above ``after`` and a deadline not above ``up_to``, in order of
        deadline; ``limit`` and ``max_bytes`` as for ``load``. ``next_deadline`` is the smallest one of the early
        entries above ``after`` that are not among them."""
        ...

    def upcoming(self, queue: int, after: tuple[int, int], limit: int, max_bytes: int) -> list[StoredEntry]:
        """Early entries of ``queue`` behind ``after`` (deadline, position), in that order; ``limit`` and ``max_bytes``
        as for ``load``."""
        ...

    def named(self, queue: int, name: str, limit: int) -> list[StoredEntry]:
        """Entries of ``queue`` with a deadline that were put with this name, by position; at most ``limit``."""
        ...

    def overdue(self, queue: int, up_to: int) -> int:
        """How many early entries of ``queue`` have a deadline not above ``up_to``."""
        ...

    def notes(self, space: int, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Keys above ``after`` and when they expire, in order of key; ``limit`` at most."""
        ...

    def chunks(self, queue: int, after: int, limit: int) -> list[Chunk]:
        """Chunks of a stream with an offset above ``after``, in order; at most ``limit``. -1: from the first one on."""
        ...

    def last_chunk(self, queue: int) -> Chunk | None:
        """The newest chunk; None in a stream that never held a message."""
        ...

    def chunk_since(self, queue: int, time: int) -> Chunk | None:
        """The first chunk with a time of at least ``time``; None when all are older."""
        ...

    def place(self, queue: int, offset: int) -> int:
        """The position of the entry with this offset; 0 when there is none, before the first one or behind the last."""
        ...

    def bodies(self, ids: Sequence[int]) -> list[bytes]:
        """Bodies of the messages ``ids``, in that order; a missing one raises StoreCorrupt."""
        ...

    def close(self) -> None: ...
