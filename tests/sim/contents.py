"""What lies in a queue right now, in memory and on disk, asked behind its back."""

from __future__ import annotations

from typing import NamedTuple

from amqpd.broker.batch import PAGED
from amqpd.broker.message import Entry
from amqpd.features.dead_letters import DeadLetters
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.priority import PriorityReady
from amqpd.queues.ready import FifoReady
from amqpd.store.contract import StoreReader
from tests.support.linked import Linked

EVERYTHING = (1 << 30, 1 << 40)


class Place(NamedTuple):
    """Of two messages the one with the smaller ``order`` is to be delivered first."""

    order: tuple[int, int]
    body: bytes


def lanes(queue: ClassicQueue) -> list[FifoReady]:
    ready = queue.ready
    if isinstance(ready, PriorityReady):
        return list(ready.used)
    assert isinstance(ready, FifoReady)
    return [ready]


def in_memory(lane: FifoReady) -> list[Entry]:
    entries = [*lane.head.entries(), *(entry for _, entry in lane.returned), *lane.tail.entries()]
    return [entry for entry in entries if not entry.gone]


def ready_in_memory(queue: ClassicQueue) -> list[Place]:
    return [Place(order(entry), entry.message.body) for lane in lanes(queue) for entry in in_memory(lane)]


def order(entry: Entry) -> tuple[int, int]:
    return -int(entry.lane.level), int(entry.position)


def ready_bodies(queue: ClassicQueue, reader: StoreReader) -> list[bytes]:
    """All that is ready or waits to be so again, once nothing is on the way to or from the disk."""
    found = [place.body for place in ready_in_memory(queue)]
    if queue.delayed is not None:
        found += [entry.message.body for _, _, entry in queue.delayed.heap]
    for lane in lanes(queue):
        if lane.disk_messages:
            stored = reader.load(int(lane.lane.id), int(lane.disk_after), *EVERYTHING)
            found += [
                one.body
                for one in stored
                if one.position <= lane.disk_last and one.position not in lane.deadlines.taken
            ]
    return found


def kept_positions(linked: Linked, queue: ClassicQueue) -> list[int]:
    """Of the dead letters the queue keeps."""
    handler = linked.broker.registry.letter_handler
    assert isinstance(handler, DeadLetters)
    kept = handler.kept.get(queue)
    return sorted(kept.letters) if kept is not None else []


def passed_over(queue: ClassicQueue, delivered: Entry) -> str:
    """Why ``delivered`` was not the next of what ``queue`` has; empty when it was."""
    mine = order(delivered)
    for place in ready_in_memory(queue):
        if place.order < mine:
            return f"{place.body!r} was in front, of level {-place.order[0]}"
    for lane in lanes(queue):
        if lane.lane.level > delivered.lane.level and lane.count():
            return f"there is more of level {lane.lane.level}"
        if lane.lane is delivered.lane and lane.disk_messages and delivered.position > lane.disk_after:
            return f"older ones are on disk, from {lane.disk_after} to {lane.disk_last}"
    return ""


def stored_bodies(reader: StoreReader) -> list[bytes]:
    """The bodies of all entries that are durably stored, from whatever queue: one for each entry."""
    found = []
    for definition in reader.summary().definitions:
        if definition.kind == "queue":
            first, levels = definition.values["id"], definition.values["levels"]
            assert isinstance(first, int)
            assert isinstance(levels, int)
            for lane in range(first, first + levels):
                found += [one.body for one in reader.load(lane, 0, *EVERYTHING) if not one.flags & PAGED]
    return found
