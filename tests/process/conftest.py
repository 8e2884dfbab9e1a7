"""Fixtures of tests that run real broker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.broker_process import BrokerProcess, Config


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Makes broker processes that are gone at the end of the test. They are not started yet."""
    made: list[BrokerProcess] = []

    def make(
        config: Config | None = None, data_dir: Path | None = None, descriptors: int | None = None
    ) -> BrokerProcess:
        directory = tmp_path / f"broker-{len(made)}"
        directory.mkdir()
        made.append(BrokerProcess(directory, config, data_dir, descriptors))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def broker(make_broker: Callable[..., BrokerProcess]) -> Iterator[BrokerProcess]:
    """A running broker with the default configuration; it must stop in order and without a bug in its log."""
    one = make_broker()
    one.start()
    yield one
    if one.running():
        one.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A running broker for the tests of a module that leave it as they found it."""
    one = BrokerProcess(tmp_path_factory.mktemp("shared"))
    try:
        one.start()
        yield one
        one.stop()
    finally:
        one.close()
