"""Peers that take too much: each is bounded by a named limit, and a bystander does not notice.

``AMQPD_CONNECTIONS`` (500) and ``AMQPD_QUEUES`` (1000) set how many idle ones there are.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from pamqp import commands, frame

from tests.process.broker_process import BrokerProcess, eventually
from tests.process.client import PROTOCOL_HEADER, TIMEOUT_SECONDS, Client, connect, publish_frames

Make = Callable[..., BrokerProcess]

CONNECTIONS = int(os.environ.get("AMQPD_CONNECTIONS", "500"))
QUEUES = int(os.environ.get("AMQPD_QUEUES", "1000"))
MIB = 1 << 20
# What sockets may hold in both directions beside the broker's own limits, and what Python needs.
SLACK_BYTES = 48 * MIB
# Limits for floods of 240 and 400 MB, and the memory that then must do: the windows, two batches, the caches
# of three SQLite connections.
SMALL = {"queue_window_bytes": "1MiB", "queue_windows_bytes": "4MiB", "unwritten_bytes_max": "4MiB"}
FLOOD_BYTES = 120 * MIB


@contextmanager
def bystander(port: int) -> Iterator[Client]:
    """A client that does its work all the while, in a thread; it must get on, and must not meet an error."""
    rounds = 0
    faults: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        nonlocal rounds
        try:
            while not done.is_set():
                client.echo()
                rounds += 1
        except BaseException as fault:
            faults.append(fault)

    with Client(port) as client:
        thread = threading.Thread(target=work)
        thread.start()
        try:
            eventually(lambda: rounds > 0 or faults, "the first round")
            yield client
            before = rounds
            eventually(lambda: rounds > before + 10 or faults, "the bystander gets on")
        finally:
            done.set()
            thread.join(TIMEOUT_SECONDS)
    if faults:
        raise faults[0]


def send_until_stuck(sock: socket.socket, data: bytes, most: int) -> int:
    """Send ``data`` again and again until nothing is taken for a while; returns the octets sent."""
    sock.settimeout(1.0)
    sent = 0
    view = memoryview(data)
    while sent < most:
        try:
            sent += sock.send(view[sent % len(data) :])
        except TimeoutError:
            return sent
    raise AssertionError(f"{most} octets were taken and no end")


def test_a_consumer_that_stops_reading_holds_up_nobody_and_takes_no_memory(make_broker: Make) -> None:
    broker = make_broker({"limits": SMALL})
    broker.start()
    count = 2400
    with bystander(broker.port), Client(broker.port) as publisher, Client(broker.port) as stuck:
        publisher.declare("stuck", durable=False)
        stuck.consume("stuck", no_ack=True)
        base = broker.rss_bytes()
        publisher.confirm_select()
        for number in range(count):
            publisher.publish("stuck", b"%06d" % number + bytes(100_000), persistent=False)
        publisher.wait_confirms()
        # Some of it is on its way to the consumer, the rest is paged out.
        assert publisher.count("stuck") > 0
        assert broker.peak_rss_bytes() - base < FLOOD_BYTES
        for number in range(count):
            assert int(stuck.receive().body[:6]) == number
        assert broker.peak_rss_bytes() - base < FLOOD_BYTES
    broker.stop()


def test_a_publisher_that_does_not_read_what_comes_back_is_not_read_either(shared: BrokerProcess) -> None:
    """Returned messages fill the outbox as fast as they are published; confirms do the same, only slower."""
    base = shared.rss_bytes()
    one = frame.marshal(commands.Basic.Publish(routing_key="nowhere", mandatory=True), 1)
    plain = frame.marshal(commands.Basic.Publish(routing_key="nowhere"), 1)
    message = one + publish_frames("nowhere", bytes(10_000), persistent=False)[len(plain) :]
    with bystander(shared.port), Client(shared.port) as client:
        client.confirm_select()
        sent = send_until_stuck(client.sock, message * 20, 200 * MIB)
        assert shared.rss_bytes() - base < SLACK_BYTES
        # It reads at last: nothing was lost, and it is heard again.
        client.sock.settimeout(TIMEOUT_SECONDS)
        whole, rest = divmod(sent, len(message))
        reader = threading.Thread(target=lambda: [client.receive() for _ in range(whole)])
        reader.start()
        if rest:
            client.sock.sendall(message[rest:])
        reader.join()
        if rest:
            client.receive()
        client.published = whole + (1 if rest else 0)
        client.wait_confirms()
        client.echo()


def test_answers_to_one_burst_of_requests_are_bounded(shared: BrokerProcess) -> None:
    """A few kilobytes of basic.get may ask for hundreds of megabytes."""
    rounds = 300
    with bystander(shared.port), Client(shared.port) as client:
        client.declare("large", durable=False)
        client.publish("large", bytes(MIB), persistent=False)
        assert client.count("large") == 1
        base = shared.rss_bytes()
        request = frame.marshal(commands.Basic.Get(queue="large"), 1)
        back = frame.marshal(commands.Basic.Nack(0, multiple=True, requeue=True), 1)
        client.sock.sendall((request + back) * rounds)
        time.sleep(0.3)  # long enough for a broker without a limit to put together most of it
        assert shared.rss_bytes() - base < SLACK_BYTES
        for _ in range(rounds):
            assert len(client.receive().body) == MIB
        client.delete("large")


def test_a_flood_of_transient_messages_without_consumers_goes_to_disk(make_broker: Make) -> None:
    broker = make_broker({"limits": SMALL})
    broker.start()
    count = 4000
    with bystander(broker.port), Client(broker.port) as client:
        client.declare("flood", durable=False)
        base = broker.rss_bytes()
        for number in range(count):
            client.publish("flood", b"%06d" % number + bytes(100_000), persistent=False)
        assert client.count("flood") == count
        assert broker.peak_rss_bytes() - base < FLOOD_BYTES
        for number, message in enumerate(client.drain("flood")):
            assert int(message.body[:6]) == number
        assert broker.peak_rss_bytes() - base < FLOOD_BYTES
    broker.stop()


def test_a_consumer_gets_a_long_queue_without_anything_else_happening(make_broker: Make) -> None:
    """The broker must go on by itself when a queue has more than one turn's deliveries."""
    broker = make_broker({"limits": {"alarm_interval": 3600}})
    broker.start()
    count = 100_000
    with Client(broker.port) as client:
        client.declare("long", durable=False)
        block = publish_frames("long", b"", persistent=False) * 1000
        for _ in range(count // 1000):
            client.sock.sendall(block)
        assert client.count("long") == count
        client.consume("long", no_ack=True, tag="t")
        size = len(frame.marshal(commands.Basic.Deliver("t", 1, False, "", "long"), 1)) + 23  # and a header
        left = count * size - len(client.buffer) - len(client.messages) * size
        client.sock.settimeout(TIMEOUT_SECONDS)
        while left > 0:
            data = client.sock.recv(MIB)
            assert data
            left -= len(data)
    broker.stop()


def test_idle_connections_cost_little_and_nobody_waits_for_them(make_broker: Make) -> None:
    broker = make_broker()
    broker.start()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    base = broker.rss_bytes()
    with ExitStack() as idle, bystander(broker.port):
        for _ in range(CONNECTIONS):
            idle.enter_context(Client(broker.port))
        assert broker.ask("status")["connections"] == CONNECTIONS + 1
        assert broker.rss_bytes() - base < CONNECTIONS * 64 * 1024 + SLACK_BYTES
    with Client(broker.port):
        eventually(lambda: broker.ask("status")["connections"] == 1, "all are gone")
    broker.stop()


def test_many_queues_cost_little_and_nobody_waits_for_them(make_broker: Make) -> None:
    broker = make_broker()
    broker.start()
    base = broker.rss_bytes()
    with bystander(broker.port), Client(broker.port) as client:
        declares = b"".join(
            frame.marshal(commands.Queue.Declare(queue=f"q{number}", durable=True, nowait=True), 1)
            for number in range(QUEUES)
        )
        client.sock.sendall(declares)
        client.count(f"q{QUEUES - 1}")
        assert broker.ask("status")["queues"] == QUEUES + 1
        assert broker.rss_bytes() - base < QUEUES * 16 * 1024 + SLACK_BYTES
    broker.kill()
    broker.start()
    assert broker.ask("status")["queues"] == QUEUES
    broker.stop()


def test_half_a_frame_hangs_nobody_but_its_sender(make_broker: Make) -> None:
    # Those who log in must do so in this time, too.
    broker = make_broker({"listeners": {"handshake_timeout": 5}})
    broker.start()
    with bystander(broker.port), ExitStack() as stack:
        for text in (
            b"",
            PROTOCOL_HEADER[:5],
            PROTOCOL_HEADER,
            PROTOCOL_HEADER + b"\x01\x00\x00\x00\x00\x10",
        ):
            stack.enter_context(connect(broker.port)).sendall(text)
        half = stack.enter_context(Client(broker.port))
        half.declare("q")
        half.sock.sendall(publish_frames("q", bytes(50_000))[:-20_000])
        # The first four are cut off in time, the last is logged in and may be slow.
        eventually(lambda: broker.ask("status")["connections"] == 2, "the slow ones are cut off")
        half.sock.sendall(publish_frames("q", bytes(50_000))[-20_000:])
        assert half.count("q") == 1
    broker.stop()


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_rest(pid: int) -> bool:
    """Whether it leaves more than half of a core to others for half a second."""
    before = cpu_seconds(pid)
    time.sleep(0.5)
    return cpu_seconds(pid) - before < 0.25


def test_without_free_descriptors_those_who_are_in_go_on_and_others_wait(make_broker: Make) -> None:
    # Nobody may be cut off meanwhile: that makes room.
    broker = make_broker({"listeners": {"handshake_timeout": 3600}}, descriptors=48)
    broker.start()
    with ExitStack() as stack, bystander(broker.port):
        waiting: list[socket.socket] = [stack.enter_context(connect(broker.port)) for _ in range(60)]
        for sock in waiting:
            sock.sendall(PROTOCOL_HEADER)
        assert waiting[0].recv(8)
        waiting[-1].settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting[-1].recv(8)
    # Nobody works now; a broker that tries to accept all the time would use a whole core.
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(broker.port))
        eventually(lambda: at_rest(broker.pid), "the broker has let in whom it can and comes to rest")
        assert broker.running()
    with Client(broker.port) as client:
        client.echo()
    broker.stop()


@pytest.mark.parametrize("most", [3])
def test_connection_max_refuses_one_more_and_keeps_the_others(make_broker: Make, most: int) -> None:
    broker = make_broker({"connections": {"connection_max": most}})
    broker.start()
    with ExitStack() as stack:
        inside = [stack.enter_context(Client(broker.port)) for _ in range(most)]
        with connect(broker.port) as refused:
            assert refused.recv(1) == b""
        broker.wait_log("connection_max is reached")
        for client in inside:
            client.echo()
        inside[0].close()
        eventually(lambda: broker.ask("status")["connections"] == most - 1, "one is gone")
        with Client(broker.port) as late:
            late.echo()
    broker.stop()
