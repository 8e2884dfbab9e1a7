"""What the tests of exchanges and of queues share."""

from __future__ import annotations

from typing import Any

from amqpd.store.memory import MemoryStore
from amqpd_message_deduplication import register
from tests.support.linked import START_MS, Linked, LinkedClient

KIND = "x-message-deduplication"
DISK = {"x-cache-size": 100, "x-cache-persistence": "disk"}


def started(store: MemoryStore | None = None, now: int = START_MS) -> tuple[Linked, LinkedClient]:
    linked = Linked(store or MemoryStore(), now, plugins=[register])
    return linked, linked.client()


def again(
    linked: Linked, crash: bool = False, later: int = 0, plugins: Any = (register,)
) -> tuple[Linked, LinkedClient]:
    """A restart; ``later`` milliseconds after the end."""
    assert isinstance(linked.store, MemoryStore)
    if crash:
        linked.crash()
    else:
        linked.stop()
    linked = Linked(MemoryStore(linked.store.disk), linked.broker.now + later, plugins=plugins)
    return linked, linked.client()


def send(client: LinkedClient, exchange: str, key: object, body: bytes = b"m", **more: Any) -> None:
    """A persistent message whose header value is ``key``."""
    headers = {"x-deduplication-header": key, **more.pop("headers", {})}
    mandatory = more.pop("mandatory", False)
    properties = {"delivery_mode": 2, "headers": headers, **more}
    client.publish(exchange, "q", body, properties, mandatory=mandatory)


def listed(linked: Linked, **arguments: Any) -> Any:
    return linked.broker.registry.commands["deduplication list"].run(linked.broker, arguments)


def counts(linked: Linked, kind: str) -> tuple[int, int]:
    """Size and duplicates of the only exchange or queue."""
    (row,) = [row for row in listed(linked) if row["kind"] == kind]
    return row["size"], row["duplicates"]
