"""x-overflow reject-publish and reject-publish-dlx: a full queue refuses, and the publisher hears of it."""

from typing import Any

import pika
import pika.exceptions

from interop.blocking import connect, drain, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import A_WHILE, Inbox, confirmed, death_counts, get_soon, wait_ready, watch

REJECT, TO_DLX, BYTES = "interop.full", "interop.full_dlx", "interop.full_bytes"
NONE, OTHER, DEAD = "interop.full_none", "interop.full_other", "interop.full_dead"
EXCHANGE = "interop.full_x"
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES = {
    DEAD: {},
    OTHER: {},
    REJECT: {"x-max-length": 2, "x-overflow": "reject-publish"} | DLX,
    TO_DLX: {"x-max-length": 2, "x-overflow": "reject-publish-dlx"} | DLX,
    BYTES: {"x-max-length-bytes": 10, "x-overflow": "reject-publish"},
    NONE: {"x-max-length": 0, "x-overflow": "reject-publish"},
}


def reject_publish(channel: Any) -> Json:
    """The refused message is not dead-lettered; a get makes room for the next one."""
    heard = confirmed(channel, REJECT, "1", "2", "3", "4")
    taken = channel.basic_get(REJECT)
    heard += confirmed(channel, REJECT, "5", "6")  # The unacked one does not count.
    channel.basic_nack(taken[0].delivery_tag, requeue=True)  # Over the limit now; no requeued message is refused.
    wait_ready(channel, REJECT, 3)
    heard += confirmed(channel, REJECT, "7")
    channel.connection.sleep(A_WHILE)
    return {"heard": heard, "left": drain(channel, REJECT), "dead": drain(channel, DEAD)}


def reject_publish_dlx(channel: Any) -> Json:
    """The refused message goes to the dead letter exchange, and the publisher hears nack all the same."""
    heard = confirmed(channel, TO_DLX, "1", "2", "3")
    _method, properties, body = get_soon(channel, DEAD)
    return {"heard": heard, "left": drain(channel, TO_DLX), "dead": [body, *death_counts(properties)]}


def without_confirms(connection: pika.BlockingConnection) -> Json:
    """Nobody is told, the message is refused in the same way."""
    channel = connection.channel()
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", REJECT, body)
    return drain(channel, REJECT)


def by_bytes(channel: Any) -> Json:
    """Refused is what would not fit; a smaller message still may."""
    heard = confirmed(channel, BYTES, "1" * 9, "2" * 9, "3")
    return {"heard": heard, "left": drain(channel, BYTES)}


def one_of_two_queues(channel: Any) -> Json:
    """One nack for the whole publish if any of its queues refuses; the other queue has got it."""
    for queue in (REJECT, OTHER):
        channel.queue_bind(queue, EXCHANGE)
    heard = confirmed(channel, "", "1", "2", "3", exchange=EXCHANGE)
    return {"heard": heard, "full": drain(channel, REJECT), "other": drain(channel, OTHER)}


def mandatory_is_routed(channel: Any) -> Json:
    """A full queue is a route: a mandatory message is nacked, not returned."""
    confirmed(channel, REJECT, "1", "2")
    try:
        channel.basic_publish("", REJECT, b"3", mandatory=True)
    except pika.exceptions.NackError as error:
        return ["nack", [message.body.decode() for message in error.messages], drain(channel, REJECT)]
    return "ack"


def zero(url: str, channel: Any) -> Json:
    """Room for none refuses everything, whoever waits."""
    heard = confirmed(channel, NONE, "nobody waits")
    with connect(url) as connection:
        inbox = Inbox(connection, NONE, prefetch=1)
        heard += confirmed(channel, NONE, "1", "2")
        watch([connection])
        return {"heard": heard, "delivered": [*inbox.bodies]}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES], exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(EXCHANGE, "fanout")
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        return {
            "reject-publish": reject_publish(channel),
            "reject-publish-dlx": reject_publish_dlx(channel),
            "without confirms": without_confirms(connection),
            "bytes": by_bytes(channel),
            "one of two queues": one_of_two_queues(channel),
            "mandatory": mandatory_is_routed(channel),
            "zero": zero(broker.url, channel),
        }


EXPECTED: Json = {
    "reject-publish": {
        "heard": ["ack", "ack", "nack", "nack", "ack", "nack", "nack"],
        "left": ["1", "2", "5"],
        "dead": [],
    },
    "reject-publish-dlx": {
        "heard": ["ack", "ack", "nack"],
        "left": ["1", "2"],
        "dead": ["3", "interop.full_dlx maxlen 1"],
    },
    "without confirms": ["1", "2"],
    "bytes": {"heard": ["ack", "nack", "ack"], "left": ["111111111", "3"]},
    "one of two queues": {"heard": ["ack", "ack", "nack"], "full": ["1", "2"], "other": ["1", "2", "3"]},
    "mandatory": ["nack", [], ["1", "2"]],
    "zero": {"heard": ["nack", "nack", "nack"], "delivered": []},
}

if __name__ == "__main__":
    main(run, EXPECTED)
