"""Fixtures: the broker under test, connections to it, names of one's own.

By default an amqpd is started in a temporary directory. AMQPD_URL (with AMQPD_DATA_DIR for the command line)
points at a running amqpd; CONFORMANCE_URL points at a RabbitMQ. There the tests marked ``differs`` run too
and must fail: RabbitMQ 3.10.8 is meant to answer otherwise, and the mark says how.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .broker import (
    Admin,
    AmqpdAdmin,
    AmqpdProcess,
    rabbitmq_admin,
    rabbitmq_url,
    target_from_url,
)
from .client import Channel, Client, Target, at_vhost

KNOWN_RABBITMQ = "3.10.8"  # the version the differs marks speak of

Connect = Callable[..., Client]
Names = Callable[[str], str]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"differs(how): what RabbitMQ {KNOWN_RABBITMQ} does instead")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    url = rabbitmq_url()
    if url is None:
        return
    with Client(target_from_url(url)) as client:
        version = client.greet()["server_properties"]["version"]
    for item in items:
        mark = item.get_closest_marker("differs")
        if mark is not None:
            reason = f"intended difference: {mark.args[0]}"
            strict = version == KNOWN_RABBITMQ
            item.add_marker(pytest.mark.xfail(reason=reason, raises=AssertionError, strict=strict))


@dataclass(frozen=True)
class BrokerUnderTest:
    """``target`` logs in as an administrator's user with all rights."""

    target: Target
    admin: Admin
    is_rabbitmq: bool


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerUnderTest]:
    rabbitmq, amqpd = rabbitmq_url(), os.environ.get("AMQPD_URL")
    if rabbitmq is not None:
        target = target_from_url(rabbitmq)
        yield BrokerUnderTest(target, rabbitmq_admin(target), True)
    elif amqpd is not None:
        data_dir = Path(os.environ["AMQPD_DATA_DIR"])
        yield BrokerUnderTest(target_from_url(amqpd), AmqpdAdmin(data_dir), False)
    else:
        process = AmqpdProcess(tmp_path_factory.mktemp("amqpd"))
        yield BrokerUnderTest(process.target, process.admin(), False)
        process.stop()


@pytest.fixture(scope="session")
def admin(broker: BrokerUnderTest) -> Admin:
    return broker.admin


@pytest.fixture(scope="session")
def token() -> str:
    """Part of every name, so that several runs can share a broker."""
    return secrets.token_hex(3)


@pytest.fixture(scope="session")
def vhost(broker: BrokerUnderTest, token: str) -> Iterator[str]:
    """A virtual host of this run's own, with all rights for the target's user."""
    vhost = f"conformance-{token}"
    broker.admin.add_vhost(vhost)
    broker.admin.set_permissions(broker.target.user, vhost, ".*", ".*", ".*")
    yield vhost
    broker.admin.delete_vhost(vhost)


@pytest.fixture(scope="session")
def target(broker: BrokerUnderTest, vhost: str) -> Target:
    return at_vhost(broker.target, vhost)


@pytest.fixture(scope="session")
def witness(target: Target) -> Iterator[Client]:
    """A connection that stands aside and must survive what others do wrong."""
    with Client(target) as client:
        yield client.connect()


@pytest.fixture
def dial(target: Target, witness: Client) -> Iterator[Connect]:
    """Makes TCP connections on which nothing has been said yet."""
    clients: list[Client] = []

    def open_socket(**target_changes: Any) -> Client:
        changed = Target(**{**target.__dict__, **target_changes})
        clients.append(Client(changed, witness))
        return clients[-1]

    yield open_socket
    for client in clients:
        client.sock.close()


@pytest.fixture
def connect(dial: Connect) -> Connect:
    """Makes open connections; takes the steps of ``Client.connect``."""

    def open_connection(**steps: Any) -> Client:
        return dial().connect(**steps)

    return open_connection


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


@pytest.fixture
def channel(client: Client) -> Channel:
    return client.channel()


@pytest.fixture
def other(connect: Connect) -> Channel:
    """A channel on a second connection."""
    return connect().channel()


@pytest.fixture(scope="session")
def counter() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def name(token: str, counter: Iterator[int]) -> Names:
    """Makes names that nobody else uses: name("q") -> "q-3f09a1-12"."""
    return lambda stem: f"{stem}-{token}-{next(counter)}"


@pytest.fixture
def queue(channel: Channel, name: Names) -> str:
    """A declared transient queue."""
    return str(channel.call("queue.declare", queue=name("q"))["queue"])


@pytest.fixture(scope="session")
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for rows that take seconds, so that they take them at the same time."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        yield pool


class Slow:
    """Scenarios started together; each test waits for the result of its own."""

    def __init__(self, pool: ThreadPoolExecutor, target: Target) -> None:
        self.pool = pool
        self.target = target
        self.running: dict[str, Future[Any]] = {}

    def start(self, key: str, scenario: Callable[[Target], Any]) -> None:
        self.running[key] = self.pool.submit(scenario, self.target)

    def result(self, key: str) -> Any:
        """What the scenario returned; raises what it raised."""
        return self.running[key].result(timeout=60)


@pytest.fixture(scope="session")
def slow(background: ThreadPoolExecutor, target: Target) -> Slow:
    return Slow(background, target)
