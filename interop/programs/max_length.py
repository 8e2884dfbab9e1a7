"""x-max-length and x-max-length-bytes with drop-head: the oldest ready messages go, unacked ones do not count."""

import struct
from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.conformance.codec import BODY, HEADER, METHOD, METHODS, encode_arguments, encode_properties, frame
from interop.field_types import raw_client
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, confirmed, get_soon, wait_ready, watch

THREE, BYTES, BOTH, NONE = "interop.max", "interop.max_bytes", "interop.max_both", "interop.max_none"
DEAD = "interop.max_dead"
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES = {
    DEAD: {},
    THREE: {"x-max-length": 3} | DLX,
    BYTES: {"x-max-length-bytes": 10} | DLX,
    BOTH: {"x-max-length": 3, "x-max-length-bytes": 10, "x-overflow": "drop-head"},
    NONE: {"x-max-length": 0} | DLX,
}


def by_count(channel: Any) -> Json:
    """Five into a queue for three: all are acked, the two oldest die of it."""
    heard = confirmed(channel, THREE, "1", "2", "3", "4", "5")
    wait_ready(channel, DEAD, 2)
    return {"heard": heard, "left": drain(channel, THREE), "dead": drain(channel, DEAD)}


def by_bytes(channel: Any) -> Json:
    """Only bodies count; one message too large for the limit empties the queue and goes, too."""
    confirmed(channel, BYTES, "1" * 4, "2" * 4, message_id="not counted" * 10)
    fits = ready_count(channel, BYTES)
    confirmed(channel, BYTES, "3" * 4)
    wait_ready(channel, DEAD, 1)
    confirmed(channel, BYTES, "")
    after_empty_body = ready_count(channel, BYTES)
    told: dict[str, Json] = {"fits": fits, "dead": drain(channel, DEAD), "an empty body fits": after_empty_body}
    heard = confirmed(channel, BYTES, "4" * 11)
    wait_ready(channel, DEAD, 4)
    return told | {"too large": heard, "left": drain(channel, BYTES), "dead of it": drain(channel, DEAD)}


def by_both(channel: Any) -> Json:
    confirmed(channel, BOTH, "1", "2", "3", "4")
    count = ready_count(channel, BOTH)
    confirmed(channel, BOTH, "5" * 9)
    return {"count": count, "bytes": drain(channel, BOTH)}


def unacked_do_not_count(channel: Any) -> Json:
    """Three unacked, three more fit; the requeue is over the limit, and again the oldest go."""
    confirmed(channel, THREE, "1", "2", "3")
    tags = [channel.basic_get(THREE)[0].delivery_tag for _ in range(3)]
    confirmed(channel, THREE, "4", "5", "6")
    ready: list[Json] = [ready_count(channel, THREE), ready_count(channel, DEAD)]
    channel.basic_nack(tags[1], multiple=True, requeue=True)
    wait_ready(channel, DEAD, 2)
    channel.basic_ack(tags[2])
    return {"ready": ready, "left": drain(channel, THREE), "dead": drain(channel, DEAD)}


def with_a_consumer(url: str, channel: Any) -> Json:
    """What a consumer takes leaves room; 0 is for a consumer that waits."""
    with connect(url) as connection:
        inbox = Inbox(connection, THREE, prefetch=2)
        confirmed(channel, THREE, "1", "2", "3", "4", "5", "6")
        inbox.wait_for(2)
        wait_ready(channel, DEAD, 1)
        first = drain(channel, DEAD)
        inbox.ack("1")
        inbox.wait_for(3)
        three: list[Json] = [*inbox.bodies]
    returned = get_soon(channel, DEAD)[2]  # 2 and 4 came back when the connection ended, one too many.
    left = drain(channel, THREE)
    with connect(url) as connection:
        alone = confirmed(channel, NONE, "nobody waits")
        dead = [get_soon(channel, DEAD)[2]]
        inbox = Inbox(connection, NONE, prefetch=1)
        heard = confirmed(channel, NONE, "1", "2")
        inbox.wait_for(1)
        dead.append(get_soon(channel, DEAD)[2])
        watch([connection])
        none: dict[str, Json] = {"heard": alone + heard, "delivered": [*inbox.bodies], "dead": dead}
        return {"delivered": three, "dead": [*first, returned], "left": left, "room for none": none}


def got_at_once(url: str) -> Json:
    """Publishes and a get in one write: what is over the limit is gone before the get sees it."""
    with raw_client(url) as client:
        channel = client.channel()
        publishes = b"".join(frames_of_publish(channel.number, THREE, b"%d" % number) for number in range(5))
        get = encode_arguments(METHODS["basic.get"], {"queue": THREE, "no_ack": True})
        client.send_bytes(publishes + frame(METHOD, channel.number, get))
        got = channel.message("basic.get-ok")
        return [got.body.decode(), got.method["message_count"]]


def frames_of_publish(channel: int, queue: str, body: bytes) -> bytes:
    publish = encode_arguments(METHODS["basic.publish"], {"routing_key": queue})
    header = struct.pack(">HHQ", 60, 0, len(body)) + encode_properties({})
    return b"".join(frame(kind, channel, part) for kind, part in ((METHOD, publish), (HEADER, header), (BODY, body)))


def refused(connection: pika.BlockingConnection) -> Json:
    def declare_with(**arguments: Any) -> Json:
        named = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        return refusal(lambda: connection.channel().queue_declare("interop.max_bad", arguments=named))

    return {
        "negative": declare_with(max_length=-1),
        "text": declare_with(max_length="3"),
        "negative bytes": declare_with(max_length_bytes=-1),
        "overflow": declare_with(overflow="drop-tail"),
    }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        return {
            "count": by_count(channel),
            "bytes": by_bytes(channel),
            "both": by_both(channel),
            "unacked": unacked_do_not_count(channel),
            "consumer": with_a_consumer(broker.url, channel),
            "get at once": got_at_once(broker.url),
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "count": {"heard": ["ack", "ack", "ack", "ack", "ack"], "left": ["3", "4", "5"], "dead": ["1", "2"]},
    "bytes": {
        "fits": 2,
        "dead": ["1111"],
        "an empty body fits": 3,
        "too large": ["ack"],
        "left": [],
        "dead of it": ["2222", "3333", "", "44444444444"],
    },
    "both": {"count": 3, "bytes": ["4", "555555555"]},
    "unacked": {"ready": [3, 0], "left": ["4", "5", "6"], "dead": ["1", "2"]},
    "consumer": {
        "delivered": ["1", "2", "4"],
        "dead": ["3", "2"],
        "left": ["4", "5", "6"],
        "room for none": {"heard": ["ack", "ack", "ack"], "delivered": ["1"], "dead": ["nobody waits", "2"]},
    },
    "get at once": ["2", 2],
    "refused": {
        "negative": bad_argument("x-max-length", "interop.max_bad", "{value_negative,-1}"),
        "text": bad_argument("x-max-length", "interop.max_bad", '"expected integer, got longstr"'),
        "negative bytes": bad_argument("x-max-length-bytes", "interop.max_bad", "{value_negative,-1}"),
        "overflow": bad_argument("x-overflow", "interop.max_bad", "invalid_overflow"),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
