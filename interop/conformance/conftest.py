"""Fixtures: the broker under test, connections to it, names of one's own.

By default an amqpd is started in a temporary directory. AMQPD_URL (with AMQPD_DATA_DIR for the command line)
points at a running amqpd; CONFORMANCE_URL points at a RabbitMQ. There the tests marked ``differs`` run too
and must fail: RabbitMQ 3.10.8 is meant to answer otherwise, and the fact in the mark says how.
"""

import functools
import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interop import facts
from interop.broker import AmqpdProcess

from .broker import Admin, AmqpdAdmin, rabbitmq_admin, rabbitmq_url, target_from_url
from .client import Channel, Client, Target, at_vhost
from .recording import Scenario, aside, mark_of, recorded
from .streams import declared, numbers, publish

SCENARIO = pytest.StashKey[Scenario]()
SKIPPED = pytest.StashKey[str]()  # why a test was skipped
TRIES = 5  # of what is about times
FAILED = pytest.StashKey[bool]()  # whether it failed, expected or not

Connect = Callable[..., Client]
DeclareStream = Callable[..., str]  # with the stream's arguments; returns its name
Names = Callable[[str], str]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"differs(fact): what RabbitMQ {facts.RABBITMQ} does otherwise, one of interop/facts.py"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    url = rabbitmq_url()
    if url is None:
        return
    with Client(target_from_url(url)) as client:
        version = client.greet()["server_properties"]["version"]
    for item in items:
        mark = item.get_closest_marker("differs")
        if mark is not None:
            reason = f"intended difference: {mark.args[0].rabbitmq}"
            strict = version == facts.RABBITMQ
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
        with AmqpdProcess(tmp_path_factory.mktemp("amqpd")) as process:
            yield BrokerUnderTest(target_from_url(process.url), AmqpdAdmin(process.data_dir), False)


@pytest.fixture(scope="session")
def admin(broker: BrokerUnderTest) -> Admin:
    return broker.admin


@pytest.fixture(scope="session")
def token() -> str:
    """Part of every name, so that several runs can share a broker; CONFORMANCE_TOKEN makes two runs use the same."""
    return os.environ.get("CONFORMANCE_TOKEN") or secrets.token_hex(3)


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


@pytest.fixture(scope="session")
def has_exchange_type(broker: BrokerUnderTest) -> Callable[[str], bool]:
    """Whether the broker knows a type of exchange. Asked aside, so that it is in no scenario."""

    @functools.cache
    def known(kind: str) -> bool:
        with aside(), Client(broker.target) as client:
            channel = client.connect().channel()
            exchange = f"probe-{secrets.token_hex(8)}"
            channel.send("exchange.declare", exchange=exchange, type=kind)
            try:
                channel.expect("exchange.declare-ok")
            except AssertionError:
                assert "unknown exchange type" in client.expect("connection.close")["reply_text"]
                return False
            channel.call("exchange.delete", exchange=exchange)
            return True

    return known


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
        client.hang_up()


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


@pytest.fixture
def publisher(connect: Connect) -> Channel:
    """A channel whose publishes are confirmed, so that they are in their queue."""
    publisher = connect().channel()
    publisher.call("confirm.select")
    return publisher


@pytest.fixture
def new_stream(channel: Channel, name: Names) -> DeclareStream:
    return lambda **arguments: declared(channel, name("s"), **arguments)


@pytest.fixture
def stream(new_stream: DeclareStream, publisher: Channel) -> str:
    """A stream of ten messages, 0 to 9, each one a chunk of its own (interop/conformance/streams.py)."""
    name = new_stream()
    publish(publisher, name, *numbers(0, 10))
    return name


@pytest.fixture(autouse=True)
def recording(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test is a scenario of the same name."""
    scenario = Scenario(scenario_name(request.node))
    if (mark := request.node.get_closest_marker("differs")) is not None:
        scenario.differs = next(name for name, fact in facts.facts() if fact is mark.args[0])
    request.node.stash[SCENARIO] = scenario
    with recorded(scenario):
        yield
        scenario.skipped = scenario.skipped or request.node.stash.get(SKIPPED, "")
        scenario.failed = request.node.stash.get(FAILED, False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    finally:
        if SCENARIO in item.stash:
            item.stash[SCENARIO].finish()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        item.stash[SKIPPED] = str(report.longrepr[2])
    elif not report.passed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def unrecorded(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Leaves a row out of the recordings because two runs on one broker differ; takes the reason."""

    def leave_out(why: str) -> None:
        request.node.stash[SCENARIO].skipped = f"not recorded: {why}"

    return leave_out


def scenario_name(node: pytest.Item) -> str:
    """``test_basic.test_publish[a]``."""
    return f"{node.path.stem}.{node.name}"


@pytest.fixture
def name(token: str, request: pytest.FixtureRequest) -> Names:
    """Makes names that nobody else uses: name("q") -> "q-3f09a1-5c0fd281-1".

    They depend on the token and the test alone: a hash exchange, for instance, does the same in every run.
    """
    mark = mark_of(scenario_name(request.node), token)
    counter = itertools.count(1)
    return lambda stem: f"{stem}-{mark}-{next(counter)}"


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
        self.scenarios: dict[str, Callable[[Target], Any]] = {}
        self.running: dict[str, Future[Any]] = {}

    def start(self, key: str, scenario: Callable[[Target], Any]) -> None:
        def run() -> Any:
            with recorded(Scenario(f"slow.{key}")):
                return scenario(self.target)

        self.scenarios[key] = scenario
        self.running[key] = self.pool.submit(run)

    def result(self, key: str) -> Any:
        """What the scenario returned; raises what it raised."""
        return self.running[key].result(timeout=120)

    def in_time(self, key: str, fits: Callable[[Any], bool]) -> None:
        """What the scenario returned, or what it returns when it is run again alone, must fit.

        All of it is about times, and on a busy machine the client or the broker may be late by chance.
        """
        seen = []
        for attempt in range(TRIES):
            try:
                if attempt:
                    with aside():
                        seen.append(self.scenarios[key](self.target))
                else:
                    seen.append(self.result(key))
            except AssertionError:
                if attempt == TRIES - 1:
                    raise
            else:
                if fits(seen[-1]):
                    return
        raise AssertionError(f"{key}: {seen}")


@pytest.fixture(scope="session")
def slow(background: ThreadPoolExecutor, target: Target) -> Slow:
    return Slow(background, target)
