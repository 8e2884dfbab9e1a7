"""The exchange seam: bindings, and the type that says where a message goes. Hot."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from mypy_extensions import mypyc_attr

from amqpd.broker.queue import Destination, Queue
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table, encode_table

if TYPE_CHECKING:
    from amqpd.broker.router import Route
    from amqpd.broker.vhost import VHost

BindingKey = tuple[str, str, str, bytes]


@final
class Binding:
    """``arguments`` belong to its identity (spec 1.7.2.3): the same ends with other arguments are another binding."""

    def __init__(self, source: Exchange, destination: Destination, routing_key: str, arguments: Table) -> None:
        self.source: Exchange = source
        self.destination: Destination = destination
        self.routing_key: str = routing_key
        self.arguments: Table = arguments
        self.arguments_wire: bytes = encode_table(arguments)

    @property
    def destination_type(self) -> str:
        return "queue" if isinstance(self.destination, Queue) else "exchange"

    @property
    def durable(self) -> bool:
        """A binding survives a restart iff both its ends do."""
        return self.source.durable and self.destination.durable

    @property
    def key(self) -> BindingKey:
        return (self.destination_type, self.destination.name, self.routing_key, self.arguments_wire)


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange(Destination):
    """One exchange; a subclass is an exchange type and keeps the index it routes by.

    ``key_only``: where a message goes depends on nothing but its routing key and the bindings, so that a
    channel may remember the answer until a binding changes.
    ``alternate``: name of its alternate exchange, None for none. ``policy``: name of the one applied, empty for none.
    """

    def __init__(
        self,
        vhost: str,
        name: str,
        kind: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
    ) -> None:
        super().__init__(vhost, name, durable)
        self.kind: str = kind
        self.auto_delete: bool = auto_delete
        self.internal: bool = internal
        self.arguments: Table = arguments
        self.key_only: bool = True
        self.alternate: str | None = None
        self.policy: str = ""
        self.bindings: dict[BindingKey, Binding] = {}

    def declared(self, vhost: VHost) -> None:
        """It is in ``vhost`` from now on. After a restart this is called when everything else was restored."""

    def deleted(self, vhost: VHost) -> None:
        """It is gone from ``vhost``, its bindings too."""

    def bound(self, vhost: VHost, binding: Binding) -> None:
        """A client made a new binding; not called for those a restart restores."""

    def validate_binding(self, routing_key: str, arguments: Table) -> None:
        """Raises PreconditionFailed (406, closes the channel) on arguments this type cannot bind with."""

    def add(self, binding: Binding) -> bool:
        """Take a binding; False when it is there already."""
        key = binding.key
        if key in self.bindings:
            return False
        self.bindings[key] = binding
        self.binding_added(binding)
        return True

    def remove(self, key: BindingKey) -> Binding | None:
        """Drop a binding; None when there is none."""
        binding = self.bindings.pop(key, None)
        if binding is not None:
            self.binding_removed(binding)
        return binding

    def binding_added(self, binding: Binding) -> None:
        """Put it in the type's index."""
        raise NotImplementedError

    def binding_removed(self, binding: Binding) -> None:
        """Take it out of the type's index."""
        raise NotImplementedError

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        """Append the destinations of a message for one of its keys; the same one may be appended twice.

        Also called to probe, with an empty header, and for a message that is never published (a transaction that is
        rolled back). What must happen with the message itself is up to the queues found: their ``publish``.
        """
        raise NotImplementedError

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        """Append the destinations for all keys of a message: its routing key, then CC and BCC.

        For types that look at all of them, at ``route.mandatory`` or ``route.publisher``; ``header`` still has BCC.
        """
        for key in keys:
            self.route(key, header, found)
