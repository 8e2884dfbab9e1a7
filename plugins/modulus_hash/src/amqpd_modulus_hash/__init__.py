"""The exchange type x-modulus-hash: the hash of a message's routing keys, modulo the number of bindings."""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd_modulus_hash.exchange import KIND, ModulusHashExchange, place

__all__ = ["KIND", "ModulusHashExchange", "place", "register"]


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    registry.exchange_type(KIND, ModulusHashExchange)
