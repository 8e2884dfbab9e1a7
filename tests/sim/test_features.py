"""Queues that expire, limit, order, retry and dead-letter to each other, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import pytest

from tests.sim.feature_machine import FeatureMachine
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 120)

TestFeatures = FeatureMachine.TestCase
TestFeatures.settings = profile(150, 10000)
