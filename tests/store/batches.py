"""Batches for the store's tests, written short."""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.broker.batch import EARLY, PAGED, SHARED, Batch, Definition, MessageRow, Scalar
from amqpd.store.contract import Opened, Store, StoreReader

EVERYTHING = 1 << 40


def queue(number: int, name: str = "", levels: int = 1) -> Definition:
    columns: dict[str, Scalar] = {
        "vhost": "/",
        "auto_delete": 0,
        "type": "classic",
        "arguments": b"\x00",
        "levels": levels,
    }
    return Definition("queue", False, {"id": number, "name": name or f"queue-{number}", **columns})


def drop_queue(number: int) -> Definition:
    return Definition("queue", True, {"id": number})


def message(number: int, size: int = 10) -> MessageRow:
    return (number, "exchange", f"key-{number}", b"\x80\x00\x00properties", body(number, size))


def body(number: int, size: int = 10) -> bytes:
    """Bytes that tell messages apart, with a NUL among them."""
    return (b"%d\x00" % number).ljust(size, b".")


class Writer:
    """Commits batches one after the other to an open store; ``batch`` keeps what was given last."""

    def __init__(self, store: Store, opened: Opened) -> None:
        self.store = store
        self.number = opened.last_batch
        self.next_id = opened.next_message_id

    def new(self) -> Batch:
        batch = Batch(self.number + 1)
        batch.next_id = self.next_id
        return batch

    def commit(self, batch: Batch) -> None:
        self.store.commit(batch)
        self.number = batch.number
        self.next_id = batch.next_id

    def define(self, *definitions: Definition) -> None:
        batch = self.new()
        batch.definitions = list(definitions)
        self.commit(batch)

    def publish(self, queues: Iterable[int], ids: Iterable[int], size: int = 10, paged: bool = False) -> None:
        batch = self.new()
        add(batch, list(queues), list(ids), size, paged)
        self.commit(batch)

    def settle(self, queue_id: int, first: int, last: int) -> None:
        """Settle a range of durable messages nobody else holds."""
        batch = self.new()
        batch.settled = [(queue_id, first, last)]
        batch.released = [(first, last)]
        self.commit(batch)

    def purge(self, queue_id: int, first: int, last: int) -> None:
        batch = self.new()
        batch.purged = [(queue_id, first, last)]
        self.commit(batch)


def add(batch: Batch, queues: list[int], ids: list[int], size: int = 10, paged: bool = False) -> None:
    """Messages ``ids``, each into all ``queues``."""
    flags = SHARED if len(queues) > 1 else 0
    if paged:
        batch.paged_messages += [message(number, size) for number in ids]
        batch.paged_entries += [(queue_id, number, PAGED) for number in ids for queue_id in queues]
    else:
        batch.messages += [message(number, size) for number in ids]
        batch.entries += [(queue_id, number, flags) for number in ids for queue_id in queues]
    batch.next_id = max([batch.next_id, *(number + 1 for number in ids)])


def add_expiring(
    batch: Batch,
    queue_id: int,
    deadlines: dict[int, int],
    early: bool = True,
    paged: bool = False,
    name: str | None = None,
) -> None:
    """Messages of one queue by id, each with its deadline; all with the same name."""
    flags = (EARLY if early else 0) | (PAGED if paged else 0)
    rows = [(queue_id, number, flags, deadline, name) for number, deadline in deadlines.items()]
    (batch.paged_messages if paged else batch.messages).extend(message(number) for number in deadlines)
    (batch.paged_expiring if paged else batch.expiring).extend(rows)
    batch.next_id = max([batch.next_id, *(number + 1 for number in deadlines)])


def positions(reader: StoreReader, queue_id: int) -> list[int]:
    return [entry.position for entry in reader.load(queue_id, 0, 1_000_000, EVERYTHING)]
