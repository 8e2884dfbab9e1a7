"""Where a message goes: exchange after exchange, each visited once, each queue at most once. Hot.

1. Bindings between exchanges may form cycles; the set of visited exchanges ends them.
2. An exchange at which no binding matched may be relieved by a route extension (the alternate exchange).
3. Extra keys (CC and BCC) are routed at every exchange beside the routing key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from mypy_extensions import mypyc_attr

from amqpd.broker.exchange import Exchange
from amqpd.broker.message import Address
from amqpd.broker.queue import ChannelPort, Destination, Queue
from amqpd.broker.vhost import VHost
from amqpd.wire.content import ContentHeader

DEFAULT_EXCHANGE: Final = ""


@mypyc_attr(allow_interpreted_subclasses=True)
class RouteExtension:
    """A seam of the router."""

    def extra_keys(self, header: ContentHeader) -> list[str]:
        """Further routing keys a message's headers ask for; asked only when it has a header table.

        Raises PreconditionFailed (406, closes the channel) on a header of the wrong type.
        """
        return []

    def stripped(self, header: ContentHeader) -> ContentHeader:
        """The header as consumers may see it."""
        return header

    def unrouted(self, vhost: VHost, exchange: Exchange) -> Exchange | None:
        """Another exchange to try when no binding of ``exchange`` matched."""
        return None


def leads_nowhere(found: Sequence[Destination]) -> bool:
    """Whether a message that goes there is unroutable."""
    for destination in found:  # noqa: SIM110  # compiled, a loop is less than a generator
        if not destination.aside:
            return False
    return True


@final
class Route:
    """The answer for one publish address.

    ``publisher``: the channel it is published on; None for what the broker publishes itself.
    ``cacheable``: every exchange on the way routes by key only.
    ``together``: an exchange on the way wants the queues to hear of each other (``Queue.routed_with``).
    """

    def __init__(
        self, address: Address, exchange: Exchange, mandatory: bool, publisher: ChannelPort | None = None
    ) -> None:
        self.address: Address = address
        self.exchange: Exchange = exchange
        self.mandatory: bool = mandatory
        self.publisher: ChannelPort | None = publisher
        self.queues: list[Queue] = []
        self.cacheable: bool = True
        self.together: bool = False


@final
class Router:
    def __init__(self) -> None:
        self.extensions: list[RouteExtension] = []

    def extra_keys(self, header: ContentHeader) -> list[str]:
        keys: list[str] = []
        for extension in self.extensions:
            keys.extend(extension.extra_keys(header))
        return keys

    def stripped(self, header: ContentHeader) -> ContentHeader:
        for extension in self.extensions:
            header = extension.stripped(header)
        return header

    def route(self, vhost: VHost, route: Route, keys: list[str], header: ContentHeader) -> list[Queue]:
        """The queues a message published to ``route.exchange`` with ``keys`` goes to, in the order found.

        Clears ``route.cacheable`` when the answer depends on more than the keys.
        """
        queues: dict[Queue, bool] = {}
        visited: dict[Exchange, bool] = {route.exchange: True}
        pending: list[Exchange] = [route.exchange]
        while pending:
            exchange = pending.pop()
            if not exchange.key_only:
                route.cacheable = False
            found: list[Destination] = []
            if exchange.name == DEFAULT_EXCHANGE:
                for key in keys:
                    queue = vhost.routable(key)
                    if queue is not None:
                        found.append(queue)
            else:
                exchange.route_all(route, keys, header, found)
            if not found or leads_nowhere(found):
                relief = self._unrouted(vhost, exchange)
                if relief is not None and relief not in visited:
                    visited[relief] = True
                    pending.append(relief)
            for destination in found:
                if isinstance(destination, Queue):
                    queues[destination] = True
                elif isinstance(destination, Exchange) and destination not in visited:
                    visited[destination] = True
                    pending.append(destination)
        if route.together:
            for queue in queues:
                queue.routed_with(queues)
        return list(queues)

    def _unrouted(self, vhost: VHost, exchange: Exchange) -> Exchange | None:
        for extension in self.extensions:
            other = extension.unrouted(vhost, exchange)
            if other is not None:
                return other
        return None
