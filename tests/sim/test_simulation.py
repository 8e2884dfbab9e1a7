"""The whole broker against its promises.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds; what it finds becomes a test in
``test_regressions.py``.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.sim.machine import BrokerMachine
from tests.sim.over_files import OverFiles

LONG = os.environ.get("AMQPD_SIMULATION") == "long"
pytestmark = pytest.mark.timeout(7200 if LONG else 600)


def profile(examples_ci: int, examples_long: int) -> settings:
    return settings(
        max_examples=examples_long if LONG else examples_ci,
        stateful_step_count=100 if LONG else 60,
        deadline=None,
        # A run that takes long for its size is what is wanted here.
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class SqliteMachine(OverFiles, BrokerMachine):
    """The same over files."""


TestBroker = BrokerMachine.TestCase
TestBroker.settings = profile(250, 10000)

TestBrokerOverFiles = SqliteMachine.TestCase
TestBrokerOverFiles.settings = profile(20, 500)
