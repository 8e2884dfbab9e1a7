"""Delayed exchanges with clients, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import pytest

from tests.sim.delayed_machine import DelayedMachine
from tests.sim.over_files import OverFiles
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 600)


class SqliteDelayedMachine(OverFiles, DelayedMachine):
    """The same over files."""


TestDelayed = DelayedMachine.TestCase
TestDelayed.settings = profile(100, 5000)

TestDelayedOverFiles = SqliteDelayedMachine.TestCase
TestDelayedOverFiles.settings = profile(10, 300)
