"""The errors users meet: what they did, what is closed, the reply code and RabbitMQ's text."""

import functools
import urllib.parse
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions

from interop.blocking import connect, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE, EXCHANGE, NONE = "interop.errors", "interop.errors_x", "interop.no_such"

Act = Callable[[Any], Any]


def published(channel: Any, exchange: str, key: str, **properties: Any) -> None:
    """Publish and wait for an answer to something else, because nothing answers a publish."""
    channel.basic_publish(exchange, key, b"x", pika.BasicProperties(**properties))
    channel.queue_declare(QUEUE, passive=True)


def acked(channel: Any, tag: int, *, multiple: bool = False) -> None:
    channel.basic_ack(tag, multiple)
    channel.queue_declare(QUEUE, passive=True)


NOT_FOUND: dict[str, Act] = {
    "passive declare": lambda channel: channel.queue_declare(NONE, passive=True),
    "passive exchange declare": lambda channel: channel.exchange_declare(NONE, passive=True),
    "consume": lambda channel: channel.basic_consume(NONE, print),
    "get": lambda channel: channel.basic_get(NONE),
    "bind queue": lambda channel: channel.queue_bind(NONE, EXCHANGE, "key"),
    "bind to exchange": lambda channel: channel.queue_bind(QUEUE, NONE, "key"),
    "purge": lambda channel: channel.queue_purge(NONE),
    "publish": lambda channel: published(channel, NONE, "key"),
    "no queue declared yet": lambda channel: channel.queue_bind("", EXCHANGE, "key"),
}
REFUSED: dict[str, Act] = {
    "reserved queue name": lambda channel: channel.queue_declare("amq.mine"),
    "reserved exchange name": lambda channel: channel.exchange_declare("amq.mine", "direct"),
    "delete amq.direct": lambda channel: channel.exchange_delete("amq.direct"),
    "bind to the default exchange": lambda channel: channel.queue_bind(QUEUE, "", "key"),
    "delete the default exchange": lambda channel: channel.exchange_delete(""),
}
PRECONDITION: dict[str, Act] = {
    "durable differs": lambda channel: channel.queue_declare(QUEUE, durable=True),
    "auto-delete differs": lambda channel: channel.queue_declare(QUEUE, auto_delete=True),
    "exchange type differs": lambda channel: channel.exchange_declare(EXCHANGE, "fanout"),
    "exchange durable differs": lambda channel: channel.exchange_declare(EXCHANGE, "direct", durable=True),
    "exchange in use": lambda channel: channel.exchange_delete(EXCHANGE, if_unused=True),
    "ack of an unknown tag": lambda channel: acked(channel, 99),
    "ack of tag 0": lambda channel: acked(channel, 0),
    "bad expiration": lambda channel: published(channel, "", QUEUE, expiration="soon"),
    "negative expiration": lambda channel: published(channel, "", QUEUE, expiration="-1"),
    "somebody else's user-id": lambda channel: published(channel, "", QUEUE, user_id="bob"),
}
NO_ERROR: dict[str, Act] = {
    "delete a missing queue": lambda channel: channel.queue_delete(NONE),
    "delete a missing exchange": lambda channel: channel.exchange_delete(NONE),
    "unbind what is not bound": lambda channel: channel.queue_unbind(QUEUE, EXCHANGE, "never"),
    "cancel an unknown consumer": lambda channel: channel._impl.basic_cancel("never"),
    "ack everything of nothing": lambda channel: acked(channel, 0, multiple=True),
    "declare amq.direct as it is": lambda channel: channel.exchange_declare("amq.direct", "direct", durable=True),
    "declare with an unknown argument": lambda channel: channel.queue_declare(QUEUE, arguments={"foo": 1}),
    "passive declare of another type": lambda channel: channel.exchange_declare(EXCHANGE, "fanout", passive=True),
}
FATAL: dict[str, Act] = {
    "immediate": lambda channel: published_immediate(channel),
    "prefetch size": lambda channel: channel.basic_qos(prefetch_size=10),
    "consumer tag used twice": lambda channel: consume_twice(channel),
    "unknown exchange type": lambda channel: channel.exchange_declare(NONE, "no-such-type"),
}


def published_immediate(channel: Any) -> None:
    method = pika.spec.Basic.Publish(exchange="", routing_key=QUEUE, immediate=True)
    channel._impl._send_method(method, (pika.BasicProperties(), b"x"))
    channel.queue_declare(QUEUE, passive=True)


def consume_twice(channel: Any) -> None:
    """pika checks the tags of its own consumers, so the second consume goes out below that check."""
    channel.basic_consume(QUEUE, print, consumer_tag="twice")
    channel._impl._send_method(pika.spec.Basic.Consume(queue=QUEUE, consumer_tag="twice"))
    channel.queue_declare(QUEUE, passive=True)


def on_new_channel(connection: pika.BlockingConnection, act: Act) -> None:
    act(connection.channel())


def on_new_connection(url: str, act: Act) -> None:
    with connect(url) as connection:
        act(connection.channel())


def on_channels(connection: pika.BlockingConnection, acts: dict[str, Act]) -> Json:
    """Each act on a channel of its own; the connection must outlive them all."""
    return {name: refusal(functools.partial(on_new_channel, connection, act)) for name, act in acts.items()}


def on_connections(url: str, acts: dict[str, Act]) -> Json:
    """Each act on a connection of its own."""
    return {name: refusal(functools.partial(on_new_connection, url, act)) for name, act in acts.items()}


def at_login(url: str) -> Json:
    """pika hides the close of a failed login behind its own exceptions; the broker's text is in them."""
    parts = urllib.parse.urlsplit(url)
    wrong_password = parts._replace(netloc=f"guest:wrong@{parts.hostname}:{parts.port}").geturl()
    unknown_user = parts._replace(netloc=f"nobody:x@{parts.hostname}:{parts.port}").geturl()
    no_vhost = parts._replace(path="/interop.no_such").geturl()
    urls = {"wrong password": wrong_password, "unknown user": unknown_user, "no such vhost": no_vhost}
    return {name: _login_failure(url) for name, url in urls.items()}


def _login_failure(url: str) -> Json:
    try:
        connect(url).close()
    except pika.exceptions.AMQPConnectionError as error:
        return [type(error).__name__, *map(str, error.args)]
    return "accepted"


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        channel.exchange_declare(EXCHANGE, "direct")
        channel.queue_bind(QUEUE, EXCHANGE, "key")
        return {
            "not found": on_channels(connection, NOT_FOUND),
            "refused": on_channels(connection, REFUSED),
            "precondition failed": on_channels(connection, PRECONDITION),
            "no error": on_channels(connection, NO_ERROR),
            "connection stays open": connection.is_open,
            "fatal": on_connections(broker.url, FATAL),
            "login": at_login(broker.url),
        }


def _no(kind: str, name: str = NONE) -> Json:
    return ["channel", 404, f"NOT_FOUND - no {kind} '{name}' in vhost '/'"]


def _access(text: str) -> Json:
    return ["channel", 403, f"ACCESS_REFUSED - {text}"]


def _precondition(text: str) -> Json:
    return ["channel", 406, f"PRECONDITION_FAILED - {text}"]


def _inequivalent(argument: str, what: str, received: str, current: str) -> Json:
    return _precondition(
        f"inequivalent arg '{argument}' for {what} in vhost '/': received '{received}' but current is '{current}'"
    )


_REFUSED = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
)
_LOGIN_REFUSED: Json = ["ProbableAuthenticationError", f"ConnectionClosedByBroker: (403) '{_REFUSED}'"]
EXPECTED: Json = {
    "not found": {
        "passive declare": _no("queue"),
        "passive exchange declare": _no("exchange"),
        "consume": _no("queue"),
        "get": _no("queue"),
        "bind queue": _no("queue"),
        "bind to exchange": _no("exchange"),
        "purge": _no("queue"),
        "publish": _no("exchange"),
        "no queue declared yet": ["channel", 404, "NOT_FOUND - no previously declared queue"],
    },
    "refused": {
        "reserved queue name": _access("queue name 'amq.mine' contains reserved prefix 'amq.*'"),
        "reserved exchange name": _access("exchange name 'amq.mine' contains reserved prefix 'amq.*'"),
        "delete amq.direct": _access("deletion of system exchange 'amq.direct' in vhost '/' not allowed"),
        "bind to the default exchange": _access("operation not permitted on the default exchange"),
        "delete the default exchange": _access("operation not permitted on the default exchange"),
    },
    "precondition failed": {
        "durable differs": _inequivalent("durable", f"queue '{QUEUE}'", "true", "false"),
        "auto-delete differs": _inequivalent("auto_delete", f"queue '{QUEUE}'", "true", "false"),
        "exchange type differs": _inequivalent("type", f"exchange '{EXCHANGE}'", "fanout", "direct"),
        "exchange durable differs": _inequivalent("durable", f"exchange '{EXCHANGE}'", "true", "false"),
        "exchange in use": _precondition(f"exchange '{EXCHANGE}' in vhost '/' in use"),
        "ack of an unknown tag": _precondition("unknown delivery tag 99"),
        "ack of tag 0": _precondition("unknown delivery tag 0"),
        "bad expiration": _precondition("invalid expiration 'soon': no_integer"),
        "negative expiration": _precondition("invalid expiration '-1': {value_negative,-1}"),
        "somebody else's user-id": _precondition("user_id property set to 'bob' but authenticated user was 'guest'"),
    },
    "no error": {name: ["accepted"] for name in NO_ERROR},
    "connection stays open": True,
    "fatal": {
        "immediate": ["connection", 540, "NOT_IMPLEMENTED - immediate=true"],
        "prefetch size": ["connection", 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"],
        "consumer tag used twice": ["connection", 530, "NOT_ALLOWED - attempt to reuse consumer tag 'twice'"],
        "unknown exchange type": [
            "connection",
            503,
            "COMMAND_INVALID - unknown exchange type 'no-such-type'",
        ],
    },
    "login": {
        "wrong password": _LOGIN_REFUSED,
        "unknown user": _LOGIN_REFUSED,
        "no such vhost": [
            "ProbableAccessDeniedError",
            "ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost interop.no_such not found'",
        ],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
