"""The delayed exchange as code for RabbitMQ's plugin uses it: each type it routes by, what delays and what does not."""

import time
from typing import Any

import pika

from interop.blocking import connect, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.conformance.codec import Typed
from interop.delaying import KIND, TOLERANCE_SECONDS, Clock, declare_delayed, delay
from interop.field_types import raw_client, typed_headers
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import watch

EXCHANGE, QUEUE, SECOND = "interop.delayed_x", "interop.delayed_q", "interop.delayed_second"
DELAYS = {"third": 600, "first": 200, "second": 400}  # ms
# For each type: the key and arguments of a binding, and keys that it takes and leaves.
BINDINGS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "direct": ("a", {}, "a", "b"),
    "topic": ("a.*", {}, "a.b", "a"),
    "fanout": ("", {}, "any", ""),
    "headers": ("", {"x-match": "all", "kind": "wanted"}, "any", ""),
}


def routed(connection: pika.BlockingConnection, kind: str) -> Json:
    """Three delays, out of order, and for each a message that no binding takes."""
    key, arguments, taken, left = BINDINGS[kind]
    channel = connection.channel()
    declare_delayed(channel, EXCHANGE, kind)
    channel.queue_declare(QUEUE)
    channel.queue_bind(QUEUE, EXCHANGE, key, arguments)
    clock = Clock(connection, QUEUE)
    with within(min(DELAYS.values()) / 1000):  # they are as much apart when they are published at the same time
        for name, milliseconds in DELAYS.items():
            clock.publish(channel, EXCHANGE, taken, name, delay(milliseconds, kind="wanted"), milliseconds)
            if kind != "fanout":
                channel.basic_publish(EXCHANGE, left, b"not for this queue", delay(milliseconds, kind="other"))
        channel.basic_publish(EXCHANGE, taken, b"at once", pika.BasicProperties(headers={"kind": "wanted"}))
        ready_count(channel, QUEUE)  # Answered after all have been taken.
    clock.wait_for(4)
    watch([connection])
    channel.exchange_delete(EXCHANGE)
    channel.queue_delete(QUEUE)
    return {
        "order": clock.bodies,
        "early": clock.early,
        "seen": [(one.headers or {}).get("x-delay") for one in clock.properties],
    }


def at_once(connection: pika.BlockingConnection) -> Json:
    """Values that are no delay are routed as if there were none, with the header as it was."""
    channel = connection.channel()
    declare_delayed(channel, EXCHANGE, "fanout")
    channel.queue_declare(QUEUE)
    channel.queue_bind(QUEUE, EXCHANGE)
    channel.confirm_delivery()
    values: list[Any] = [0, -1, -5000, "", "soon", "-5", True, None, b"5 s", [5000], {"ms": 5000}]
    for value in values:
        channel.basic_publish(EXCHANGE, "", repr(value).encode(), delay(value))
    seen = ready_count(channel, QUEUE)
    intact = []
    for value in values:
        _method, properties, _body = channel.basic_get(QUEUE, auto_ack=True)
        intact.append(properties.headers["x-delay"] == value)
    return {"routed": seen == len(values), "intact": all(intact)}


def seen_by_consumers(broker: Broker, connection: pika.BlockingConnection) -> Json:
    """A delay of each type, through two delayed exchanges: the second does not delay again."""
    channel = connection.channel()
    declare_delayed(channel, SECOND, "fanout")
    channel.exchange_bind(SECOND, EXCHANGE)
    channel.queue_unbind(QUEUE, EXCHANGE)
    channel.queue_bind(QUEUE, SECOND)
    seen: dict[str, Json] = {}
    with raw_client(broker.url) as client:
        raw = client.channel()
        raw.call("basic.consume", queue=QUEUE, no_ack=True)
        for letter in "bBsuIilSfd":
            headers = {"before": Typed("B", 1), "x-delay": Typed(letter, "100" if letter == "S" else 100)}
            started = time.monotonic()
            raw.publish(EXCHANGE, "", b"", {"headers": headers})
            message = raw.message()
            waited = round((time.monotonic() - started) * 1000)
            assert waited >= 100 - TOLERANCE_SECONDS * 1000, f"{letter}: {waited} ms"
            seen[letter] = typed_headers(message)
    return seen


def refused(connection: pika.BlockingConnection) -> Json:
    def declare(**arguments: Any) -> Json:
        named = {word.replace("_", "-"): value for word, value in arguments.items()}
        return refusal(lambda: connection.channel().exchange_declare("interop.no_x", KIND, arguments=named))

    return {
        "no type": declare(),
        "unknown type": declare(x_delayed_type="interop.no_such"),
        "itself": declare(x_delayed_type=KIND),
        "no string": declare(x_delayed_type=5),
    }


def declared_again(connection: pika.BlockingConnection) -> Json:
    """Only the alternate exchange must be the same, as with RabbitMQ's plugin."""
    first = connection.channel()
    declare_delayed(first, EXCHANGE, "fanout")
    same = refusal(lambda: declare_delayed(connection.channel(), EXCHANGE, "fanout"))
    other = refusal(
        lambda: connection.channel().exchange_declare(EXCHANGE, KIND, arguments={"x-delayed-type": "topic"})
    )
    return [same, other]


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE, SECOND]), connect(broker.url) as connection:
        seen: dict[str, Json] = {kind: routed(connection, kind) for kind in BINDINGS}
        seen["at once"] = at_once(connection)
        seen["seen by consumers"] = seen_by_consumers(broker, connection)
        seen["declared again"] = declared_again(connection)
        seen["refused"] = refused(connection)
        return seen


IN_ORDER: Json = {
    "order": ["at once", "first", "second", "third"],
    "early": [],
    "seen": [None, -200, -400, -600],
}
NO_TYPE: Json = [
    "channel",
    406,
    "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type",
]
EXPECTED: Json = {
    **dict.fromkeys(BINDINGS, IN_ORDER),
    "at once": {"routed": True, "intact": True},
    "seen by consumers": {letter: {"before": ["B", 1], "x-delay": ["I", -100]} for letter in "bBsuIilSfd"},
    "declared again": [["accepted"], ["accepted"]],
    "refused": {
        "no type": NO_TYPE,
        "unknown type": NO_TYPE,
        "itself": ["channel", 406, f"PRECONDITION_FAILED - '{KIND}' can't be used for 'x-delayed-type'"],
        "no string": NO_TYPE,
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
