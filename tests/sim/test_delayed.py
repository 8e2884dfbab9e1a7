"""Delayed exchanges with clients, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from amqpd.store.contract import Store
from amqpd.store.sqlite import SqliteStore
from tests.sim.delayed_machine import DelayedMachine
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 120)


class SqliteDelayedMachine(DelayedMachine):
    """The same over files."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="amqpd-simulation-"))
        super().__init__()

    def inner_store(self) -> Store:
        return SqliteStore(self.directory / "amqpd.db")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.store.close(release=False)
            shutil.rmtree(self.directory, ignore_errors=True)


TestDelayed = DelayedMachine.TestCase
TestDelayed.settings = profile(100, 5000)

TestDelayedOverFiles = SqliteDelayedMachine.TestCase
TestDelayedOverFiles.settings = profile(10, 300)
