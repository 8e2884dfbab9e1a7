"""Where dead letters go: keys, CC and BCC, exchanges with several queues, exchanges that are not there."""

from typing import Any

import pika

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import A_WHILE, bad_argument, deaths, get_soon, precondition, wait_ready

DIRECT, TOPIC, FANOUT = "interop.dlx", "interop.dlx_topic", "interop.dlx_fanout"
INTERNAL, FALLBACK, GONE = "interop.dlx_internal", "interop.dlx_fallback", "interop.dlx_gone"
SOURCE = "interop.dlr_source"
OWN_KEY, NEW_KEY, TO_TOPIC, TO_FANOUT = "interop.dlr_own", "interop.dlr_new", "interop.dlr_topic", "interop.dlr_fanout"
TO_INTERNAL, TO_GONE, TO_DEFAULT = "interop.dlr_internal", "interop.dlr_gone", "interop.dlr_default"
A, B, C = "interop.dlr_a", "interop.dlr_b", "interop.dlr_c"
QUEUES: dict[str, dict[str, Any]] = {
    A: {},
    B: {},
    C: {},
    OWN_KEY: {"x-dead-letter-exchange": DIRECT},
    NEW_KEY: {"x-dead-letter-exchange": DIRECT, "x-dead-letter-routing-key": "new"},
    TO_TOPIC: {"x-dead-letter-exchange": TOPIC},
    TO_FANOUT: {"x-dead-letter-exchange": FANOUT},
    TO_INTERNAL: {"x-dead-letter-exchange": INTERNAL},
    TO_GONE: {"x-dead-letter-exchange": GONE},
    TO_DEFAULT: {"x-dead-letter-exchange": ""},
}


def declare(channel: Any) -> None:
    channel.exchange_declare(SOURCE, "direct")
    channel.exchange_declare(DIRECT, "direct")
    channel.exchange_declare(TOPIC, "topic")
    channel.exchange_declare(FANOUT, "fanout")
    channel.exchange_declare(FALLBACK, "fanout")
    channel.exchange_declare(INTERNAL, "direct", internal=True, arguments={"alternate-exchange": FALLBACK})
    for queue, arguments in QUEUES.items():
        channel.queue_declare(queue, arguments=arguments)
    for queue in (OWN_KEY, NEW_KEY, TO_TOPIC, TO_FANOUT, TO_INTERNAL, TO_GONE):
        for key in ("one", "two.three", A):
            channel.queue_bind(queue, SOURCE, f"{queue} {key}")
    for queue, key in ((A, OWN_KEY), (A, "new"), (B, "cc"), (C, "bcc")):
        channel.queue_bind(queue, DIRECT, key)
    channel.queue_bind(A, TOPIC, "interop.#")
    channel.queue_bind(B, TOPIC, "*.dlr_topic")
    channel.queue_bind(C, TOPIC, "other.#")
    for queue in (A, B, C):
        channel.queue_bind(queue, FANOUT)
    channel.queue_bind(B, FALLBACK)


def die(channel: Any, queue: str, **headers: Any) -> None:
    """Publish one message to the queue and reject it."""
    channel.basic_publish("", queue, b"x", pika.BasicProperties(headers=headers or None))
    channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)


def letter(channel: Any, queue: str) -> Json:
    """Exchange and key of the deliver, CC and BCC headers, and the keys that x-death tells."""
    method, properties, _body = get_soon(channel, queue)
    own = {key: value for key, value in properties.headers.items() if not key.startswith("x-")}
    return [method.exchange, method.routing_key, own, [row["routing-keys"] for row in deaths(properties)]]


def nothing_came(channel: Any) -> Json:
    channel.connection.sleep(A_WHILE)
    return [drain(channel, queue) for queue in (A, B, C)]


def keys(channel: Any) -> Json:
    """The message's own keys with CC, which stays, and without BCC; or only the new key."""
    told: dict[str, Json] = {}
    die(channel, OWN_KEY, CC=["cc", "unbound"], BCC=["bcc"], other="kept")
    told["own"] = [letter(channel, queue) for queue in (A, B)]
    told["nobody else"] = nothing_came(channel)
    die(channel, NEW_KEY)
    told["new"] = letter(channel, A)
    die(channel, NEW_KEY, BCC=["bcc"], other="kept")
    told["new with BCC"] = letter(channel, A)
    die(channel, NEW_KEY, CC=["cc"], other="kept")
    told["new with CC"] = letter(channel, A)
    told["and to nobody else"] = nothing_came(channel)
    return told


def several_queues(channel: Any) -> Json:
    die(channel, TO_TOPIC)
    topic = [letter(channel, queue) for queue in (A, B)]
    die(channel, TO_FANOUT)
    return {"topic": topic, "fanout": [letter(channel, queue) for queue in (A, B, C)]}


def the_default_exchange(channel: Any) -> Json:
    """'' is an exchange like others: the key is a queue's name, here by CC, else it would come back to itself."""
    channel.basic_publish("", TO_DEFAULT, b"x", pika.BasicProperties(headers={"CC": [A]}))
    for queue in (TO_DEFAULT, A):
        wait_ready(channel, queue, 1)
    channel.queue_purge(A)
    channel.basic_reject(channel.basic_get(TO_DEFAULT)[0].delivery_tag, requeue=False)
    return {"CC": letter(channel, A), "rejected comes back": letter(channel, TO_DEFAULT)}


def exchanges_not_there(channel: Any) -> Json:
    """Without the exchange the letter is dropped; declared and deleted later, it is taken as it is then."""
    told: dict[str, Json] = {}
    die(channel, TO_GONE)
    told["never declared"] = nothing_came(channel)
    channel.exchange_declare(GONE, "fanout")
    channel.queue_bind(C, GONE)
    die(channel, TO_GONE)
    told["declared later"] = letter(channel, C)
    channel.exchange_delete(GONE)
    die(channel, TO_GONE)
    told["deleted"] = nothing_came(channel)
    die(channel, TO_INTERNAL)
    told["internal, by its alternate exchange"] = letter(channel, B)
    channel.basic_publish("", TO_FANOUT, b"purged")
    channel.queue_purge(TO_FANOUT)
    channel.basic_publish("", TO_FANOUT, b"deleted")
    channel.queue_delete(TO_FANOUT)
    told["purged and deleted"] = nothing_came(channel)
    return told


def refused(connection: pika.BlockingConnection) -> Json:
    def declare_with(**arguments: Any) -> Json:
        named = {"x-dead-letter-" + key: value for key, value in arguments.items()}
        return refusal(lambda: connection.channel().queue_declare("interop.dlr_bad", arguments=named))

    return {
        "exchange is a number": declare_with(exchange=1),
        "key without exchange": declare_with(**{"routing-key": "k"}),
        "key is a number": declare_with(exchange="", **{"routing-key": 1}),
    }


def run(broker: Broker) -> Json:
    exchanges = [SOURCE, DIRECT, TOPIC, FANOUT, INTERNAL, FALLBACK, GONE]
    with scratch(broker.url, queues=[*QUEUES], exchanges=exchanges), connect(broker.url) as connection:
        channel = connection.channel()
        declare(channel)
        return {
            "keys": keys(channel),
            "several queues": several_queues(channel),
            "default exchange": the_default_exchange(channel),
            "exchanges": exchanges_not_there(channel),
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "keys": {
        "own": [
            [
                "interop.dlx",
                "interop.dlr_own",
                {"CC": ["cc", "unbound"], "other": "kept"},
                [["interop.dlr_own", "cc", "unbound"]],
            ],
            [
                "interop.dlx",
                "interop.dlr_own",
                {"CC": ["cc", "unbound"], "other": "kept"},
                [["interop.dlr_own", "cc", "unbound"]],
            ],
        ],
        "nobody else": [[], [], []],
        "new": ["interop.dlx", "new", {}, [["interop.dlr_new"]]],
        "new with BCC": ["interop.dlx", "new", {"other": "kept"}, [["interop.dlr_new"]]],
        "new with CC": ["interop.dlx", "new", {"CC": ["cc"], "other": "kept"}, [["interop.dlr_new", "cc"]]],
        "and to nobody else": [[], [], []],
    },
    "several queues": {
        "topic": [
            ["interop.dlx_topic", "interop.dlr_topic", {}, [["interop.dlr_topic"]]],
            ["interop.dlx_topic", "interop.dlr_topic", {}, [["interop.dlr_topic"]]],
        ],
        "fanout": [
            ["interop.dlx_fanout", "interop.dlr_fanout", {}, [["interop.dlr_fanout"]]],
            ["interop.dlx_fanout", "interop.dlr_fanout", {}, [["interop.dlr_fanout"]]],
            ["interop.dlx_fanout", "interop.dlr_fanout", {}, [["interop.dlr_fanout"]]],
        ],
    },
    "default exchange": {
        "CC": ["", "interop.dlr_default", {"CC": ["interop.dlr_a"]}, [["interop.dlr_default", "interop.dlr_a"]]],
        "rejected comes back": [
            "",
            "interop.dlr_default",
            {"CC": ["interop.dlr_a"]},
            [["interop.dlr_default", "interop.dlr_a"]],
        ],
    },
    "exchanges": {
        "never declared": [[], [], []],
        "declared later": ["interop.dlx_gone", "interop.dlr_gone", {}, [["interop.dlr_gone"]]],
        "deleted": [[], [], []],
        "internal, by its alternate exchange": [
            "interop.dlx_internal",
            "interop.dlr_internal",
            {},
            [["interop.dlr_internal"]],
        ],
        "purged and deleted": [[], [], []],
    },
    "refused": {
        "exchange is a number": precondition(
            "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'interop.dlr_bad' in vhost '/'"
        ),
        "key without exchange": bad_argument(
            "x-dead-letter-routing-key", "interop.dlr_bad", "routing_key_but_no_dlx_defined"
        ),
        "key is a number": bad_argument(
            "x-dead-letter-routing-key", "interop.dlr_bad", "{unacceptable_type,signedint}"
        ),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
