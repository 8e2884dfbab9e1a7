"""x-modulus-hash: of the N bindings, in order of their destinations' names, the one that the hash of the keys names.

Binding keys say nothing, but as in RabbitMQ each binding counts: a queue that is bound three times gets three shares.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from amqpd.broker.exchange import Binding, Exchange
from amqpd.broker.queue import Destination
from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.broker.router import Route

KIND: Final = "x-modulus-hash"


class ModulusHashExchange(Exchange):
    def __init__(
        self, vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> None:
        super().__init__(vhost, name, KIND, durable, auto_delete, internal, arguments)
        self._sorted: list[Binding] = []

    def binding_added(self, binding: Binding) -> None:
        insort(self._sorted, binding, key=_order)

    def binding_removed(self, binding: Binding) -> None:
        del self._sorted[bisect_left(self._sorted, _order(binding), key=_order)]

    def route(self, routing_key: str, header: ContentHeader, found: list[Destination]) -> None:
        self._choose([routing_key], found)

    def route_all(self, route: Route, keys: list[str], header: ContentHeader, found: list[Destination]) -> None:
        """One destination for all keys together: CC and BCC change which, and make no copies."""
        self._choose(keys, found)

    def _choose(self, keys: list[str], found: list[Destination]) -> None:
        if self._sorted:
            found.append(self._sorted[place(keys, len(self._sorted))].destination)


def _order(binding: Binding) -> tuple[str, str, str, bytes]:
    """By destination, exchanges before queues; no two bindings have the same."""
    return binding.key


def place(keys: list[str], count: int) -> int:
    """Which of ``count`` places (from 0) these keys belong to; the same in every process and on every machine."""
    octets = [key.encode("utf-8", "surrogateescape") for key in keys]
    # Each with its length before it, so that ["ab"] is not ["a", "b"].
    framed = b"".join([len(key).to_bytes(4) + key for key in octets])
    return int.from_bytes(blake2b(framed, digest_size=8).digest()) % count
