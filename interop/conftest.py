"""Fixtures: the amqpd under test and, when RABBITMQ_URL is given, the RabbitMQ it is compared with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.broker import Broker, controlled, running_amqpd, running_elsewhere


def pytest_configure(config: pytest.Config) -> None:
    # pika leaves the socket pair of its loop to the garbage collector when the broker closes a connection.
    config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """An amqpd of our own, or the running broker at AMQPD_URL, on which the command INTEROP_CONTROL acts, if given."""
    url, command = os.environ.get("AMQPD_URL"), os.environ.get("INTEROP_CONTROL")
    if url and command:
        yield controlled(url, command)
        return
    directory: Path = tmp_path_factory.mktemp("amqpd")
    with running_elsewhere(url) if url else running_amqpd(directory) as running:
        yield running


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    """The running broker at RABBITMQ_URL."""
    url = os.environ.get("RABBITMQ_URL")
    if not url:
        pytest.skip("not compared: RABBITMQ_URL is not given")
    with running_elsewhere(url) as running:
        yield running
