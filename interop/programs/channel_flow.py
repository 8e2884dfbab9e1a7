"""channel.flow: deliveries of a channel are paused and go on, other channels are not touched."""

from typing import Any

from interop.blocking import connect, ready_count, refusal, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE, OTHER = "interop.flow", "interop.flow_other"


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE, OTHER]), connect(broker.url) as watcher:
        publisher = watcher.channel()
        for queue in (QUEUE, OTHER):
            publisher.queue_declare(queue)
        connection = connect(broker.url)
        channel, other_channel = connection.channel(), connection.channel()
        received: dict[str, list[Json]] = {QUEUE: [], OTHER: []}

        def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            received[method.routing_key].append(body.decode())

        channel.basic_consume(QUEUE, on_message, auto_ack=True)
        other_channel.basic_consume(OTHER, on_message, auto_ack=True)
        go_on_without_pause = channel.flow(True)
        paused = refusal(lambda: channel.flow(False))
        seen: dict[str, Json] = {"flow(true)": go_on_without_pause, "flow(false)": paused}
        if paused != ["accepted"]:
            return seen
        for queue in (QUEUE, OTHER):
            publisher.basic_publish("", queue, b"while paused")
        wait_until(connection, lambda: bool(received[OTHER]))
        seen["while paused"] = {
            "received": list(received[QUEUE]),
            "ready": ready_count(publisher, QUEUE),
        }
        seen["get is not paused"] = channel.basic_get(QUEUE)[2].decode()
        channel.basic_nack(1)
        seen["flow(true) again"] = channel.flow(True)
        wait_until(connection, lambda: bool(received[QUEUE]))
        seen["afterwards"] = {"received": list(received[QUEUE]), "ready": ready_count(publisher, QUEUE)}
        connection.close()
        return seen


EXPECTED: Json = {
    "flow(true)": True,
    "flow(false)": ["accepted"],
    "while paused": {"received": [], "ready": 1},
    "get is not paused": "while paused",
    "flow(true) again": True,
    "afterwards": {"received": ["while paused"], "ready": 0},
}

if __name__ == "__main__":
    main(run, EXPECTED)
