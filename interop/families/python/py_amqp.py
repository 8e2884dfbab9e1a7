"""The scenarios with py-amqp, the client below kombu and Celery."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any

from amqp import Channel, Connection, Message
from amqp.exceptions import (
    AccessRefused,
    InvalidCommand,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)

from interop.families.python.blocking_clients import (
    BOUND,
    BY_PRIORITY,
    COLOURED,
    MATCHES,
    MOMENT,
    PRIORITIES,
    PROPERTIES,
    TABLE,
    ReconnectingConsumer,
    bodies_around,
    check_expiry,
)
from interop.families.python.checks import (
    AMQP,
    PATIENCE,
    check,
    check_deaths,
    check_typed,
    control,
    death,
    raised,
    run,
    scenario,
    wait_for,
)

PERSISTENT, TRANSIENT = 2, 1


def connect(**options: Any) -> Connection:
    """Connect with confirms, unless told otherwise: ``basic_publish`` returns when the message is in its queue."""
    login = {"userid": AMQP.user, "password": AMQP.password, "virtual_host": AMQP.vhost, "confirm_publish": True}
    connection = Connection(f"{AMQP.host}:{AMQP.port}", **{**login, **options})
    connection.connect()
    return connection


@contextmanager
def opened(**options: Any) -> Iterator[Channel]:
    """A channel on a connection of its own."""
    with connect(**options) as connection:
        yield connection.channel()


def serve(connection: Connection, seconds: float = 0.05) -> None:
    """Dispatch what comes, or wait so long for nothing."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=seconds)


class Inbox:
    """A consumer that keeps what comes."""

    def __init__(self, channel: Channel, queue: str, **options: Any) -> None:
        self.messages: list[Message] = []
        self._connection = channel.connection
        self.tag = channel.basic_consume(queue, callback=self.messages.append, **options)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    def wait(self, what: str, count: int) -> None:
        wait_for(what, lambda: len(self.messages) >= count, lambda: serve(self._connection))

    def settle(self) -> None:
        """Give a message that should not come the time to come."""
        serve(self._connection, 0.3)


def private_queue(channel: Channel, **arguments: Any) -> str:
    """A queue named by the server, which goes with the connection."""
    dashed = {name.replace("_", "-"): value for name, value in arguments.items()}
    name: str = channel.queue_declare("", exclusive=True, auto_delete=False, arguments=dashed).queue
    return name


def durable_queue(channel: Channel, name: str, **options: Any) -> str:
    channel.queue_declare(name, durable=True, auto_delete=False, **options)
    return name


def durable_exchange(channel: Channel, name: str, kind: str) -> None:
    channel.exchange_declare(name, kind, durable=True, auto_delete=False)


def put(channel: Channel, queue: str, body: bytes, **properties: Any) -> None:
    channel.basic_publish(Message(body, **properties), "", queue)


def take(channel: Channel, queue: str) -> Message:
    """Wait for a message that is on its way into the queue, and get it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if message := channel.basic_get(queue, no_ack=True):
            return message
        time.sleep(0.01)
    raise AssertionError(f"nothing came into {queue}")


def drain(channel: Channel, queue: str) -> list[bytes]:
    """Take what is in the queue."""
    return [message.body for message in iter(lambda: channel.basic_get(queue, no_ack=True), None)]


def count_of(channel: Channel, queue: str) -> int:
    count: int = channel.queue_declare(queue, passive=True).message_count
    return count


def is_gone(declare: Callable[[Channel], object]) -> bool:
    """Whether a passive declaration, on a connection of its own, says 404."""
    with opened() as channel:
        try:
            declare(channel)
        except NotFound:
            return True
    return False


def queue_is_gone(queue: str) -> bool:
    return is_gone(lambda channel: channel.queue_declare(queue, passive=True))


@scenario("connect")
def connecting() -> None:
    connection = connect()
    check("the server has a product", bool(connection.server_properties["product"]))
    for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
        check(capability, connection.server_capabilities[capability])
    channel = connection.channel()
    check("channel is open", channel.is_open)
    channel.close()
    check("channel is closed, connection open", (channel.is_open, connection.connected), (False, True))
    connection.close()
    check("connection is closed", not connection.connected)


@scenario("auth-failure")
def auth_failure() -> None:
    for mechanism in ("PLAIN", "AMQPLAIN"):
        refusal = raised(AccessRefused, partial(connect, password="wrong", login_method=mechanism))
        check(f"{mechanism}, wrong password: 403", refusal.reply_code, 403)
        check(f"{mechanism}: ACCESS_REFUSED", refusal.reply_text.startswith("ACCESS_REFUSED"))
    denial = raised(NotAllowed, lambda: connect(virtual_host="interop.no-such-vhost"))
    check("unknown vhost: 530", denial.reply_code, 530)
    check("NOT_ALLOWED", denial.reply_text.startswith("NOT_ALLOWED"))


@scenario("declare")
def declare() -> None:
    exchange, queue = "interop.declare", "interop.declare"
    with opened() as channel:
        for _ in range(2):
            durable_exchange(channel, exchange, "direct")
            declared = channel.queue_declare(queue, durable=True, auto_delete=False)
            check("queue declared", tuple(declared), (queue, 0, 0))
        channel.queue_bind(queue, exchange, "key")
        for _ in range(3):
            channel.basic_publish(Message(b"message"), exchange, "key")
        check("passive: messages", count_of(channel, queue), 3)
        Inbox(channel, queue).wait("they are delivered", 3)
        check("passive: consumers", channel.queue_declare(queue, passive=True).consumer_count, 1)

    with connect() as connection:
        channel = connection.channel()
        missing = raised(NotFound, lambda: channel.queue_declare("interop.missing", passive=True))
        check("passive, missing queue: 404", missing.reply_code, 404)
        check("the connection stays open", connection.connected)
        # py-amqp opens a channel that the broker closed again, by itself.
        check("the channel is open again", channel.is_open)
        missing = raised(NotFound, lambda: channel.exchange_declare("interop.no", "", passive=True))
        check("passive, missing exchange: 404", missing.reply_code, 404)
        other = raised(PreconditionFailed, lambda: channel.queue_declare(queue, durable=False, auto_delete=False))
        check("another durability: 406", other.reply_code, 406)
        other = raised(PreconditionFailed, lambda: durable_queue(channel, queue, arguments={"x-max-length": 5}))
        check("another argument: 406", other.reply_code, 406)
        check("what was not acknowledged is back: purged", channel.queue_purge(queue), 3)
        channel.queue_unbind(queue, exchange, "key")
        channel.basic_publish(Message(b"to nobody"), exchange, "key")
        check("unbound", count_of(channel, queue), 0)
        put(channel, queue, b"the last")
        check("delete tells the number", channel.queue_delete(queue), 1)
        check("deleted twice", channel.queue_delete(queue), 0)
        channel.exchange_delete(exchange)
        channel.exchange_delete(exchange)
        check("the channel is still open", channel.is_open)

    connection = connect()
    channel = connection.channel()
    unknown = raised(InvalidCommand, lambda: channel.exchange_declare("interop.odd", "x-odd"))
    check("unknown exchange type: 503", unknown.reply_code, 503)
    check("the connection is closed", not connection.connected)


@scenario("confirms")
def confirms() -> None:
    bodies = [b"%d" % number for number in range(1000)]
    with opened() as channel:
        queue = durable_queue(channel, "interop.confirms")
        acks: list[int] = []
        channel.events["basic_ack"].add(lambda tag, _multiple: acks.append(tag))
        for body in bodies:
            # It returns when the confirm is there, and raises MessageNacked when it is a nack.
            put(channel, queue, body, delivery_mode=PERSISTENT)
        check("each is confirmed", acks == list(range(1, 1001)))
        check("all are in the queue", count_of(channel, queue), len(bodies))
        check("in order", drain(channel, queue) == bodies)
        channel.queue_delete(queue)


@scenario("mandatory-return")
def mandatory_return() -> None:
    properties = {
        "content_type": "text/plain",
        "application_headers": {"n": 1},
        "correlation_id": "42",
        "message_id": "m-1",
    }
    with opened() as channel:
        seen: list[tuple[str, Any]] = []
        channel.events["basic_return"].add(lambda *returned: seen.append(("return", returned)))
        channel.events["basic_ack"].add(lambda *confirm: seen.append(("ack", confirm)))
        channel.basic_publish(Message(b"come back", **properties), "amq.direct", "interop.nobody", mandatory=True)
        check("it comes back before its confirm", [event for event, _ in seen], ["return", "ack"])
        error, exchange, routing_key, message = seen[0][1]
        check("312 NO_ROUTE", (error.reply_code, error.reply_text), (312, "NO_ROUTE"))
        check("exchange and key", (exchange, routing_key), ("amq.direct", "interop.nobody"))
        check("body", message.body, b"come back")
        check_typed("properties", message.properties, properties)


@scenario("consume")
def consume() -> None:
    with connect() as connection:
        publisher, channel = connection.channel(), connection.channel()
        queue = private_queue(publisher)
        for number in range(10):
            put(publisher, queue, b"%d" % number)
        channel.basic_qos(0, 3, False)
        inbox = Inbox(channel, queue)
        inbox.wait("three come", 3)
        inbox.settle()
        check("and no fourth", inbox.bodies, [b"0", b"1", b"2"])
        check("not redelivered", [message.delivery_info["redelivered"] for message in inbox.messages], [False] * 3)
        channel.basic_ack(inbox.messages[1].delivery_tag, multiple=True)
        inbox.wait("ack with multiple: two more come", 5)
        inbox.settle()
        check("not three", inbox.bodies[3:], [b"3", b"4"])
        # py-amqp has no basic.nack for consumers; reject does the same for one message.
        channel.basic_reject(inbox.messages[2].delivery_tag, requeue=True)
        inbox.wait("reject with requeue: it comes again", 6)
        again = inbox.messages[5]
        check("the same, redelivered", (again.body, again.delivery_info["redelivered"]), (b"2", True))
        channel.basic_reject(again.delivery_tag, requeue=False)
        inbox.wait("reject: the next one comes", 7)
        check("which is the next", inbox.bodies[6], b"5")
        channel.basic_cancel(inbox.tag)
        check("cancelled: no consumer", publisher.queue_declare(queue, passive=True).consumer_count, 0)
        channel.close()
        check("what was not acknowledged is there again", drain(publisher, queue), [b"%d" % n for n in range(3, 10)])


@scenario("get")
def get() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        channel.queue_bind(queue, "amq.direct", "interop.get")
        for body in (b"first", b"second"):
            channel.basic_publish(Message(body), "amq.direct", "interop.get")
        message = channel.basic_get(queue)
        info = {"redelivered": False, "exchange": "amq.direct", "routing_key": "interop.get", "message_count": 1}
        check_typed("what it tells", message.delivery_info, {"delivery_tag": message.delivery_tag, **info})
        check("body", message.body, b"first")
        channel.basic_reject(message.delivery_tag, requeue=True)
        message = channel.basic_get(queue)
        check("requeued: redelivered", (message.body, message.delivery_info["redelivered"]), (b"first", True))
        channel.basic_ack(message.delivery_tag)
        message = channel.basic_get(queue, no_ack=True)
        check("the last one", (message.body, message.delivery_info["message_count"]), (b"second", 0))
        check("the empty queue says so", channel.basic_get(queue), None)


@scenario("exclusive")
def exclusive() -> None:
    with opened() as owner, opened() as other:
        queue = private_queue(owner)
        check("named by the server", queue.startswith("amq.gen-"))
        locked = raised(ResourceLocked, lambda: other.queue_declare(queue, passive=True))
        check("another connection: 405", locked.reply_code, 405)
        locked = raised(ResourceLocked, lambda: other.basic_consume(queue))
        check("another consumer: 405", locked.reply_code, 405)
    check("gone with its connection", queue_is_gone(queue))
    with opened() as channel:
        queue = private_queue(channel)
        Inbox(channel, queue, exclusive=True)
        second = channel.connection.channel()
        refused = raised(AccessRefused, lambda: second.basic_consume(queue))
        check("a second consumer: 403", refused.reply_code, 403)


@scenario("auto-delete")
def auto_delete() -> None:
    queue, exchange = "interop.auto-delete", "interop.auto-delete"
    with opened() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=True)
        first, last = Inbox(channel, queue), Inbox(channel, queue)
        channel.basic_cancel(first.tag)
        check("stays while there is a consumer", not queue_is_gone(queue))
        channel.basic_cancel(last.tag)
        check("queue goes with its last consumer", queue_is_gone(queue))

        def exchange_is_gone() -> bool:
            return is_gone(lambda other: other.exchange_declare(exchange, "fanout", passive=True))

        queue = private_queue(channel)
        channel.exchange_declare(exchange, "fanout", durable=True, auto_delete=True)
        channel.queue_bind(queue, exchange, "one")
        channel.queue_bind(queue, exchange, "two")
        channel.queue_unbind(queue, exchange, "one")
        check("stays while there is a binding", not exchange_is_gone())
        channel.queue_unbind(queue, exchange, "two")
        check("exchange goes with its last binding", exchange_is_gone())


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    source, destination = "interop.topics", "interop.fan"
    with opened() as channel:
        durable_exchange(channel, source, "topic")
        durable_exchange(channel, destination, "fanout")
        queue = private_queue(channel)
        channel.exchange_bind(destination, source, "stock.#")
        channel.queue_bind(queue, destination)
        channel.basic_publish(Message(b"through both"), source, "stock.nyse.ibm")
        channel.basic_publish(Message(b"another topic"), source, "weather.today")
        message = channel.basic_get(queue, no_ack=True)
        check("comes through both", (message.body, message.delivery_info["exchange"]), (b"through both", source))
        check("and nothing else", drain(channel, queue), [])
        channel.exchange_unbind(destination, source, "stock.#")
        channel.basic_publish(Message(b"too late"), source, "stock.nyse.ibm")
        check("not after unbind", drain(channel, queue), [])
        channel.exchange_delete(source)
        channel.exchange_delete(destination)


# py-amqp writes integers of 32 and 64 bits, floats as doubles, and bytes as strings; timestamps have no zone.
HEADERS = {
    **TABLE,
    "int64": [-(2**63), 2**63 - 1],
    "double": [1.0 / 3.0, 1.7976931348623157e308],
    "decimal": Decimal("-12345.67"),
    "bytes": b"\x00\xff\xfe",
    "timestamp": MOMENT.replace(tzinfo=None),
    "array": [1, 2**40, 0.5, "three", True, None, [4]],
}


@scenario("headers")
def headers() -> None:
    own = {"timestamp": int(MOMENT.timestamp()), "type": "type", "cluster_id": "cluster"}
    properties = {**PROPERTIES, **own, "application_headers": HEADERS}
    with opened() as channel:
        queue = private_queue(channel)
        put(channel, queue, b"{}", **properties)
        seen = channel.basic_get(queue, no_ack=True).properties
        for name, value in HEADERS.items():
            check_typed(f"header {name}", seen["application_headers"][name], value)
        check_typed("all properties", seen, properties)

        for match, numbers in MATCHES.items():
            bound = private_queue(channel)
            channel.queue_bind(bound, "amq.headers", arguments={"x-match": match, **BOUND})
            for number, table in enumerate(COLOURED):
                channel.basic_publish(Message(b"%d" % number, application_headers=table), "amq.headers")
            check(f"x-match {match}", drain(channel, bound), [b"%d" % number for number in numbers])


@scenario("dead-letter")
def dead_letter() -> None:
    exchange = "interop.dead"
    with opened() as channel:
        durable_exchange(channel, exchange, "direct")
        dead = private_queue(channel)
        channel.queue_bind(dead, exchange, "buried")
        limits: dict[str, dict[str, int]] = {
            "rejected": {},
            "expired": {"x_message_ttl": 20},
            "maxlen": {"x_max_length": 1},
        }
        for reason, limit in limits.items():
            queue = private_queue(channel, x_dead_letter_exchange=exchange, x_dead_letter_routing_key="buried", **limit)
            put(channel, queue, b"dies")
            if reason == "rejected":
                channel.basic_reject(channel.basic_get(queue).delivery_tag, requeue=False)
            if reason == "maxlen":
                put(channel, queue, b"pushes")
            letter = take(channel, dead)
            arrived = (letter.body, letter.delivery_info["exchange"], letter.delivery_info["routing_key"])
            check(f"{reason}: arrives", arrived, (b"dies", exchange, "buried"))
            check_deaths(reason, letter.headers, death(reason, queue))

        # A rejected message waits in a queue without consumers and comes back: each queue counts its own deaths.
        work, wait = "interop.dead.work", "interop.dead.wait"
        retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 20}
        channel.queue_declare(work, exclusive=True, arguments=retry)
        channel.queue_declare(wait, exclusive=True, arguments=back)
        put(channel, work, b"try me")
        inbox = Inbox(channel, work)
        for attempt in (1, 2):
            inbox.wait(f"attempt {attempt}", attempt)
            channel.basic_reject(inbox.messages[-1].delivery_tag, requeue=False)
        inbox.wait("attempt 3", 3)
        check_deaths("twice", inbox.messages[-1].headers, death("expired", wait, 2), death("rejected", work, 2))
        channel.exchange_delete(exchange)


@scenario("ttl")
def ttl() -> None:
    with opened() as channel:
        check_expires(channel, "expiration", 60000, "50")
        check_expires(channel, "x-message-ttl", 50, "60000")
        queue = private_queue(channel)
        put(channel, queue, b"")
        check("without either it stays", count_of(channel, queue), 1)

        queue = "interop.ttl.expires"
        returned: list[Any] = []
        channel.events["basic_return"].add(lambda *message: returned.append(message))

        # A declaration or basic.get would count as use, publishing does not.
        def is_there() -> bool:
            returned.clear()
            channel.basic_publish(Message(b""), "", queue, mandatory=True)
            return not returned

        check_expiry(lambda ms: durable_queue(channel, queue, arguments={"x-expires": ms}), is_there)


def check_expires(channel: Channel, smaller: str, message_ttl: int, expiration: str) -> None:
    queue = private_queue(channel, x_message_ttl=message_ttl)
    # Mandatory: it raises when no queue gets the message. To count it first could take longer than it stays.
    channel.basic_publish(Message(b"", expiration=expiration), "", queue, mandatory=True)
    wait_for(f"{smaller}: the smaller one counts", lambda: count_of(channel, queue) == 0)


@scenario("priority")
def priority() -> None:
    with opened() as channel:
        queue = private_queue(channel, x_max_priority=10)
        for place, number in enumerate(PRIORITIES):
            put(channel, queue, b"%d" % place, priority=number)
        check("by priority, equal ones in order", drain(channel, queue), [b"%d" % place for place in BY_PRIORITY])


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    with opened() as client, opened() as server:
        requests = durable_queue(server, "interop.rpc")

        def answer(request: Message) -> None:
            put(server, request.properties["reply_to"], request.body * 2, correlation_id=request.correlation_id)
            server.basic_ack(request.delivery_tag)

        tag = server.basic_consume(requests, callback=answer)
        replies = Inbox(client, "amq.rabbitmq.reply-to", no_ack=True)
        for number in range(100):
            put(client, requests, b"%d." % number, reply_to="amq.rabbitmq.reply-to", correlation_id=str(number))
            deadline = time.monotonic() + PATIENCE
            while len(replies.messages) <= number and time.monotonic() < deadline:
                serve(server.connection, 0.001)
                serve(client.connection, 0.001)
        seen = [(reply.correlation_id, reply.body) for reply in replies.messages]
        check("each call has its answer", seen == [(str(n), b"%d.%d." % (n, n)) for n in range(100)])
        server.basic_cancel(tag)
        server.queue_delete(requests)


@scenario("large-message")
def large_message() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        for body in bodies_around(channel.connection.frame_max):
            put(channel, queue, body)
            # Not check(what, seen, expected): its explanation would show the bodies. Without body frames the body
            # of a Message stays what it is at first, the empty string.
            check(f"{len(body)} bytes", drain(channel, queue) == [body or ""])


@scenario("cancel-notify")
def cancel_notify() -> None:
    with connect() as connection:
        channel, other = connection.channel(), connection.channel()
        queue = private_queue(other)
        cancelled: list[str] = []
        inbox = Inbox(channel, queue, on_cancel=cancelled.append)
        other.queue_delete(queue)
        wait_for("the client is told", lambda: bool(cancelled), lambda: serve(connection))
        check("which consumer", cancelled, [inbox.tag])
        queue = private_queue(channel)
        inbox = Inbox(channel, queue)
        put(channel, queue, b"still here")
        inbox.wait("the channel works on", 1)


@scenario("blocked")
def blocked() -> None:
    told: list[str] = []
    # The client keeps the broker's reason to itself and passes on one of its own.
    callbacks = {"on_blocked": lambda _reason: told.append("blocked"), "on_unblocked": lambda: told.append("unblocked")}
    with opened(confirm_publish=False, **callbacks) as publisher, opened() as reader:
        queue = durable_queue(reader, "interop.blocked")
        published = 0

        def publish() -> None:
            nonlocal published
            put(publisher, queue, b"%d" % published)
            published += 1
            serve(publisher.connection)

        try:
            control("alarm", "on")
            wait_for("connection.blocked comes", lambda: bool(told), publish)
        finally:
            control("alarm", "off")
        wait_for("connection.unblocked comes", lambda: len(told) > 1, lambda: serve(publisher.connection))
        check("these two", told, ["blocked", "unblocked"])
        wait_for("what was published arrives", lambda: count_of(reader, queue) == published)
        check("in order", drain(reader, queue) == [b"%d" % number for number in range(published)])
        reader.queue_delete(queue)


def consume_until_stop(queue: str, consumer: ReconnectingConsumer) -> None:
    came: deque[Message] = deque()
    with opened() as channel:
        tag = channel.basic_consume(queue, callback=came.append)
        consumer.connected()
        while True:
            while not came:
                channel.connection.drain_events()
            message = came.popleft()
            channel.basic_ack(message.delivery_tag)
            channel.queue_declare(queue, passive=True)  # answered after the ack has been taken
            if consumer.take(message.body.decode()):
                channel.basic_cancel(tag)
                return


@scenario("recovery")
def recovery() -> None:
    exchange, consumed, kept = "interop.recovery", "interop.recovery.consumed", "interop.recovery.kept"
    with opened() as channel:
        durable_exchange(channel, exchange, "direct")
        for queue in (consumed, kept):
            durable_queue(channel, queue)
            channel.queue_bind(queue, exchange, queue)
        for number in range(5):
            channel.basic_publish(Message(b"persistent %d" % number, delivery_mode=PERSISTENT), exchange, kept)
            channel.basic_publish(Message(b"transient %d" % number, delivery_mode=TRANSIENT), exchange, kept)
        channel.basic_publish(Message(b"before", delivery_mode=PERSISTENT), exchange, consumed)
    session = partial(consume_until_stop, consumed)
    consumer = ReconnectingConsumer(session, Connection.recoverable_connection_errors)
    consumer.check_restart()
    with opened() as channel:
        channel.exchange_declare(exchange, "direct", passive=True)
        persistent = [b"persistent %d" % number for number in range(5)]
        check("persistent messages are there, transient are not", drain(channel, kept), persistent)
        channel.basic_publish(Message(b"after"), exchange, kept)
        check("the bindings are there", drain(channel, kept), [b"after"])
        for body in (b"after", b"stop"):
            channel.basic_publish(Message(body), exchange, consumed)
        consumer.check_end()
        for queue in (consumed, kept):
            channel.queue_delete(queue)
        channel.exchange_delete(exchange)


if __name__ == "__main__":
    run()
