"""A simulation whose store is a file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine

from amqpd.store.contract import Store
from amqpd.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore


class OverFiles(RuleBasedStateMachine):
    """To be named ahead of the machine."""

    store: FaultyStore

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
