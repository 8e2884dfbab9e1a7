"""basic.get, where requeued messages go, basic.recover and the redelivered flag."""

from typing import Any

import pika

from interop.blocking import connect, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import wait_ready

QUEUE = "interop.get"


def fill(channel: Any) -> None:
    channel.queue_purge(QUEUE)
    for number in range(5):
        channel.basic_publish("", QUEUE, str(number).encode())


def contents(channel: Any) -> list[Json]:
    """Empty the queue; a message that was delivered before is marked."""
    bodies: list[Json] = []
    while True:
        method, _properties, body = channel.basic_get(QUEUE, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body.decode() + (" again" if method.redelivered else ""))


def plain_get(channel: Any) -> Json:
    empty = channel.basic_get(QUEUE)
    fill(channel)
    answers: list[Json] = []
    for auto_ack in (True, False, True):
        method, _properties, body = channel.basic_get(QUEUE, auto_ack=auto_ack)
        answers.append([method.delivery_tag, method.message_count, method.exchange, method.routing_key, body.decode()])
    unacked_not_counted = ready_count(channel, QUEUE)
    purged = channel.queue_purge(QUEUE).method.message_count
    channel.basic_nack(2)
    return {
        "empty": [empty[0] is None, empty[2] is None],
        "answers": answers,
        "ready": unacked_not_counted,
        "purged": purged,
        "unacked survives the purge": contents(channel),
    }


def requeue_positions(connection: pika.BlockingConnection) -> Json:
    """A requeued message goes back to where it was, in whatever order they come back."""
    channel = connection.channel()
    fill(channel)
    tags = [channel.basic_get(QUEUE)[0].delivery_tag for _ in range(3)]
    channel.basic_reject(tags[2], requeue=True)
    channel.basic_reject(tags[0], requeue=True)
    one_still_out = contents(channel)
    channel.basic_nack(tags[1], requeue=True)
    last = contents(channel)
    fill(channel)
    tag = [channel.basic_get(QUEUE)[0].delivery_tag for _ in range(4)][-1]
    channel.basic_nack(tag, multiple=True, requeue=True)
    multiple = contents(channel)
    fill(channel)
    channel.basic_get(QUEUE)
    channel.basic_nack(0, multiple=True, requeue=False)
    dropped = contents(channel)
    return {"rejects": one_still_out, "then": last, "multiple": multiple, "dropped": dropped}


def returned_by_close(connection: pika.BlockingConnection) -> Json:
    channel, other = connection.channel(), connection.channel()
    fill(channel)
    wait_ready(channel, QUEUE, 5)  # Nothing orders one channel's gets behind another's publishes.
    for _ in range(3):
        other.basic_get(QUEUE)
    other.close()
    return contents(channel)


def recover(connection: pika.BlockingConnection) -> Json:
    channel = connection.channel()
    fill(channel)
    for _ in range(3):
        channel.basic_get(QUEUE)
    channel.basic_recover(requeue=True)
    return contents(channel)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        seen: dict[str, Json] = {
            "get": plain_get(channel),
            "requeue": requeue_positions(connection),
            "channel close": returned_by_close(connection),
            "recover": recover(connection),
        }
        seen["nothing outstanding"] = refusal(lambda: channel.basic_recover(requeue=True))
    with connect(broker.url) as connection:
        seen["recover without requeue"] = refusal(lambda: connection.channel().basic_recover(requeue=False))
        return seen


EXPECTED: Json = {
    "get": {
        "empty": [True, True],
        "answers": [[1, 4, "", QUEUE, "0"], [2, 3, "", QUEUE, "1"], [3, 2, "", QUEUE, "2"]],
        "ready": 2,
        "purged": 2,
        "unacked survives the purge": ["1 again"],
    },
    "requeue": {
        "rejects": ["0 again", "2 again", "3", "4"],
        "then": ["1 again"],
        "multiple": ["0 again", "1 again", "2 again", "3 again", "4"],
        "dropped": ["1", "2", "3", "4"],
    },
    "channel close": ["0 again", "1 again", "2 again", "3", "4"],
    "recover": ["0 again", "1 again", "2 again", "3", "4"],
    "nothing outstanding": ["accepted"],
    "recover without requeue": ["connection", 540, "NOT_IMPLEMENTED - requeue=false"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
