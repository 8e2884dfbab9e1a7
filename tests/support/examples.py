"""How Hypothesis runs its examples here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def may_take_any_time() -> None:
    """What an example finds counts, not how fast it was: the machine may be slow, or have other things to do."""
    settings.register_profile("amqpd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("amqpd")
