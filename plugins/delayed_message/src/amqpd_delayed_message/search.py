"""Finding messages that wait: by id, message-id, header, key and time, page by page.

1. Messages are in order of due time and id, over all exchanges asked about; an id is unique in the broker.
2. What is on disk is read beside the turns, a bounded number of messages at once. What is in memory is right whatever
   was read: ``Schedule.holding`` tells what became of each since.
3. So a page covers all that waits in between ``start`` and a point that it tells, though it may be short, or empty: the
   next one goes on behind that point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from amqpd.broker.batch import StoredEntry
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.message import Entry
from amqpd.broker.shard import PageSource
from amqpd.queues.schedule import END_OF_TIME, NAMED_MAX
from amqpd.spec.arguments import described
from amqpd.wire.content import ContentHeader, header_from_properties, message_id
from amqpd_delayed_message.exchange import DelayedExchange
from amqpd_delayed_message.keeper import is_request

# Due time and id.
Place = tuple[int, int]
START: Final[Place] = (0, 0)
END: Final[Place] = (END_OF_TIME, END_OF_TIME)

# What one page reads from disk at most, for each exchange, and at once.
SCAN_MESSAGES_MAX: Final = 20_000
READ_MESSAGES: Final = 1_000
READ_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Wanted:
    """``ids``: empty for any. ``headers``: values as text. Due at ``due_from`` or later, and before ``due_before``."""

    ids: Sequence[int] = ()
    message_id: str | None = None
    routing_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    due_from: int = 0
    due_before: int = END_OF_TIME

    @property
    def everything(self) -> bool:
        return self == Wanted()

    def takes(self, place: Place, routing_key: str, header: ContentHeader) -> bool:
        due, identity = place
        return (
            self.due_from <= due < self.due_before
            and (not self.ids or identity in self.ids)
            and (self.routing_key is None or self.routing_key == routing_key)
            and (self.message_id is None or self.message_id == message_id(header))
            and (not self.headers or self._has_headers(header))
            and not is_request(header)
        )

    def _has_headers(self, header: ContentHeader) -> bool:
        octets = header.headers
        if octets is None or not all(name.encode() in octets for name in self.headers):
            return False
        table = header.table()
        return all(name in table and described(table[name].value) == value for name, value in self.headers.items())


@dataclass(frozen=True)
class Found:
    exchange: DelayedExchange
    entry: Entry

    @property
    def place(self) -> Place:
        return int(self.entry.deadline), int(self.entry.position)


class Search(Inquiry):
    """One page: at most ``limit`` messages behind ``start``.

    ``then`` is given them, and the place behind which the next page begins; None when this was the last one.
    """

    def __init__(
        self,
        exchanges: Sequence[DelayedExchange],
        wanted: Wanted,
        start: Place,
        limit: int,
        then: Callable[[list[Found], Place | None], object],
    ) -> None:
        self.wanted = wanted
        self.start = max(start, (wanted.due_from, 0))
        self.limit = limit
        self.then = then
        self.readings = [Reading(exchange, wanted) for exchange in exchanges]

    def read(self, source: PageSource) -> None:
        for reading in self.readings:
            reading.read(source, self.start, self.limit)

    def answer(self) -> object:
        covered = min([reading.covered for reading in self.readings], default=END)
        found = [one for reading in self.readings for one in reading.found() if self.start < one.place <= covered]
        found.sort(key=lambda one: one.place)
        if len(found) > self.limit:
            found = found[: self.limit]
            covered = found[-1].place
        return self.then(found, None if covered == END else covered)

    def end(self) -> None:
        for reading in self.readings:
            reading.end()


class Reading:
    """Of one exchange. ``covered``: the place up to which everything on disk was looked at."""

    def __init__(self, exchange: DelayedExchange, wanted: Wanted) -> None:
        self.exchange = exchange
        self.schedule = exchange.schedule
        self.wanted = wanted
        self.lane = int(exchange.schedule.lane.id)
        self.generation = int(exchange.schedule.generation)
        self.number = exchange.schedule.begin_read()
        self.stored: dict[int, StoredEntry] = {}
        self.covered = END

    def end(self) -> None:
        self.schedule.end_read(self.number)

    def read(self, source: PageSource, start: Place, limit: int) -> None:
        if self.wanted.ids:
            for identity in self.wanted.ids:
                self._keep(source.load(self.lane, identity - 1, 1, END_OF_TIME))
        elif self.wanted.message_id is None:
            self._scan(source, start, limit)
        else:
            named = source.named(self.lane, self.wanted.message_id, NAMED_MAX)
            if len(named) < NAMED_MAX:
                self._keep(named)
            else:
                self._scan(source, start, limit)

    def _scan(self, source: PageSource, at: Place, limit: int) -> None:
        read = 0
        while len(self.stored) < limit and read < SCAN_MESSAGES_MAX and at[0] < self.wanted.due_before:
            page = source.upcoming(self.lane, at, READ_MESSAGES, READ_BYTES)
            if not page:
                return
            at = (page[-1].deadline, page[-1].position)
            read += len(page)
            self._keep(page)
        self.covered = at if at[0] < self.wanted.due_before else END

    def _keep(self, page: list[StoredEntry]) -> None:
        for stored in page:
            header = header_from_properties(stored.properties, len(stored.body))
            if self.wanted.takes((stored.deadline, stored.position), stored.routing_key, header):
                self.stored[stored.position] = stored

    def found(self) -> list[Found]:
        """What waits now, of what was read and what is in memory."""
        schedule = self.schedule
        if schedule.deleted:
            return []
        entries = {position: schedule.holding(stored, position) for position, stored in self._valid().items()}
        for entry in [*schedule.window.values(), *[entry for _, entry in schedule.unwritten.values()]]:
            entries[int(entry.position)] = entry
        return [Found(self.exchange, entry) for entry in entries.values() if entry is not None and self._takes(entry)]

    def _valid(self) -> dict[int, StoredEntry]:
        """After a purge nothing of what was read is there any more."""
        return self.stored if self.schedule.generation == self.generation else {}

    def _takes(self, entry: Entry) -> bool:
        message = entry.message
        place = int(entry.deadline), int(entry.position)
        return self.wanted.takes(place, message.address.routing_key, message.header)
