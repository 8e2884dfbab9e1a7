"""A stream with pika: where readers begin, how they go on, filters, and what a log cannot do.

Every publish waits for its confirm, so that each message is a chunk of its own, in RabbitMQ, too.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pika

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.streaming import FIRST, OFFSET, STREAM, Reader, declare_stream, read
from interop.transcript import Json
from interop.watching import bad_argument, confirmed, lose, precondition, serve, wait_ready, watch

LOG, OTHER, FRUIT, BAD = "interop.stream", "interop.stream_other", "interop.stream_filter", "interop.stream_bad"
QUEUE, EXCHANGE = "interop.stream_queue", "interop.stream_x"
AGE = 3  # seconds: what is older is not read by the age in ``beginnings``
FRESH_SECONDS = 1.5  # within these, younger messages are read by that age


def beginnings(connection: pika.BlockingConnection, channel: Any) -> Json:
    """What a consumer gets first: three old messages, three new ones, and the one that comes when it is there."""
    declare_stream(channel, LOG)
    heard = confirmed(channel, LOG, "0", "1", "2")
    old = time.monotonic()
    connection.sleep(1.3)
    between = datetime.now(UTC).replace(microsecond=0)
    # RabbitMQ counts an age in whole seconds, which takes up to one more off.
    connection.sleep(AGE + 1.2 - (time.monotonic() - old))
    with within(FRESH_SECONDS):
        heard += confirmed(channel, LOG, "3", "4", "5")
        aged = read(connection, LOG, "5", {OFFSET: f"{AGE}s"})
    seen: dict[str, Json] = {
        "first": read(connection, LOG, "5"),
        "offset": read(connection, LOG, "5", {OFFSET: 4}),
        "last": read(connection, LOG, "5", {OFFSET: "last"}),
        "timestamp": read(connection, LOG, "5", {OFFSET: between}),
        "long ago": read(connection, LOG, "5", {OFFSET: datetime(2001, 1, 1, tzinfo=UTC)}),
        "age": aged,
        "long age": read(connection, LOG, "5", {OFFSET: "1h"}),
        "two back": read(connection, LOG, "5", {OFFSET: -2}),
    }
    waiting: dict[str, tuple[str, dict[str, Any]]] = {
        "next": ("6", {OFFSET: "next"}),
        "nothing said": ("7", {}),
        "the next offset": ("8", {OFFSET: 8}),
        "a time to come": ("9", {OFFSET: datetime(2100, 1, 1, tzinfo=UTC)}),
    }
    for name, (body, arguments) in waiting.items():
        reader = Reader(connection, LOG, arguments)
        confirmed(channel, LOG, body)
        seen[name] = [*reader.until(body)]
        reader.channel.close()
    return {"confirmed": heard, "reads": seen}


def delivery(connection: pika.BlockingConnection, channel: Any) -> Json:
    """What comes with a message, and comes in the same way the next time."""
    declare_stream(channel, OTHER, x_max_age="1D", x_max_length_bytes=10**9)
    confirmed(channel, OTHER, "plain")
    confirmed(channel, OTHER, "dressed", headers={"mine": "yes"}, content_type="text/plain", message_id="m", priority=3)
    seen = []
    for _ in range(2):
        reader = Reader(connection, OTHER, FIRST)
        reader.until("dressed")
        reader.ack_all()
        got = reader.properties[1]
        seen.append(
            {
                "offsets": reader.offsets,
                "headers": got.headers,
                "properties": [got.content_type, got.message_id, got.priority],
                "redelivered": [method.redelivered for method in reader.methods],
                "keys": [[method.exchange, method.routing_key] for method in reader.methods],
            }
        )
        reader.channel.close()
    return {"seen": seen[0], "again the same": seen[0] == seen[1]}


def two_readers(url: str, channel: Any) -> Json:
    """Each has a prefetch of its own; what one acks means nothing to the other."""
    with connect(url) as one, connect(url) as other:
        fast, slow = Reader(one, LOG, FIRST, prefetch=3), Reader(other, LOG, FIRST, prefetch=2)
        for count in (3, 6, 9):
            fast.wait_for(count)
            fast.ack_all()
        slow.wait_for(2)
        confirmed(channel, LOG, "10")
        fast.until("10")
        watch([other])
        told: dict[str, Json] = {"fast": [*fast.bodies], "slow": [*slow.bodies]}
        slow.ack("1")
        slow.wait_for(3)
        slow.ack("0")
        slow.ack("2")
        slow.wait_for(5)
        watch([other])
        return told | {"slow, after three acks": [*slow.bodies]}


def resumed(url: str) -> Json:
    """A reader that remembers the last offset it has dealt with, loses its connection twice, and goes on behind it."""
    dealt_with: list[Json] = []
    again = []
    start: str | int = "first"
    for take in (3, 4, 4):
        connection = connect(url)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        for method, properties, body in channel.consume(LOG, arguments={OFFSET: start}):
            dealt_with.append(body.decode())
            again.append(method.redelivered)
            start = properties.headers[OFFSET] + 1
            channel.basic_ack(method.delivery_tag)
            take -= 1
            if not take:
                break
        lose(connection)
    return {"dealt with": dealt_with, "redelivered": any(again), "next": start}


def given_back(url: str) -> Json:
    """Nack and reject make room like an ack, and bring nothing again."""

    def act() -> None:
        with connect(url) as connection:
            reader = Reader(connection, LOG, FIRST, prefetch=2)
            reader.wait_for(2)
            reader.channel.basic_nack(reader.tags["0"], requeue=True)
            reader.reject("1", requeue=True)
            reader.wait_for(4)
            watch([connection])
            bodies.extend(reader.bodies)

    bodies: list[Json] = []
    return [refusal(act), bodies]


def filtered(connection: pika.BlockingConnection, channel: Any) -> Json:
    """By a value, by several, with those that have none."""
    declare_stream(channel, FRUIT)
    for body, value in (("1", "apple"), ("2", "pear"), ("3", None), ("4", "plum"), ("5", "apple")):
        headers = {"x-stream-filter-value": value} if value else None
        confirmed(channel, FRUIT, body, headers=headers)
    wanted: dict[str, dict[str, Any]] = {
        "apple": {"x-stream-filter": "apple"},
        "apple and plum": {"x-stream-filter": ["plum", "apple"]},
        "apple and none": {"x-stream-filter": "apple", "x-stream-match-unfiltered": True},
        "from an offset": {"x-stream-filter": "apple", OFFSET: 1},
    }
    return {name: read(connection, FRUIT, "5", FIRST | arguments) for name, arguments in wanted.items()}


def not_there_yet(connection: pika.BlockingConnection, channel: Any) -> Json:
    """An offset beyond the end is waited for: what comes before it is not delivered."""
    reader = Reader(connection, FRUIT, {OFFSET: 7})
    confirmed(channel, FRUIT, "6", "7", "8", "9")
    bodies: list[Json] = [*reader.until("9")]
    reader.channel.close()
    return bodies


def with_a_queue(connection: pika.BlockingConnection, channel: Any) -> Json:
    """One exchange feeds a queue for the work and a stream for the record; a transaction comes with its commit."""
    channel.queue_delete(OTHER)
    declare_stream(channel, OTHER)
    channel.queue_declare(QUEUE)
    channel.exchange_declare(EXCHANGE, "topic")
    channel.queue_bind(OTHER, EXCHANGE, "order.#")
    channel.queue_bind(QUEUE, EXCHANGE, "order.new")
    for body, key in (("new", "order.new"), ("paid", "order.paid")):
        confirmed(channel, key, body, exchange=EXCHANGE)
    wait_ready(channel, QUEUE, 1)
    transaction = connection.channel()
    transaction.tx_select()
    transaction.basic_publish(EXCHANGE, "order.lost", b"rolled back")
    transaction.tx_rollback()
    for sent in (b"one", b"two", b"three"):
        transaction.basic_publish(EXCHANGE, "order.sent", sent)
    transaction.tx_commit()
    return {
        "queue": drain(channel, QUEUE),
        "stream": read(connection, OTHER, "three"),
    }


def deleted(url: str, channel: Any) -> Json:
    """The broker cancels its readers; a stream of the same name begins anew."""
    with connect(url) as connection:
        reader = Reader(connection, OTHER, FIRST)
        reader.until("three")
        channel.queue_delete(OTHER)
        serve([connection], lambda: reader.cancelled)
        declare_stream(channel, OTHER)
        confirmed(channel, OTHER, "anew")
        again = Reader(connection, OTHER, FIRST)
        return {"cancelled": reader.cancelled, "anew": [*again.until("anew"), *again.offsets]}


def refused(url: str) -> Json:
    def on_channel(act: Callable[[Any], Any]) -> Json:
        def connected() -> None:
            with connect(url) as connection:
                act(connection.channel())

        return refusal(connected)

    def consume(prefetch: int = 10, per_channel: bool = False, auto_ack: bool = False, **arguments: Any) -> Json:
        def act(channel: Any) -> None:
            if prefetch:
                channel.basic_qos(prefetch_count=prefetch)
            if per_channel:
                channel.basic_qos(prefetch_count=prefetch, global_qos=True)
            words = {word.replace("_", "-"): value for word, value in arguments.items()}
            channel.basic_consume(LOG, print, auto_ack=auto_ack, arguments=words)

        return on_channel(act)

    def declare(name: str = BAD, flags: dict[str, bool] | None = None, **arguments: Any) -> Json:
        words = {word.replace("_", "-"): value for word, value in arguments.items()}
        kept = {"durable": True} | (flags or {})
        return on_channel(lambda channel: channel.queue_declare(name, arguments=STREAM | words, **kept))

    return {
        "no prefetch": consume(prefetch=0),
        "no_ack": consume(auto_ack=True),
        "prefetch of the channel": consume(per_channel=True),
        "priority": consume(x_priority=1),
        "offset": consume(x_stream_offset="5"),
        "get": on_channel(lambda channel: channel.basic_get(LOG)),
        "purge": on_channel(lambda channel: channel.queue_purge(LOG)),
        "transient": declare(flags={"durable": False}),
        "exclusive": declare(flags={"exclusive": True}),
        "auto-delete": declare(flags={"auto_delete": True}),
        "server-named": declare(name=""),
        "ttl": declare(x_message_ttl=1000),
        "dead letters": declare(x_dead_letter_exchange=""),
        "max-length": declare(x_max_length=5),
        "age": declare(x_max_age="1 day"),
        "again as classic": on_channel(lambda channel: channel.queue_declare(LOG, durable=True)),
    }


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker.url))


def _seen(url: str) -> Json:
    with (
        scratch(url, queues=[LOG, OTHER, FRUIT, BAD, QUEUE], exchanges=[EXCHANGE]),
        connect(url) as connection,
    ):
        channel = connection.channel()
        channel.confirm_delivery()
        return {
            "beginnings": beginnings(connection, channel),
            "delivery": delivery(connection, channel),
            "two readers": two_readers(url, channel),
            "resumed": resumed(url),
            "given back": given_back(url),
            "filtered": filtered(connection, channel),
            "not there yet": not_there_yet(connection, channel),
            "with a queue": with_a_queue(connection, channel),
            "deleted": deleted(url, channel),
            "refused": refused(url),
        }


def numbers(first: int, end: int) -> list[Json]:
    return [str(number) for number in range(first, end)]


WHERE = f"queue '{LOG}' in vhost '/'"


def _not_for_streams(argument: str) -> Json:
    return precondition(f"invalid arg '{argument}' for queue '{BAD}' in vhost '/' of queue type rabbit_stream_queue")


def _not_implemented(text: str) -> Json:
    return ["connection", 540, f"NOT_IMPLEMENTED - {text}"]


EXPECTED: Json = {
    "beginnings": {
        "confirmed": ["ack"] * 6,
        "reads": {
            "first": numbers(0, 6),
            "offset": numbers(4, 6),
            "last": numbers(5, 6),
            "timestamp": numbers(3, 6),
            "long ago": numbers(0, 6),
            "age": numbers(3, 6),
            "long age": numbers(0, 6),
            "two back": numbers(4, 6),
            "next": ["6"],
            "nothing said": ["7"],
            "the next offset": ["8"],
            "a time to come": ["9"],
        },
    },
    "delivery": {
        "seen": {
            "offsets": [0, 1],
            "headers": {"mine": "yes", OFFSET: 1},
            "properties": ["text/plain", "m", 3],
            "redelivered": [False, False],
            "keys": [["", OTHER], ["", OTHER]],
        },
        "again the same": True,
    },
    "two readers": {
        "fast": numbers(0, 11),
        "slow": numbers(0, 2),
        "slow, after three acks": numbers(0, 5),
    },
    "resumed": {"dealt with": numbers(0, 11), "redelivered": False, "next": 11},
    "given back": [["accepted"], numbers(0, 4)],
    "filtered": {
        "apple": ["1", "5"],
        "apple and plum": ["1", "4", "5"],
        "apple and none": ["1", "3", "5"],
        "from an offset": ["5"],
    },
    "not there yet": ["8", "9"],
    "with a queue": {"queue": ["new"], "stream": ["new", "paid", "one", "two", "three"]},
    "deleted": {"cancelled": True, "anew": ["anew", 0]},
    "refused": {
        "no prefetch": precondition(f"consumer prefetch count is not set for '{WHERE}'"),
        "no_ack": _not_implemented(f"automatic acknowledgement not supported by stream queues {WHERE}"),
        "prefetch of the channel": _not_implemented(f"{WHERE} does not support global qos"),
        "priority": precondition(f"invalid arg 'x-priority' for {WHERE} of queue type rabbit_stream_queue"),
        "offset": bad_argument(OFFSET, LOG, '{invalid_stream_offset_arg,{longstr,<<"5">>}}'),
        "get": _not_implemented(f"basic.get not supported by stream queues {WHERE}"),
        "purge": _not_implemented(f"queue.purge not supported by stream queues {WHERE}"),
        "transient": precondition(f"invalid property 'non-durable' for queue '{BAD}' in vhost '/'"),
        "exclusive": precondition(f"invalid property 'exclusive-owner' for queue '{BAD}' in vhost '/'"),
        "auto-delete": precondition(f"invalid property 'auto-delete' for queue '{BAD}' in vhost '/'"),
        "server-named": precondition("Cannot declare a server-named queue for type rabbit_stream_queue"),
        "ttl": _not_for_streams("x-message-ttl"),
        "dead letters": _not_for_streams("x-dead-letter-exchange"),
        "max-length": _not_for_streams("x-max-length"),
        "age": bad_argument("x-max-age", BAD, "invalid_max_age"),
        "again as classic": precondition(
            f"inequivalent arg 'x-queue-type' for {WHERE}: "
            "received none but current is the value 'stream' of type 'longstr'"
        ),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
