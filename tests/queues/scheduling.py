"""A schedule without its exchange: a broker with one schedule, over a store that the test gives."""

from __future__ import annotations

from collections.abc import Callable

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.broker import Broker
from amqpd.broker.message import Entry, Message
from amqpd.broker.registry import Registry
from amqpd.broker.shard import PageRequest
from amqpd.features import builtin
from amqpd.queues.schedule import DONE, Keeper, Schedule
from amqpd.store.contract import Store
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.wire.content import header_from_properties
from tests.queues.building import message

KIND = "schedule"
EVERYTHING = (1 << 30, 1 << 40)
START_MS = 1_000_000


def named(body: bytes, name: str) -> Message:
    """A persistent message with a message-id; an empty ``name`` is none."""
    if not name:
        return message(body)
    made = message(body)
    properties = b"\x10\x80\x02" + bytes([len(name)]) + name.encode()
    return Message(made.address, header_from_properties(properties, len(body)), body)


class Notebook(Keeper):
    """``came``: bodies whose time came, each with when. ``answer``: what is said of each. ``answers``: of look-ups."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.came: list[tuple[int, bytes]] = []
        self.answers: list[tuple[Entry, list[bytes]]] = []
        self.answer: Callable[[Entry], int] = lambda entry: DONE

    def due(self, entry: Entry) -> int:
        self.came.append((self.broker.now, entry.message.body))
        return self.answer(entry)

    def found(self, asking: Entry, entries: list[Entry]) -> None:
        self.answers.append((asking, [entry.message.body for entry in entries]))

    def bodies(self) -> list[bytes]:
        came, self.came = self.came, []
        return [body for _, body in came]


class ScheduleBench:
    """``window``: messages the schedule holds in memory. ``keeper``: its keeper, a Notebook unless told.

    ``last_batch``: of the store when it was opened.
    """

    def __init__(
        self,
        store: Store | None = None,
        window: int = 8,
        durable: bool = True,
        keeper: Callable[[Broker], Keeper] = Notebook,
        now: int = START_MS,
        counts_overdue: bool = False,
    ) -> None:
        self.store: Store = store if store is not None else MemoryStore()
        opened = self.store.open("main", "test")
        self.reader = self.store.reader()
        self.last_batch = opened.last_batch
        registry = Registry()
        builtin.register(registry)
        registry.queue_type(KIND, Schedule, internal=True)
        self.broker = Broker(registry, opened.next_message_id, opened.last_batch)
        self.broker.now = now
        self.broker.restore(self.reader.summary(), opened.clean)
        self.journal, self.shard = self.broker.journal, self.broker.shard
        if "/" not in self.broker.vhosts:
            self.broker.create_vhost("/")
        self.vhost = self.broker.vhosts["/"]
        made = self.vhost.internal_queue(KIND, "s", durable)
        assert isinstance(made, Schedule)
        self.schedule = made
        self.schedule.window_messages_max = window
        self.keeper = keeper(self.broker)
        self.schedule.attach(self.keeper, counts_overdue)

    @property
    def now(self) -> int:
        return self.broker.now

    @property
    def notebook(self) -> Notebook:
        assert isinstance(self.keeper, Notebook)
        return self.keeper

    def put(self, delay: int, body: bytes = b"m", name: str = "") -> int:
        """Returns the position."""
        made = named(body, name)
        assert self.schedule.put(made, self.now + delay)
        return int(made.id)

    def entry(self, position: int) -> Entry:
        """One that is in memory."""
        entry = self.schedule.holding(None, position)
        assert entry is not None
        return entry

    # Turns and time

    def turn(self) -> None:
        self.broker.run_turn()
        while self.broker.busy():
            self.broker.run_turn()
        assert self.broker.reports == []

    def advance(self, milliseconds: int, after: Callable[[], None] = lambda: None) -> None:
        """Every deadline on the way is its own input, at its own time; ``after`` follows each."""
        end = self.now + milliseconds
        while (deadline := self.broker.next_deadline()) and deadline <= end:
            self.broker.now = max(self.now, deadline)
            self.broker.tick(self.now)
            self.turn()
            after()
        self.broker.now = end
        self.turn()

    # The store

    def write(self, batch: Batch) -> None:
        self.store.commit(batch)
        self.broker.batch_committed()
        self.turn()

    def commit(self) -> None:
        while (batch := self.broker.take_batch()) is not None:
            self.write(batch)

    def read(self) -> list[tuple[PageRequest, list[StoredEntry]]]:
        """What was asked for is read, and not told yet."""
        return [(request, request.read(self.reader)) for request in self.broker.take_page_requests()]

    def tell(self, pages: list[tuple[PageRequest, list[StoredEntry]]]) -> None:
        for request, page in pages:
            self.broker.page_loaded(request, page)
            self.turn()

    def settle(self) -> None:
        """Commit and read until there is nothing left to do."""
        self.turn()
        self.commit()
        while pages := self.read():
            self.tell(pages)
            self.commit()

    def stored(self) -> list[StoredEntry]:
        """All that is on disk of the schedule, by position."""
        return self.reader.load(int(self.schedule.lane.id), 0, *EVERYTHING)

    def reopened(self, clean: bool, counts_overdue: bool = False) -> ScheduleBench:
        """The broker after a restart over memory; a clean one wrote what was open."""
        assert isinstance(self.store, MemoryStore)
        if clean:
            self.broker.finish()
            self.commit()
        self.store.close(release=clean)
        return ScheduleBench(
            MemoryStore(self.disk),
            int(self.schedule.window_messages_max),
            self.schedule.durable,
            type(self.keeper),
            self.now,
            counts_overdue,
        )

    @property
    def disk(self) -> MemoryDisk:
        assert isinstance(self.store, MemoryStore)
        return self.store.disk
