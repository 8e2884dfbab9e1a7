"""What a message costs in the core, without sockets and store, in microseconds: publish, route, enqueue,
deliver, acknowledge, confirm.

    python -m bench.core [--load NAME] [--seconds 2] [--rounds 3] [--batch 100] [--profile]

One connection publishes, another consumes; both are fed the bytes a client would send, ``--batch`` messages
at a time, each followed by a turn. Batches of the journal are taken and count as committed at once. A figure
is the median of the rounds; ``--profile`` shows where the time goes instead, and needs the pure form.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import NamedTuple

from amqpd.auth.attempt import VerifiedPasswords
from amqpd.auth.mechanisms import Peer, configured
from amqpd.auth.passwords import SHA256, create_rabbitmq
from amqpd.auth.users import Users
from amqpd.broker.batch import Definition
from amqpd.broker.broker import Broker
from amqpd.broker.registry import Registry
from amqpd.features import builtin
from amqpd.server.cli import form
from amqpd.session import basic_methods, channel_methods, exchange_methods, queue_methods
from amqpd.session.connection import RUNNING, Connection
from amqpd.session.environment import Environment
from amqpd.session.handshake import Handshake
from amqpd.spec import constants
from amqpd.spec.arguments import STREAM
from amqpd.wire.methods import MethodWriter
from amqpd.wire.table import Field, Table, encode_table, longstr

ACK_EVERY = 50
PREFETCH = 500
PUBLISHER = "publisher"
TRANSIENT = b"\x10\x00\x01"
PERSISTENT = b"\x10\x00\x02"
GC_THRESHOLDS = (50_000, 20, 100)  # the server's


class Load(NamedTuple):
    """``publishes``: one message each, in turn for ever. ``deliveries``: queues one message goes to."""

    name: str
    text: str
    deliveries: int
    persistent: bool
    prepare: Callable[[Core], None]
    publishes: Callable[[], list[bytes]]


class Core:
    """A broker whose edge is this program: what it writes is counted and dropped."""

    def __init__(self, persistent: bool) -> None:
        registry = Registry()
        builtin.register(registry)
        self.broker = Broker(registry, 1, 0)
        self.persistent = persistent
        self.users = Users(self._define, (), VerifiedPasswords(bytes(32)))
        self.acked = 0
        self.last_sent = b""  # to the publisher
        self.environment = Environment(
            broker=self.broker,
            backend=self.users,
            limiter=self.users,
            mechanisms=configured(),
            token=lambda: "token",
            outbox_bytes_max=1 << 24,
            handlers={
                **channel_methods.HANDLERS,
                **exchange_methods.HANDLERS,
                **queue_methods.HANDLERS,
                **basic_methods.HANDLERS,
            },
        )
        self.broker.create_vhost("/")
        self.users.add_user("bench", create_rabbitmq(b"bench", b"salt", SHA256), SHA256)
        self.users.set_permissions("bench", "/", ".*", ".*", ".*")
        self.publisher = self._connected(1)
        self.publisher.outbox.link = PUBLISHER
        self.consumer = self._connected(2)

    def _define(self, definition: Definition) -> None:
        self.broker.journal.define(definition)
        self.broker.revision.value += 1

    def _connected(self, number: int) -> Connection:
        """An open connection with channel 1."""
        handshake = Handshake(self.environment, Peer("127.0.0.1:1", True, None))
        connection = Connection(self.environment, number, f"bench {number}", handshake)
        start_ok = MethodWriter(constants.CONNECTION_START_OK).table({}).shortstr("PLAIN")
        tune_ok = MethodWriter(constants.CONNECTION_TUNE_OK).short(2047).long(131072).short(0)
        opened = MethodWriter(constants.CONNECTION_OPEN).shortstr("/").shortstr("").octet(0)
        connection.receive_data(constants.PROTOCOL_HEADER)
        connection.receive_data(start_ok.longstr(b"\0bench\0bench").shortstr("en_US").frame(0))
        for waiting, attempt in self.environment.logins:
            waiting.handshake.login_checked(waiting, attempt, attempt.check())
        self.environment.logins.clear()
        connection.receive_data(tune_ok.frame(0) + opened.frame(0))
        assert connection.state == RUNNING
        connection.receive_data(MethodWriter(constants.CHANNEL_OPEN).shortstr("").frame(1))
        self.turn()
        return connection

    def turn(self) -> None:
        """Run turns until nothing is left to do, and take what was written."""
        broker = self.broker
        while True:
            broker.run_turn()
            for outbox in broker.outboxes:
                sent = outbox.take()
                if sent and outbox.link is PUBLISHER:
                    self.last_sent = sent
            broker.outboxes.clear()
            if not broker.busy() and not broker.outboxes:
                return

    def commit(self) -> None:
        """What is open counts as written."""
        broker = self.broker
        while broker.take_batch() is not None:
            broker.batch_committed()
        self.turn()

    def publish(self, octets: bytes, messages: int) -> None:
        """So many messages, and everything that follows from them."""
        self.publisher.receive_data(octets)
        self.turn()
        if self.persistent:
            self.commit()
            self.acknowledge()

    def acknowledge(self) -> None:
        channel = self.consumer.channels[1]
        while channel.delivery_tag - self.acked >= ACK_EVERY:
            octets: list[bytes] = []
            while channel.delivery_tag - self.acked >= ACK_EVERY:
                self.acked += ACK_EVERY
                octets.append(ack(self.acked))
            self.consumer.receive_data(b"".join(octets))
            self.turn()

    def ask(self, connection: Connection, *writers: MethodWriter) -> None:
        connection.receive_data(b"".join([writer.frame(1) for writer in writers]))
        self.turn()
        self.commit()

    # Topology

    def queue(self, name: str, arguments: Table | None = None) -> None:
        declare = MethodWriter(constants.QUEUE_DECLARE).short(0).shortstr(name)
        self.ask(self.consumer, declare.octet(2 if self.persistent else 0).table(arguments or {}))

    def consume(self, name: str) -> None:
        qos = MethodWriter(constants.BASIC_QOS).long(0).short(PREFETCH).octet(0)
        consume = MethodWriter(constants.BASIC_CONSUME).short(0).shortstr(name).shortstr(f"of {name}")
        self.ask(self.consumer, qos, consume.octet(0 if self.persistent else 2).table({}))

    def bind(self, exchange: str, queue: str, routing_key: str = "", arguments: Table | None = None) -> None:
        writer = MethodWriter(constants.QUEUE_BIND).short(0).shortstr(queue).shortstr(exchange)
        self.ask(self.consumer, writer.shortstr(routing_key).octet(0).table(arguments or {}))

    def check(self, load: Load, messages: int) -> None:
        """Everything was delivered, settled and confirmed."""
        channel = self.consumer.channels[1]
        assert channel.delivery_tag == messages * load.deliveries, (channel.delivery_tag, messages)
        for queue in self.broker.vhosts["/"].queues.values():
            assert queue.unacked_count() < ACK_EVERY
            assert queue.message_count() == (messages if queue.kind == STREAM else 0)
        if self.persistent:
            *_, tag, _, _ = struct.unpack(">BHIIQBB", self.last_sent[-21:])
            assert tag == messages, (tag, messages)


def ack(tag: int) -> bytes:
    return MethodWriter(constants.BASIC_ACK).longlong(tag).octet(1).frame(1)


def message(exchange: str, routing_key: str, properties: bytes, body: bytes) -> bytes:
    publish = MethodWriter(constants.BASIC_PUBLISH).short(0).shortstr(exchange).shortstr(routing_key).octet(0)
    head = struct.pack(">HHQ", constants.CLASS_BASIC, 0, len(body)) + properties
    return b"".join(
        [
            publish.frame(1),
            struct.pack(">BHI", 2, 1, len(head)) + head + b"\xce",
            struct.pack(">BHI", 3, 1, len(body)) + body + b"\xce",
        ]
    )


# Loads


def one_queue(core: Core) -> None:
    core.queue("q")
    core.consume("q")
    if core.persistent:
        core.ask(core.publisher, MethodWriter(constants.CONFIRM_SELECT).octet(0))


def stream(core: Core) -> None:
    core.queue("q", {"x-queue-type": longstr(STREAM)})
    core.consume("q")
    core.ask(core.publisher, MethodWriter(constants.CONFIRM_SELECT).octet(0))


def topic(core: Core) -> None:
    """1,000 bindings, a star in each; a message matches one of them."""
    one_queue(core)
    for number in range(1000):
        core.bind("amq.topic", "q", f"sensor.*.{number}")


def topic_messages() -> list[bytes]:
    """More keys than a channel remembers routes for, so that the exchange is asked."""
    return [message("amq.topic", f"sensor.n{number}.{number % 1000}", TRANSIENT, bytes(16)) for number in range(9973)]


def headers(core: Core) -> None:
    """100 bindings with two conditions; a message matches one of them."""
    one_queue(core)
    for number in range(100):
        core.bind("amq.headers", "q", "", {"kind": longstr(f"k{number}"), "level": Field("I", number % 3)})


def headers_messages() -> list[bytes]:
    octets = []
    for number in range(100):
        table = encode_table({"kind": longstr(f"k{number}"), "level": Field("I", number % 3)})
        properties = struct.pack(">HI", 0x3000, len(table)) + table + b"\x01"
        octets.append(message("amq.headers", "", properties, bytes(16)))
    return octets


def fanout(core: Core) -> None:
    for number in range(20):
        core.queue(f"q{number}")
        core.consume(f"q{number}")
        core.bind("amq.fanout", f"q{number}")


LOADS = (
    Load(
        "transient",
        "16 B, auto-ack",
        1,
        False,
        one_queue,
        lambda: [message("", "q", TRANSIENT, bytes(16))],
    ),
    Load(
        "persistent",
        f"1 KiB, confirmed, acknowledged every {ACK_EVERY}",
        1,
        True,
        one_queue,
        lambda: [message("", "q", PERSISTENT, bytes(1024))],
    ),
    Load(
        "stream",
        f"1 KiB to a stream, confirmed, acknowledged every {ACK_EVERY}",
        1,
        True,
        stream,
        lambda: [message("", "q", PERSISTENT, bytes(1024))],
    ),
    Load("topic", "1,000 wildcard bindings, 9,973 keys", 1, False, topic, topic_messages),
    Load("headers", "100 bindings", 1, False, headers, headers_messages),
    Load(
        "fanout",
        "20 queues; for each delivery",
        20,
        False,
        fanout,
        lambda: [message("amq.fanout", "", TRANSIENT, bytes(16))],
    ),
)


# Measuring


def chunks(load: Load, batch: int) -> Iterator[bytes]:
    """Bytes of ``batch`` messages each, for ever; made beforehand, so that making them is not measured."""
    messages = load.publishes()
    count = len(messages)
    together = [b"".join(islice(cycle(messages), start, start + batch)) for start in range(0, max(count, batch), batch)]
    return cycle(together)


def run(load: Load, seconds: float, batch: int) -> float:
    """Microseconds a delivery."""
    core = Core(load.persistent)
    load.prepare(core)
    source = chunks(load, batch)
    for octets in islice(source, 20):
        core.publish(octets, batch)
    messages = 20 * batch
    gc.collect()
    gc.freeze()
    measured = 0
    start = time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        for octets in islice(source, 10):
            core.publish(octets, batch)
        measured += 10 * batch
    gc.unfreeze()
    core.acknowledge()
    core.check(load, messages + measured)
    return (now - start) / (measured * load.deliveries) * 1e6


def profile(load: Load, seconds: float, batch: int) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(run, load, seconds, batch)
    print(f"{load.name}: {load.text}")
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", action="append", choices=[load.name for load in LOADS], help="all by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=100, help="messages that come in together")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    chosen = [load for load in LOADS if not options.load or load.name in options.load]
    gc.set_threshold(*GC_THRESHOLDS)
    print(f"form: {form()}, Python {sys.version.split()[0]}, {options.batch} messages at a time")
    if options.profile:
        if form() != "pure":
            parser.error("--profile sees nothing of the compiled form: run it with the source tree")
        for load in chosen:
            profile(load, options.seconds, options.batch)
        return
    for load in chosen:
        figures = [run(load, options.seconds, options.batch) for _ in range(options.rounds)]
        spread = f"(from {min(figures):.3f} to {max(figures):.3f})"
        print(
            f"{load.name:11}{statistics.median(figures):8.3f} us  {spread}  {load.text}",
            flush=True,
        )


if __name__ == "__main__":
    main()
