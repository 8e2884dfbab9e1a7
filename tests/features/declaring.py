"""Queues made past the protocol's checks, and what a client gets of them."""

from __future__ import annotations

from amqpd.queues.classic import ClassicQueue
from amqpd.wire.table import Field, Table
from tests.support.linked import Linked, LinkedClient, Received


def declare(linked: Linked, kind: str = "classic", name: str = "q", /, **arguments: int | bool | str) -> ClassicQueue:
    """A durable queue of this type; ``arguments`` without their ``x-`` and with ``_`` for ``-``."""
    table: Table = {"x-queue-type": Field("S", kind.encode())}
    for key, value in arguments.items():
        table["x-" + key.replace("_", "-")] = _field(value)
    queue = linked.broker.vhosts["/"].declare_queue(name, kind, True, False, None, table)
    assert isinstance(queue, ClassicQueue)
    return queue


def _field(value: int | bool | str) -> Field:
    if isinstance(value, bool):
        return Field("t", value)
    return Field("l", value) if isinstance(value, int) else Field("S", value.encode())


def counts(message: Received) -> tuple[int | None, int | None]:
    """x-delivery-count and x-acquired-count of a delivery; None where there is none."""
    headers = message.properties.get("headers", {})
    return headers.get("x-delivery-count"), headers.get("x-acquired-count")


def get(client: LinkedClient, queue: str = "q", **flags: bool) -> Received | None:
    """basic.get; None where the queue is empty."""
    client.send("basic.get", queue=queue, **flags)
    client.linked.settle()
    (came,) = client.received()
    return came if came.name == "basic.get-ok" else None
