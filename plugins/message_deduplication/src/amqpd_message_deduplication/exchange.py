"""The exchange type x-message-deduplication: a fanout that passes each value of x-deduplication-header on once.

1. Whether a message is a duplicate is asked when it is published for good, at the commit of a transaction: so it is not
   the route that decides but a ``Gate``, a queue that is found instead of those behind it.
2. A gate adds the key and hands the message on in one open batch: a crash leaves both or neither.
3. A duplicate is dropped, counted, and confirmed: not before the message that it repeats is on disk.
4. A message that no binding takes is unroutable, and not remembered. Nor is one that a queue refused (basic.nack): the
   publisher may send it again. Queues that took it get it twice then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker.broker import Broker
from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.message import Message
from amqpd.broker.queue import Consumer, Destination, Queue
from amqpd.broker.router import Route, leads_nowhere
from amqpd.broker.shard import PageSource
from amqpd.broker.vhost import VHost
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table
from amqpd_message_deduplication.keys import integer, key_of, own_ttl
from amqpd_message_deduplication.window import Window

if TYPE_CHECKING:
    from amqpd_message_deduplication.queue import QueueWindow

KIND: Final = "x-message-deduplication"
SIZE: Final = "x-cache-size"
TTL: Final = "x-cache-ttl"
PERSISTENCE: Final = "x-cache-persistence"


class Deduplication:
    """What the exchanges and queues of a broker share. ``queues``: those with the queue argument."""

    def __init__(self) -> None:
        self.exchanges: list[DeduplicationExchange] = []
        self.queues: dict[Queue, QueueWindow] = {}
        self._broker: Broker | None = None
        self._message: Message | None = None
        self._given: dict[Queue, bool] = {}

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    def started(self, broker: Broker, source: PageSource) -> None:
        self._broker = broker
        for exchange in self.exchanges:
            if exchange.window.space:
                exchange.window.read_back(source)
        for queue in self.queues.values():
            queue.read_back(source)

    def exchange(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> Exchange:
        return DeduplicationExchange(self, vhost, name, durable, auto_delete, internal, arguments)

    def given(self, message: Message) -> dict[Queue, bool]:
        """The queues that gates have handed ``message`` to: ways through several of them may end at one queue."""
        if self._message is not message:
            self._message = message
            self._given = {}
        return self._given


class DeduplicationExchange(Exchange):
    """``duplicates``: dropped since the start."""

    window: Window

    def __init__(
        self,
        shared: Deduplication,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
    ) -> None:
        """Raises PreconditionFailed (406, closes the channel) on arguments that are missing or wrong."""
        super().__init__(vhost, name, KIND, durable, auto_delete, internal, arguments)
        self.key_only = False
        self.shared = shared
        self.duplicates = 0
        self.size, self.ttl, self.stored = _options(arguments)
        self.destinations: list[Destination] = []
        self._searching = False  # what is behind this exchange is being searched (``_behind``)

    def declared(self, vhost: VHost) -> None:
        self._vhost = vhost
        space = 0
        if self.durable and self.stored:
            space = int(vhost.internal_queue(KIND, self.name, True).id)
        self.window = Window(vhost.shard, self.size, self.ttl, space)
        self.shared.exchanges.append(self)

    def deleted(self, vhost: VHost) -> None:
        self.shared.exchanges.remove(self)
        self.window.close()
        if self.window.space:
            # Gates of open transactions may still come.
            self.window.space = 0
            vhost.drop_internal_queue(vhost.internal_queue(KIND, self.name, True))

    def binding_added(self, binding: Binding) -> None:
        self._list_destinations()

    def binding_removed(self, binding: Binding) -> None:
        self._list_destinations()

    def _list_destinations(self) -> None:
        self.destinations = list({binding.destination: True for binding in self.bindings.values()})

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        found.extend(self.destinations)

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        key = key_of(header)
        if key is None or self._searching:
            found.extend(self.destinations)
        elif self.destinations:
            queues = self._behind(route, keys, header)
            if queues:
                found.append(Gate(self, key, own_ttl(header), queues))
                route.together = True

    def _behind(self, route: Route, keys: list[str], header: ContentHeader) -> list[Queue]:
        """The queues that the message would reach from here.

        A way may lead to another exchange of this type and from there back: queues are handed it once all the same.
        """
        self._searching = True
        try:
            onward = Route(route.address, self, route.mandatory, route.publisher)
            return self.shared.broker.router.route(self._vhost, onward, keys, header)
        finally:
            self._searching = False


class NotConsumed(Queue):
    """A queue that no client sees: there is nothing in it."""

    def pump(self) -> None:
        """Nobody consumes it."""

    def consumers(self) -> list[Consumer]:
        return []

    def message_count(self) -> int:
        return 0

    def unacked_count(self) -> int:
        return 0

    def dispose(self) -> None:
        self.deleted = True


class Notes(NotConsumed):
    """Its id is the space in which a durable window is noted."""


class Gate(NotConsumed):
    """One message's way through the exchange. ``queues``: where it leads."""

    def __init__(self, exchange: DeduplicationExchange, key: bytes, ttl: int | None, queues: list[Queue]) -> None:
        # Without a name: queues are known by theirs where circles of dead letters are looked for.
        super().__init__(exchange.window.shard, exchange.vhost, "", False, False, None, {})
        self.exchange = exchange
        self.key = key
        self.ttl = ttl
        self.queues = queues
        self.aside = leads_nowhere(queues)

    def routed_with(self, queues: dict[Queue, bool]) -> None:
        """What gets the message by another way gets it once."""
        self.queues = [queue for queue in self.queues if queue not in queues]

    def publish(self, message: Message) -> bool:
        exchange = self.exchange
        window = exchange.window
        journal = window.journal
        if window.seen(self.key):
            exchange.duplicates += 1
            if window.batch > journal.committed:
                message.holders += 1  # rule 3: its confirm waits for the open batch, which comes after that one
            return True
        given = exchange.shared.given(message)
        accepted = True
        for queue in self.queues:
            if not queue.deleted and queue not in given:
                given[queue] = True
                accepted = queue.publish(message) and accepted
        if accepted:
            window.add(self.key, self.ttl)
            if message.holders:
                window.batch = int(journal.number)
        return accepted


def _options(arguments: Table) -> tuple[int, int | None, bool]:
    """Size, time to live, and whether it is stored. The original's words, with its spaces left out."""
    size = arguments.get(SIZE)
    number = None if size is None else integer(size)
    if number is None or number <= 0:
        raise PreconditionFailed(f"Missing or invalid argument, '{SIZE}' must be an integer greater than 0")
    ttl = arguments.get(TTL)
    milliseconds = None if ttl is None else integer(ttl)
    if ttl is not None and (milliseconds is None or milliseconds <= 0):
        raise PreconditionFailed(f"Invalid argument, '{TTL}' must be an integer greater than 0")
    persistence = arguments.get(PERSISTENCE)
    if persistence is not None and (persistence.kind != "S" or persistence.value not in (b"disk", b"memory")):
        raise PreconditionFailed(f"Invalid argument, '{PERSISTENCE}' must be either 'disk' or 'memory'")
    return number, milliseconds, persistence is not None and persistence.value == b"disk"
