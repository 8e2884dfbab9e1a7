"""py-amqp used directly: confirms, returns, get, consume, qos, recover, transactions and its exceptions."""

import datetime as dt
import decimal
import urllib.parse
from collections.abc import Callable
from typing import Any

import amqp
import amqp.exceptions

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE, EXCHANGE, INNER = "interop.py_amqp", "interop.py_amqp_x", "interop.py_amqp_inner"
WAIT = 10
HEADERS = {
    "none": None,
    "list": [None, [1, "two"], True],
    "table": {"deep": {"er": 1.5}},
    "big": 2**40,
    "money": decimal.Decimal("12.34"),
    "at": dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC).replace(tzinfo=None),  # py-amqp reads times without a zone
}


def run(broker: Broker) -> Json:
    parts = urllib.parse.urlsplit(broker.url)
    with (
        scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE, INNER]),
        amqp.Connection(
            f"{parts.hostname}:{parts.port or 5672}",
            parts.username or "guest",
            parts.password or "guest",
            virtual_host=broker.vhost,
            confirm_publish=True,
            heartbeat=20,
        ) as connection,
    ):
        return {story.__name__: story(connection) for story in (publish_and_get, consume, transaction, errors)}


def publish_and_get(connection: Any) -> Json:
    channel = connection.channel()
    declared = channel.queue_declare(QUEUE, durable=True, auto_delete=False)
    for name in (EXCHANGE, INNER):
        channel.exchange_declare(name, "topic", auto_delete=False)
    channel.exchange_bind(INNER, EXCHANGE, "#.end")
    channel.queue_bind(QUEUE, INNER, "a.*.end")
    returned: list[Any] = []
    channel.events["basic_return"].add(
        lambda error, exchange, key, _: returned.append([error.reply_code, exchange, key])
    )
    sent = amqp.Message("body", delivery_mode=2, priority=3, correlation_id="c", application_headers=HEADERS)
    channel.basic_publish(sent, EXCHANGE, "a.b.end", mandatory=True)
    channel.basic_publish(amqp.Message("nowhere"), EXCHANGE, "a.b", mandatory=True)
    got = channel.basic_get(QUEUE)
    channel.basic_reject(got.delivery_tag, requeue=True)
    again = channel.basic_get(QUEUE, no_ack=True)
    return {
        "declared": list(declared),
        "returned": returned,
        "properties": [got.properties[name] for name in ("delivery_mode", "priority", "correlation_id")],
        "headers": {name: got.headers[name] == value for name, value in HEADERS.items()},
        "again": [again.body, again.delivery_info["redelivered"]],
        "empty": channel.basic_get(QUEUE),
    }


def consume(connection: Any) -> Json:
    channel = connection.channel()
    taken: list[Any] = []
    channel.basic_qos(0, 2, a_global=True)
    tag = channel.basic_consume(QUEUE, callback=taken.append)
    for number in range(4):
        channel.basic_publish(amqp.Message(str(number)), routing_key=QUEUE)
    _drain(connection, taken, 2)
    channel.basic_qos(0, 3, a_global=True)  # what Celery does: the running consumer gets one more
    _drain(connection, taken, 3)
    channel.basic_recover(requeue=True)
    _drain(connection, taken, 6)
    bodies = [[message.body, message.delivery_info["redelivered"]] for message in taken]
    channel.basic_ack(taken[-1].delivery_tag, multiple=True)
    _drain(connection, taken, 7)
    channel.basic_ack(taken[-1].delivery_tag)
    channel.basic_cancel(tag)
    left = channel.queue_declare(QUEUE, passive=True)
    channel.close()
    return {"taken": bodies, "last": taken[-1].body, "left": [left.message_count, left.consumer_count]}


def _drain(connection: Any, taken: list[Any], count: int) -> None:
    while len(taken) < count:
        connection.drain_events(timeout=WAIT)  # raises TimeoutError


def transaction(connection: Any) -> Json:
    # basic_publish of this connection turns confirms on, and a channel that confirms cannot be transactional.
    channel = connection.channel()
    channel.tx_select()
    channel._basic_publish(amqp.Message("dropped"), routing_key=QUEUE)
    channel.tx_rollback()
    channel._basic_publish(amqp.Message("kept"), routing_key=QUEUE)
    channel.tx_commit()
    bodies = [channel.basic_get(QUEUE, no_ack=True).body, channel.basic_get(QUEUE)]
    channel.close()
    return bodies


def errors(connection: Any) -> Json:
    acts: dict[str, Callable[[Any], Any]] = {
        "no such queue": lambda channel: channel.queue_declare("interop.no_such", passive=True),
        "declared otherwise": lambda channel: channel.queue_declare(QUEUE, durable=False, auto_delete=False),
        "reserved name": lambda channel: channel.queue_declare("amq.mine"),
    }
    seen: dict[str, Any] = {}
    for name, act in acts.items():
        try:
            act(connection.channel())
        except amqp.exceptions.ChannelError as error:
            seen[name] = [type(error).__name__, error.reply_code, error.reply_text, error.method_name]
    return seen | {"connection open": connection.connected}


INEQUIVALENT = (
    f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{QUEUE}' in vhost '/': "
    "received 'false' but current is 'true'"
)
RESERVED = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
EXPECTED: Json = {
    "publish_and_get": {
        "declared": [QUEUE, 0, 0],
        "returned": [[312, EXCHANGE, "a.b"]],
        "properties": [2, 3, "c"],
        "headers": dict.fromkeys(HEADERS, True),
        "again": ["body", True],
        "empty": None,
    },
    "consume": {
        "taken": [["0", False], ["1", False], ["2", False], ["0", True], ["1", True], ["2", True]],
        "last": "3",
        "left": [0, 0],
    },
    "transaction": ["kept", None],
    "errors": {
        "no such queue": ["NotFound", 404, "NOT_FOUND - no queue 'interop.no_such' in vhost '/'", "Queue.declare"],
        "declared otherwise": ["PreconditionFailed", 406, INEQUIVALENT, "Queue.declare"],
        "reserved name": ["AccessRefused", 403, RESERVED, "Queue.declare"],
        "connection open": True,
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
