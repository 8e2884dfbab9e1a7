"""Exchange-to-exchange bindings: chains, a cycle, one copy per queue, unbinding, an internal exchange."""

from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EVENTS, ALARMS, AUDIT, INNER = "interop.events", "interop.alarms", "interop.audit", "interop.inner"


def topology(channel: BlockingChannel) -> dict[str, str]:
    """A diamond with a way back: events -> alarms -> audit, events -> audit, audit -> events."""
    channel.exchange_declare(EVENTS, "topic")
    channel.exchange_declare(ALARMS, "fanout")
    channel.exchange_declare(AUDIT, "topic")
    channel.exchange_declare(INNER, "fanout", internal=True)
    channel.exchange_bind(ALARMS, EVENTS, "*.critical")
    channel.exchange_bind(AUDIT, EVENTS, "#")
    channel.exchange_bind(AUDIT, ALARMS)
    channel.exchange_bind(EVENTS, AUDIT, "#")
    channel.exchange_bind(INNER, EVENTS, "disk.#")
    queues = {}
    for name, exchange, key in [
        ("pager", ALARMS, ""),
        ("archive", AUDIT, "#"),
        ("disks", INNER, ""),
        ("all", EVENTS, "#"),
    ]:
        queues[name] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queues[name], exchange, key)
    return queues


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EVENTS, ALARMS, AUDIT, INNER]), connect(broker.url) as connection:
        channel = connection.channel()
        queues = topology(channel)
        seen: dict[str, Json] = {}

        def publish(step: str, exchange: str, *keys: str) -> None:
            for key in keys:
                channel.basic_publish(exchange, key, key.encode())
            seen[step] = {name: drain(channel, queue) for name, queue in queues.items()}

        publish("bound", EVENTS, "disk.critical", "disk.info", "net.info", "net.card.critical")
        publish("into the middle", AUDIT, "net.critical")
        channel.exchange_unbind(ALARMS, EVENTS, "*.critical")
        channel.exchange_unbind(EVENTS, AUDIT, "#")
        channel.exchange_unbind(EVENTS, AUDIT, "never bound")
        publish("unbound", EVENTS, "disk.critical")
        publish("unbound, into the middle", AUDIT, "net.critical")
        channel.exchange_delete(AUDIT)
        publish("middle deleted", EVENTS, "disk.critical")

        def publish_to_internal() -> None:
            other = connection.channel()
            other.basic_publish(INNER, "x", b"x")
            other.queue_declare(queues["disks"], passive=True)

        seen["publish to the internal exchange"] = refusal(publish_to_internal)
        seen["bind to a missing exchange"] = refusal(
            lambda: connection.channel().exchange_bind(EVENTS, "interop.no_such")
        )
        return seen


def _queues(pager: list[Json], archive: list[Json], disks: list[Json], everything: list[Json]) -> Json:
    return {"pager": pager, "archive": archive, "disks": disks, "all": everything}


_ALL: list[Json] = ["disk.critical", "disk.info", "net.info", "net.card.critical"]
EXPECTED: Json = {
    "bound": _queues(["disk.critical"], _ALL, ["disk.critical", "disk.info"], _ALL),
    "into the middle": _queues(["net.critical"], ["net.critical"], [], ["net.critical"]),
    "unbound": _queues([], ["disk.critical"], ["disk.critical"], ["disk.critical"]),
    "unbound, into the middle": _queues([], ["net.critical"], [], []),
    "middle deleted": _queues([], [], ["disk.critical"], ["disk.critical"]),
    "publish to the internal exchange": [
        "channel",
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{INNER}' in vhost '/'",
    ],
    "bind to a missing exchange": ["channel", 404, "NOT_FOUND - no exchange 'interop.no_such' in vhost '/'"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
