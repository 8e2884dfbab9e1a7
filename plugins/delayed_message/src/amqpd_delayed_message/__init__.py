"""Delayed messages: the exchange type ``x-delayed-message``.

What is published with an ``x-delay`` header waits in an internal queue of the exchange, a ``Schedule``, and is routed
when its time has come. See README.md.
"""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd_delayed_message import commands
from amqpd_delayed_message.exchange import KIND, Delays


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    delays = Delays(registry)
    registry.exchange_type(KIND, delays.exchange)
    registry.queue_type(KIND, delays.schedule, internal=True)
    registry.started(delays.started)
    commands.register(registry, delays)
