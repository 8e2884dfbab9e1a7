"""A disk that is full, or not ours to write: publishers wait, consumers go on, no confirm is false."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pamqp import commands

from tests.process.broker_process import BrokerProcess, eventually
from tests.process.client import Client, Message
from tests.process.filesystems import memory_filesystem, run
from tests.process.test_start_stop import outcome

Make = Callable[..., BrokerProcess]

BODY_BYTES = 20_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with memory_filesystem(tmp_path / "small", 20) as path:
        yield path


def fill_until_blocked(client: Client, queue: str) -> list[bytes]:
    """Publish with confirms until the broker says connection.blocked; returns the bodies in order."""
    sent: list[bytes] = []
    while True:
        body = b"%d " % len(sent) + bytes(BODY_BYTES)
        sent.append(body)
        client.publish(queue, body)
        assert len(sent) * BODY_BYTES < 100 << 20, "a disk of 20 MiB took more than 100"
        with contextlib.suppress(TimeoutError):
            client.others.extend(client.read(0.001))
        if any(isinstance(method, commands.Connection.Blocked) for _, method in client.others):
            client.wait(commands.Connection.Blocked)
            client.take_confirms()
            return sent


def put_until_blocked(client: Client, queue: str) -> list[bytes]:
    """The same, so slowly that the alarm comes before the disk is full."""
    sent: list[bytes] = []
    while True:
        body = b"%d " % len(sent) + bytes(BODY_BYTES)
        sent.append(body)
        client.publish(queue, body)
        time.sleep(0.005)
        while client.confirmed < client.published:
            client.others.extend(client.read(10))
            client.take_confirms()
            if any(isinstance(method, commands.Connection.Blocked) for _, method in client.others):
                return sent


def bodies(messages: list[Message]) -> list[bytes]:
    return [message.body for message in messages]


@pytest.mark.root
def test_a_full_disk_blocks_publishers_and_nobody_else(make_broker: Make, small_disk: Path) -> None:
    broker = make_broker({"limits": {"disk_free_limit": 0}}, small_disk / "data")
    broker.start()
    ballast = small_disk / "ballast"
    with Client(broker.port) as publisher, Client(broker.port) as consumer:
        consumer.declare("early")
        consumer.declare("late")
        consumer.confirm_select()
        for number in range(50):
            consumer.publish("early", b"%d" % number)
        consumer.wait_confirms()
        ballast.write_bytes(bytes(8 << 20))
        publisher.confirm_select()
        sent = fill_until_blocked(publisher, "late")
        assert publisher.confirmed < len(sent)
        broker.wait_log("the store cannot write")
        # What is delivered is delivered also without a disk, and acks are taken.
        consumer.consume("early")
        for number in range(50):
            message = consumer.receive()
            assert message.body == b"%d" % number
            consumer.ack(message.delivery_tag)
        # Operators are answered, and new clients come in.
        assert "disk" in broker.ask("status")["alarms"]
        with Client(broker.port) as late:
            late.count("late")
        confirmed = publisher.confirmed
        with pytest.raises(TimeoutError):
            publisher.wait_confirms(seconds=0.5)
        assert publisher.confirmed == confirmed
        ballast.unlink()
        publisher.wait(commands.Connection.Unblocked)
        publisher.wait_confirms()
        broker.wait_log("the store writes again")
        publisher.put("late", b"after")
    broker.kill()
    broker.start()
    with Client(broker.port) as client:
        assert bodies(client.drain("late")) == [*sent, b"after"]
        assert client.count("early") == 0
    broker.stop()


@pytest.mark.root
def test_what_was_not_confirmed_when_the_disk_was_full_may_be_lost_and_nothing_else(
    make_broker: Make, small_disk: Path
) -> None:
    broker = make_broker({"limits": {"disk_free_limit": 0}}, small_disk / "data")
    broker.start()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    with Client(broker.port) as publisher:
        publisher.declare("q")
        publisher.confirm_select()
        sent = fill_until_blocked(publisher, "q")
        confirmed = publisher.confirmed
        broker.kill()
    ballast.unlink()
    broker.start()
    with Client(broker.port) as client:
        found = bodies(client.drain("q"))
    assert confirmed <= len(found) <= len(sent)
    assert found == sent[: len(found)]
    broker.stop()


@pytest.mark.root
def test_a_broker_stops_in_order_on_a_full_disk(make_broker: Make, small_disk: Path) -> None:
    broker = make_broker({"limits": {"disk_free_limit": 0}}, small_disk / "data")
    broker.start()
    (small_disk / "ballast").write_bytes(bytes(8 << 20))
    with Client(broker.port) as publisher:
        publisher.declare("q")
        publisher.confirm_select()
        fill_until_blocked(publisher, "q")
        broker.signal(15)
        broker.wait()
    assert "Traceback" not in broker.log()


@pytest.mark.root
def test_acks_reach_the_disk_in_the_room_that_publishers_leave(make_broker: Make, small_disk: Path) -> None:
    """disk_free_limit stops publishers while acks still have room."""
    broker = make_broker({"limits": {"disk_free_limit": "8MiB"}}, small_disk / "data")
    broker.start()
    with Client(broker.port) as publisher, Client(broker.port) as consumer:
        publisher.declare("q")
        publisher.confirm_select()
        sent = put_until_blocked(publisher, "q")
        consumer.consume("q", prefetch=50)
        for number in range(publisher.confirmed):
            message = consumer.receive()
            assert message.body == sent[number]
            if number % 40 == 39 or number == publisher.confirmed - 1:
                consumer.ack(message.delivery_tag, multiple=True)
        # An answer that waits for the disk shows that the acks before it are there.
        consumer.declare("proof")
        assert "the store cannot write" not in broker.log()
    broker.kill()
    broker.start()
    with Client(broker.port) as client:
        assert client.count("q") == 0
    broker.kill()  # copying the log into the database at the end may need more room than there is


@pytest.mark.root
def test_a_read_only_directory_is_one_line(make_broker: Make, small_disk: Path) -> None:
    run("mount", "-o", "remount,ro", small_disk)
    status, said = outcome("run", "--data-dir", str(small_disk / "data"), "--listen", "127.0.0.1:0")
    assert status == 1
    assert said.count("\n") == 1
    assert str(small_disk) in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_one_line(tmp_path: Path) -> None:
    forbidden = tmp_path / "forbidden"
    forbidden.mkdir(mode=0o500)
    status, said = outcome("run", "--data-dir", str(forbidden), "--listen", "127.0.0.1:0")
    assert status == 1
    assert said.count("\n") == 1
    assert str(forbidden) in said


def test_a_data_directory_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    status, said = outcome("run", "--data-dir", str(file), "--listen", "127.0.0.1:0")
    assert status == 1
    assert said.count("\n") == 1
    assert str(file) in said


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "amqpd.db").write_bytes(b"something else entirely" * 1000)
    status, said = outcome("run", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0")
    assert status == 1
    assert said.count("\n") == 1
    assert "amqpd.db" in said


# Alarms


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("disk", {"disk_free_limit": "1000TiB"}, {"disk_free_limit": 0}),
        ("memory", {"memory_high_watermark": "1B"}, {"memory_high_watermark": "1TiB"}),
    ],
)
def test_an_alarm_blocks_publishers_until_it_clears(
    make_broker: Make, name: str, on: dict[str, object], off: dict[str, object]
) -> None:
    broker = make_broker({"limits": off})
    broker.start()
    with Client(broker.port) as publisher, Client(broker.port) as consumer:
        publisher.declare("q")
        publisher.confirm_select()
        publisher.put("q", b"0")
        broker.reload({"limits": on})
        eventually(lambda: broker.ask("status")["alarms"] == [name], "the alarm")
        # Only who publishes is told, and stopped.
        publisher.publish("q", b"1")
        assert publisher.wait(commands.Connection.Blocked).reason == f"low on {name}"
        with pytest.raises(TimeoutError):
            publisher.wait_confirms(seconds=0.3)
        consumer.consume("q")
        message = consumer.receive()
        assert message.body == b"0"
        consumer.ack(message.delivery_tag)
        assert consumer.count("q") == 0
        broker.reload({"limits": off})
        publisher.wait(commands.Connection.Unblocked)
        publisher.wait_confirms()
        assert consumer.receive().body == b"1"
        assert broker.ask("status")["alarms"] == []
    broker.stop()


def test_a_publisher_that_comes_during_an_alarm_is_blocked_too(make_broker: Make) -> None:
    broker = make_broker({"limits": {"disk_free_limit": "1000TiB"}})
    broker.start()
    broker.wait_log("disk resource limit alarm set")
    with Client(broker.port) as publisher:
        publisher.declare("q")
        publisher.publish("q", b"0")
        publisher.wait(commands.Connection.Blocked)
        broker.reload({"limits": {"disk_free_limit": 0}})
        publisher.wait(commands.Connection.Unblocked)
        eventually(lambda: publisher.count("q") == 1, "the message is in the queue")
    broker.stop()
