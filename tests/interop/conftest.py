"""What tests of the suite share: an amqpd that its stand-ins can speak for."""

from collections.abc import Iterator

import pytest

from interop.broker import Broker, running_amqpd


@pytest.fixture(scope="session")
def amqpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_amqpd(tmp_path_factory.mktemp("amqpd")) as broker:
        yield broker
