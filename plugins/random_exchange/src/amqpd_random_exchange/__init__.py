"""The exchange types x-random and x-local-random: each message to one destination chosen at random."""

from __future__ import annotations

from amqpd.broker.registry import Registry
from amqpd_random_exchange.exchange import LOCAL_RANDOM, RANDOM, LocalRandomExchange, RandomExchange

__all__ = ["LOCAL_RANDOM", "RANDOM", "LocalRandomExchange", "RandomExchange", "register"]


def register(registry: Registry) -> None:
    """The plugin's entry point."""
    registry.exchange_type(RANDOM, RandomExchange)
    registry.exchange_type(LOCAL_RANDOM, LocalRandomExchange)
