"""Messages that came before are dropped: by an exchange that remembers them, or by the queue they are still in.

See amqpd_message_deduplication/exchange.py and queue.py for the two, and README.md.
"""

from __future__ import annotations

from amqpd.broker.queue import Queue
from amqpd.broker.registry import Registry
from amqpd_message_deduplication import queue as queues
from amqpd_message_deduplication.commands import Commands
from amqpd_message_deduplication.exchange import KIND, Deduplication, Notes


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    shared = Deduplication()

    def attach(queue: Queue) -> None:
        queues.attach(shared, queue)

    registry.exchange_type(KIND, shared.exchange)
    registry.queue_type(KIND, Notes, internal=True)
    registry.queue_feature(attach)
    registry.started(shared.started)
    registry.command("deduplication list", Commands(shared).listing)
