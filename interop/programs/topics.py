"""Tutorial 5: a topic exchange, with the pattern edge cases that users ask about."""

from interop.blocking import connect, drain, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EXCHANGE = "interop.topic_logs"

# pattern -> the routing keys, of all used here, that it matches
MATCHES: dict[str, list[str]] = {
    "#": ["", "a", "A", "a.", "a.b", "a..b", "a.b.c", "kern.critical", "a.x.b", "lazy.orange.rabbit.fast"],
    "*": ["a", "A"],
    "": [""],
    "kern.*": ["kern.critical"],
    "*.critical": ["kern.critical"],
    "a.*.b": ["a..b", "a.x.b"],
    "*.*": ["a.", "a.b", "kern.critical"],
    "a.#.b": ["a.b", "a..b", "a.x.b"],
    "#.a": ["a"],
    "#.#": ["", "a", "A", "a.", "a.b", "a..b", "a.b.c", "kern.critical", "a.x.b", "lazy.orange.rabbit.fast"],
    "a.*": ["a.", "a.b"],
    "a#": [],
    "lazy.#": ["lazy.orange.rabbit.fast"],
    "*.orange.*": [],
    "*.orange.#": ["lazy.orange.rabbit.fast"],
}
KEYS = ["", "a", "A", "a.", "a.b", "a..b", "a.b.c", "kern.critical", "a.x.b", "lazy.orange.rabbit.fast"]


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, exchange_type="topic")
        queues = {}
        for pattern in MATCHES:
            queues[pattern] = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queues[pattern], EXCHANGE, pattern)
        several = channel.queue_declare("", exclusive=True).method.queue
        for pattern in ["a.#", "a.*", "#.b"]:
            channel.queue_bind(several, EXCHANGE, pattern)
        for key in KEYS:
            channel.basic_publish(EXCHANGE, key, key.encode())
        matched = {pattern: drain(channel, queue) for pattern, queue in queues.items()}
        once: list[Json] = list(drain(channel, several))
        return {"matched": matched, "one copy per queue": once}


EXPECTED: Json = {
    "matched": dict(MATCHES),
    "one copy per queue": ["a", "a.", "a.b", "a..b", "a.b.c", "a.x.b"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
