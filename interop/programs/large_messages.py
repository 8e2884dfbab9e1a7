"""Bodies of many frames: 200 KiB to 10 MiB, through connections with different and odd frame sizes."""

import hashlib
import random
from typing import Any

import pika

from interop.blocking import connect, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.large"
# A body frame carries frame_max - 8 octets, so these sizes end at a frame's edge and beside it.
EDGES = [131064 * 2 - 1, 131064 * 2, 131064 * 2 + 1]
SIZES = [0, 1, 200 * 1024, *EDGES, 1 << 20, 10 << 20]
FRAME_SIZES = [4096, 4097, 65537, 131072]


def bodies() -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in SIZES]


def through_get(url: str, frame_max: int) -> list[Json]:
    """Publish with one frame size and get with the default one, then the other way round."""
    with connect(url, frame_max=frame_max) as odd, connect(url) as plain:
        ways = [(odd.channel(), plain.channel()), (plain.channel(), odd.channel())]
        return [_intact(sender, receiver, body) for sender, receiver in ways for body in bodies()]


def _intact(sender: Any, receiver: Any, body: bytes) -> bool:
    properties = pika.BasicProperties(headers={"sha256": hashlib.sha256(body).hexdigest()})
    sender.confirm_delivery()
    sender.basic_publish("", QUEUE, body, properties)
    _method, received, payload = receiver.basic_get(QUEUE, auto_ack=True)
    same: bool = received.headers["sha256"] == hashlib.sha256(payload).hexdigest()
    return same and len(payload) == len(body)


def through_consumer(url: str) -> list[Json]:
    """All sizes at once to a consumer; small ones come between the large ones, in order."""
    sizes: list[Json] = []
    with connect(url) as sender, connect(url) as receiver:

        def on_message(_channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
            sizes.append(len(body))

        receiver.channel().basic_consume(QUEUE, on_message, auto_ack=True)
        channel = sender.channel()
        for body in bodies():
            channel.basic_publish("", QUEUE, body, pika.BasicProperties(delivery_mode=2))
            channel.basic_publish("", QUEUE, b"small")
        wait_until(receiver, lambda: len(sizes) == 2 * len(SIZES))
    return sizes


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        connection.channel().queue_declare(QUEUE, durable=True)
        return {
            "intact": {str(frame_max): through_get(broker.url, frame_max) for frame_max in FRAME_SIZES},
            "consumed": through_consumer(broker.url),
        }


EXPECTED: Json = {
    "intact": {str(frame_max): [True] * (2 * len(SIZES)) for frame_max in FRAME_SIZES},
    "consumed": [length for size in SIZES for length in (size, len(b"small"))],
}

if __name__ == "__main__":
    main(run, EXPECTED)
