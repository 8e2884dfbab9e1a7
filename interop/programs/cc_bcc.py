"""Sender-selected distribution: CC and BCC headers add routing keys; receivers do not see BCC."""

from typing import Any

import pika

from interop.blocking import connect, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EXCHANGE = "interop.cc"


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "direct")
        queues = {}
        for key in ("to", "cc1", "cc2", "bcc"):
            queues[key] = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queues[key], EXCHANGE, key)
        headers = {"CC": ["cc1", "cc2", "to", "unbound"], "BCC": ["bcc", "cc1"], "other": "kept"}
        properties = pika.BasicProperties(headers=headers, content_type="text/plain", message_id="m1")
        channel.basic_publish(EXCHANGE, "to", b"letter", properties)
        received: dict[str, Json] = {key: _received(channel, queue) for key, queue in queues.items()}
        by_default = pika.BasicProperties(headers={"CC": [queues["cc1"]], "BCC": [queues["bcc"]]})
        channel.basic_publish("", queues["to"], b"by the default exchange", by_default)
        default = {key: [letter[2] for letter in _received(channel, queue)] for key, queue in queues.items()}

        def publish_with(headers: dict[str, Any]) -> Json:
            def publish() -> None:
                other = connection.channel()
                other.basic_publish(EXCHANGE, "to", b"x", pika.BasicProperties(headers=headers))
                other.queue_declare(queues["to"], passive=True)

            return refusal(publish)

        bad = [publish_with({"CC": "not a list"}), publish_with({"BCC": 1})]
        return {"received": received, "default exchange": default, "not a list": bad}


def _received(channel: Any, queue: str) -> list[Any]:
    letters: list[Any] = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return letters
        letters.append([method.routing_key, properties.headers, body.decode(), properties.message_id])


def _refused(what: str) -> Json:
    return ["channel", 406, f"PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,{what}}}"]


_LETTER: Json = [["to", {"CC": ["cc1", "cc2", "to", "unbound"], "other": "kept"}, "letter", "m1"]]
EXPECTED: Json = {
    "received": {"to": _LETTER, "cc1": _LETTER, "cc2": _LETTER, "bcc": _LETTER},
    "default exchange": {
        "to": ["by the default exchange"],
        "cc1": ["by the default exchange"],
        "cc2": [],
        "bcc": ["by the default exchange"],
    },
    "not a list": [_refused('"CC",longstr'), _refused('"BCC",signedint')],
}

if __name__ == "__main__":
    main(run, EXPECTED)
