"""What an operator sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amqpd.broker.broker import Broker
from amqpd_message_deduplication.exchange import Deduplication


class Commands:
    def __init__(self, shared: Deduplication) -> None:
        self.shared = shared

    def listing(self, broker: Broker, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A row for each exchange and queue that deduplicates.

        Its vhost, name and kind, ``size``: keys it remembers, ``duplicates``: what it has dropped since the start.

        ``vhost``: only there; absent or null for all.
        """
        rows = [
            {
                "vhost": exchange.vhost,
                "name": exchange.name,
                "kind": "exchange",
                "size": exchange.window.index.count,
                "duplicates": exchange.duplicates,
            }
            for exchange in self.shared.exchanges
        ]
        rows += [
            {
                "vhost": queue.vhost,
                "name": queue.name,
                "kind": "queue",
                "size": window.index.count,
                "duplicates": window.duplicates,
            }
            for queue, window in self.shared.queues.items()
        ]
        wanted = arguments.get("vhost")
        rows = [row for row in rows if wanted is None or row["vhost"] == wanted]
        return sorted(rows, key=lambda row: (row["vhost"], row["kind"], row["name"]))
