"""The whole broker against its promises.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds; what it finds becomes a test in
``test_regressions.py``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from amqpd.store.contract import Store
from amqpd.store.sqlite import SqliteStore
from tests.sim.machine import BrokerMachine

LONG = os.environ.get("AMQPD_SIMULATION") == "long"
pytestmark = pytest.mark.timeout(7200 if LONG else 120)


def profile(examples_ci: int, examples_long: int) -> settings:
    return settings(
        max_examples=examples_long if LONG else examples_ci,
        stateful_step_count=100 if LONG else 60,
        deadline=None,
        # A run that takes long for its size is what is wanted here.
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class SqliteMachine(BrokerMachine):
    """The same over files."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="amqpd-simulation-"))
        super().__init__()

    def inner_store(self) -> Store:
        return SqliteStore(self.directory / "amqpd.db")

    def look_for_orphans(self) -> None:
        """The files delete what was purged when there is time; tests/store looks into them."""
        while self.store.tidy():
            pass

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.store.close(release=False)
            shutil.rmtree(self.directory, ignore_errors=True)


pytestmark = pytest.mark.timeout(7200 if LONG else 120)

TestBroker = BrokerMachine.TestCase
TestBroker.settings = profile(250, 10000)

TestBrokerOverFiles = SqliteMachine.TestCase
TestBrokerOverFiles.settings = profile(20, 500)
