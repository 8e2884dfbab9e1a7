"""The whole broker against its promises. ``AMQPD_SIMULATION=long`` runs for minutes instead of seconds."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.sim.machine import BrokerMachine

LONG = os.environ.get("AMQPD_SIMULATION") == "long"
PROFILE = settings(
    max_examples=3000 if LONG else int(os.environ.get("N", "120")),
    stateful_step_count=120 if LONG else 50,
    deadline=None,
    report_multiple_bugs=False,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)

TestBroker = BrokerMachine.TestCase
TestBroker.settings = PROFILE
