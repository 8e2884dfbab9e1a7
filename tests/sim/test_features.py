"""Queues that expire, limit, order, retry and dead-letter to each other, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import pytest

from tests.sim.contents import stored_bodies
from tests.sim.feature_machine import FeatureMachine
from tests.sim.over_files import OverFiles
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 600)


class SqliteFeatureMachine(OverFiles, FeatureMachine):
    """The same over files."""

    def stored(self) -> list[bytes]:
        return stored_bodies(self.store.reader())


TestFeatures = FeatureMachine.TestCase
TestFeatures.settings = profile(300, 10000)

TestFeaturesOverFiles = SqliteFeatureMachine.TestCase
TestFeaturesOverFiles.settings = profile(20, 500)
