"""The exchange type x-consistent-hash: every message to one queue, those of one key always to the same."""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd_consistent_hash.exchange import KIND, ConsistentHashExchange

__all__ = ["KIND", "ConsistentHashExchange", "register"]


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    registry.exchange_type(KIND, ConsistentHashExchange)
