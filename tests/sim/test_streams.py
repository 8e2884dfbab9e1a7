"""Streams with clients, over a store that fails.

``AMQPD_SIMULATION=long`` runs for many minutes instead of seconds.
"""

from __future__ import annotations

import pytest

from tests.sim.over_files import OverFiles
from tests.sim.stream_machine import StreamMachine
from tests.sim.test_simulation import LONG, profile

pytestmark = pytest.mark.timeout(7200 if LONG else 600)


class SqliteStreamMachine(OverFiles, StreamMachine):
    """The same over files."""


TestStreams = StreamMachine.TestCase
TestStreams.settings = profile(120, 6000)

TestStreamsOverFiles = SqliteStreamMachine.TestCase
TestStreamsOverFiles.settings = profile(12, 400)
