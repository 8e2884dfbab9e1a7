"""What a client learns while it connects; then heartbeats, too many channels and a new secret."""

from typing import Any

from interop.blocking import connect, refusal
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

CAPABILITIES = [
    "accept_consumer_cancel_ok",
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "consumer_priorities",
    "direct_reply_to",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
]


def announced(url: str) -> Json:
    with connect(url) as connection:
        properties: dict[str, Any] = connection._impl.server_properties
        parameters = connection._impl.params
        return {
            "product": properties["product"],
            "version": properties["version"],
            "keys": sorted(properties),
            "capabilities": properties["capabilities"],
            "limits": [parameters.channel_max, parameters.frame_max],
        }


def negotiated(url: str, **asked: Any) -> Json:
    """channel_max, frame_max and heartbeat in force after the client asked for ``asked``."""
    with connect(url, **asked) as connection:
        connection.channel().queue_declare("", exclusive=True)
        parameters = connection._impl.params
        return [parameters.channel_max, parameters.frame_max, parameters.heartbeat]


def heartbeats(url: str) -> bool:
    """An idle connection with heartbeats of one second: pika closes it when the server sends none."""
    with connect(url, heartbeat=1) as connection:
        connection.process_data_events(3.5)
        connection.channel().queue_declare("", exclusive=True)
        return bool(connection.is_open)


def too_many_channels(url: str) -> Json:
    """More channels than agreed; pika's own check is by number, the broker's by count."""
    connection = connect(url, channel_max=2)
    for _ in range(2):
        connection.channel()
    return refusal(lambda: connection.channel(2000))


def new_secret(url: str) -> bool:
    with connect(url) as connection:
        connection.update_secret("guest", "renewed by the client")
        connection.channel().queue_declare("", exclusive=True)
        return bool(connection.is_open)


def run(broker: Broker) -> Json:
    url = broker.url
    return {
        "announced": announced(url),
        "small": negotiated(url, channel_max=10, frame_max=4096, heartbeat=30),
        "no heartbeat": negotiated(url, heartbeat=0),
        "alive with heartbeats": heartbeats(url),
        "too many channels": too_many_channels(url),
        "alive with a new secret": new_secret(url),
    }


EXPECTED: Json = {
    "announced": {
        "product": "RabbitMQ",
        "version": "3.13.7",
        "keys": [
            "capabilities",
            "cluster_name",
            "copyright",
            "information",
            "platform",
            "product",
            "version",
        ],
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "limits": [2047, 131072],
    },
    "small": [10, 4096, 30],
    "no heartbeat": [2047, 131072, 0],
    "alive with heartbeats": True,
    "too many channels": [
        "connection",
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
    ],
    "alive with a new secret": True,
}

if __name__ == "__main__":
    main(run, EXPECTED)
