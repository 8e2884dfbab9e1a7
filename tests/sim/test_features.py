"""Queues that expire, limit, order, retry and dead-letter to each other, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from amqpd.store.contract import Store
from amqpd.store.sqlite import SqliteStore
from tests.sim.contents import stored_bodies
from tests.sim.feature_machine import FeatureMachine
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 120)


class SqliteFeatureMachine(FeatureMachine):
    """The same over files."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="amqpd-simulation-"))
        super().__init__()

    def inner_store(self) -> Store:
        return SqliteStore(self.directory / "amqpd.db")

    def stored(self) -> list[bytes]:
        return stored_bodies(self.store.reader())

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.store.close(release=False)
            shutil.rmtree(self.directory, ignore_errors=True)


TestFeatures = FeatureMachine.TestCase
TestFeatures.settings = profile(300, 10000)

TestFeaturesOverFiles = SqliteFeatureMachine.TestCase
TestFeaturesOverFiles.settings = profile(20, 500)
