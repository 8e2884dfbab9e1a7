"""Life cycles of auto-delete queues and exchanges."""

from interop.blocking import connect, exchange_exists, queue_exists, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

CONSUMED, NEVER_CONSUMED, DROPPED = "interop.ad_consumed", "interop.ad_never", "interop.ad_dropped"
BOUND, NEVER_BOUND, TARGET = "interop.ad_bound", "interop.ad_never_bound", "interop.ad_target"


def queue_life(url: str) -> Json:
    seen: dict[str, Json] = {}
    with connect(url) as one, connect(url) as two:
        first, second = one.channel(), two.channel()
        for name in (CONSUMED, NEVER_CONSUMED, DROPPED):
            first.queue_declare(name, auto_delete=True)
        first.basic_publish("", NEVER_CONSUMED, b"x")
        first.basic_get(NEVER_CONSUMED, auto_ack=True)
        seen["a get does not count as a consumer"] = queue_exists(one, NEVER_CONSUMED)
        tag = first.basic_consume(CONSUMED, print)
        second.basic_consume(CONSUMED, print)
        first.basic_cancel(tag)
        seen["one consumer left"] = queue_exists(one, CONSUMED)
        second.close()
        seen["last consumer's channel closed"] = queue_exists(one, CONSUMED)
        two.channel().basic_consume(DROPPED, print)
        two.close()
        seen["last consumer's connection closed"] = queue_exists(one, DROPPED)
        seen["never consumed"] = queue_exists(one, NEVER_CONSUMED)
    with connect(url) as later:
        seen["never consumed, its declarer gone"] = queue_exists(later, NEVER_CONSUMED)
    return seen


def exchange_life(url: str) -> Json:
    seen: dict[str, Json] = {}
    with connect(url) as connection:
        channel = connection.channel()
        for name in (BOUND, NEVER_BOUND):
            channel.exchange_declare(name, "direct", auto_delete=True)
        channel.exchange_declare(TARGET, "fanout")
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, BOUND, "one")
        channel.exchange_bind(TARGET, BOUND, "two")
        channel.queue_unbind(queue, BOUND, "one")
        seen["one binding left"] = exchange_exists(connection, BOUND)
        channel.exchange_unbind(TARGET, BOUND, "two")
        seen["last binding gone"] = exchange_exists(connection, BOUND)
        channel.exchange_declare(BOUND, "direct", auto_delete=True)
        channel.queue_bind(queue, BOUND, "one")
        channel.queue_delete(queue)
        seen["last bound queue deleted"] = exchange_exists(connection, BOUND)
        seen["never bound"] = exchange_exists(connection, NEVER_BOUND)
    return seen


def run(broker: Broker) -> Json:
    queues, exchanges = [CONSUMED, NEVER_CONSUMED, DROPPED], [BOUND, NEVER_BOUND, TARGET]
    with scratch(broker.url, queues=queues, exchanges=exchanges):
        return {"queues": queue_life(broker.url), "exchanges": exchange_life(broker.url)}


EXPECTED: Json = {
    "queues": {
        "a get does not count as a consumer": True,
        "one consumer left": True,
        "last consumer's channel closed": False,
        "last consumer's connection closed": False,
        "never consumed": True,
        "never consumed, its declarer gone": True,
    },
    "exchanges": {
        "one binding left": True,
        "last binding gone": False,
        "last bound queue deleted": False,
        "never bound": True,
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
