"""tx.select, tx.commit and tx.rollback over publishes and acks."""

from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.tx"


def publishes(connection: pika.BlockingConnection) -> Json:
    channel, watcher = connection.channel(), connection.channel()
    channel.tx_select()
    channel.tx_select()  # A second select is no error.
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", QUEUE, b"one", persistent)
    channel.basic_publish("", QUEUE, b"two", persistent)
    channel.queue_declare(QUEUE, passive=True)
    before = ready_count(watcher, QUEUE)
    channel.tx_commit()
    committed = drain(watcher, QUEUE)
    channel.basic_publish("", QUEUE, b"three", persistent)
    channel.tx_rollback()
    rolled_back = drain(watcher, QUEUE)
    channel.basic_publish("", QUEUE, b"four", persistent)
    channel.close()
    return {
        "before commit": before,
        "committed": committed,
        "rolled back": rolled_back,
        "closed without commit": drain(watcher, QUEUE),
    }


def acks(connection: pika.BlockingConnection) -> Json:
    channel, watcher = connection.channel(), connection.channel()
    for body in (b"a", b"b", b"c"):
        watcher.basic_publish("", QUEUE, body)
    watcher.queue_declare(QUEUE, passive=True)
    channel.tx_select()
    tags = [channel.basic_get(QUEUE)[0].delivery_tag for _ in range(3)]
    channel.basic_ack(tags[0])
    channel.tx_commit()
    channel.basic_ack(tags[1])
    channel.tx_rollback()
    channel.basic_ack(tags[1])  # Rolled back, so it can be acked again.
    channel.tx_commit()
    channel.basic_reject(tags[2], requeue=True)
    before = ready_count(watcher, QUEUE)
    channel.tx_commit()
    return {"before commit": before, "after the rejected one came back": drain(watcher, QUEUE)}


def returns(connection: pika.BlockingConnection) -> Json:
    """A mandatory message that cannot be routed comes back with the commit."""
    returned: list[Json] = []

    def on_return(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        returned.append([method.reply_code, method.reply_text, body.decode()])

    channel = connection.channel()
    channel.add_on_return_callback(on_return)
    channel.tx_select()
    channel.basic_publish("", "interop.nowhere", b"lost", mandatory=True)
    channel.queue_declare(QUEUE, passive=True)
    connection.process_data_events(0)
    before = list(returned)
    channel.tx_commit()
    connection.process_data_events(0)
    return {"before commit": before, "after": returned}


def refusals(connection: pika.BlockingConnection) -> Json:
    def commit_without_select() -> None:
        connection.channel().tx_commit()

    def rollback_without_select() -> None:
        connection.channel().tx_rollback()

    def confirm_after_tx() -> None:
        channel = connection.channel()
        channel.tx_select()
        channel.confirm_delivery()

    def tx_after_confirm() -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.tx_select()

    def publish_to_missing_exchange() -> None:
        channel = connection.channel()
        channel.tx_select()
        channel.basic_publish("interop.no_such", "x", b"x")
        channel.queue_declare(QUEUE, passive=True)

    tries = [
        commit_without_select,
        rollback_without_select,
        confirm_after_tx,
        tx_after_confirm,
        publish_to_missing_exchange,
    ]
    return {attempt.__name__: refusal(attempt) for attempt in tries}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        connection.channel().queue_declare(QUEUE, durable=True)
        return {
            "publishes": publishes(connection),
            "acks": acks(connection),
            "returns": returns(connection),
            "refusals": refusals(connection),
        }


EXPECTED: Json = {
    "publishes": {
        "before commit": 0,
        "committed": ["one", "two"],
        "rolled back": [],
        "closed without commit": [],
    },
    "acks": {"before commit": 0, "after the rejected one came back": ["c"]},
    "returns": {"before commit": [], "after": [[312, "NO_ROUTE", "lost"]]},
    "refusals": {
        "commit_without_select": ["channel", 406, "PRECONDITION_FAILED - channel is not transactional"],
        "rollback_without_select": ["channel", 406, "PRECONDITION_FAILED - channel is not transactional"],
        "confirm_after_tx": ["channel", 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"],
        "tx_after_confirm": ["channel", 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"],
        "publish_to_missing_exchange": [
            "channel",
            404,
            "NOT_FOUND - no exchange 'interop.no_such' in vhost '/'",
        ],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
