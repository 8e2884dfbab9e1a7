"""The scenarios with rabbitpy.

It reads its socket in a thread of its own; a consumer is a loop over ``Queue.consume()``, which here runs in a thread,
too, on a channel that nobody else waits on.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

from rabbitpy import AMQP as Methods
from rabbitpy import Channel, Connection, DirectExchange, Exchange, FanoutExchange, Message, Queue, TopicExchange
from rabbitpy.exceptions import (
    AMQPAccessRefused,
    AMQPCommandInvalid,
    AMQPException,
    AMQPNotAllowed,
    AMQPNotFound,
    AMQPPreconditionFailed,
    AMQPResourceLocked,
    MessageReturnedException,
    RabbitpyException,
    RemoteCancellationException,
)

from interop.families.python.blocking_clients import (
    BOUND,
    BY_PRIORITY,
    COLOURED,
    MATCHES,
    PAMQP_PROPERTIES,
    PAMQP_TABLE,
    PRIORITIES,
    ReconnectingConsumer,
    bodies_around,
    check_expiry,
)
from interop.families.python.checks import (
    AMQP,
    PATIENCE,
    Heard,
    check,
    check_deaths,
    check_typed,
    control,
    death,
    lacks,
    raised,
    run,
    scenario,
    wait_for,
)

PERSISTENT, TRANSIENT = 2, 1

# To cancel a consumer whose thread waits, rabbitpy calls itself, and sends the cancel again, until the answer is there:
# with a broker that needs some seconds for it, deeper than Python allows by itself.
sys.setrecursionlimit(50_000)


def url(*, password: str = AMQP.password, vhost: str = AMQP.vhost) -> str:
    login = f"{quote(AMQP.user, safe='')}:{quote(password, safe='')}"
    return f"amqp://{login}@{AMQP.host}:{AMQP.port}/{quote(vhost, safe='')}"


@contextmanager
def opened() -> Iterator[Channel]:
    """A channel on a connection of its own."""
    with Connection(url()) as connection:
        yield confirming(connection)


def confirming(connection: Connection) -> Channel:
    """A channel with confirms: ``publish`` returns when the message is in its queue."""
    channel = connection.channel()
    channel.enable_publisher_confirms()
    return channel


def declared(channel: Channel, name: str, **options: Any) -> Queue:
    queue = Queue(channel, name, **options)
    queue.declare()
    return queue


def private_queue(channel: Channel, name: str = "", **options: Any) -> Queue:
    """A queue that goes with the connection, named by the server if not here."""
    return declared(channel, name, exclusive=True, **options)


def publish(channel: Channel, body: bytes, to: Queue | str, exchange: Exchange | str = "", **properties: Any) -> bool:
    """Publish with the queue's name, or this key; tells whether it was confirmed."""
    routing_key = to if isinstance(to, str) else to.name
    return Message(channel, body, properties).publish(exchange, routing_key) is True


def is_routed(connection: Connection, exchange: str, routing_key: str) -> bool:
    """Whether a queue gets an empty message; asked on a channel of its own."""
    # rabbitpy leaves the confirm of a message that came back for the next message of the channel.
    channel = confirming(connection)
    try:
        Message(channel, b"").publish(exchange, routing_key, mandatory=True)
    except MessageReturnedException:
        return False
    return True


class Inbox(threading.Thread):
    """A consumer that keeps what comes, until the queue's ``stop_consuming()`` is called."""

    def __init__(self, queue: Queue, **options: Any) -> None:
        super().__init__(daemon=True)
        self.messages: list[Message] = []
        self.cancelled: RemoteCancellationException | None = None
        self._queue = queue
        self._options = options
        self.start()
        wait_for("a consumer", lambda: queue.consuming)

    @property
    def bodies(self) -> list[bytes]:
        return [bytes(message.body) for message in self.messages]

    def run(self) -> None:
        try:
            for message in self._queue.consume(**self._options):
                self.messages.append(message)
        except RemoteCancellationException as notice:
            self.cancelled = notice

    def wait(self, what: str, count: int) -> None:
        wait_for(what, lambda: len(self.messages) >= count)

    def settle(self) -> None:
        """Give a message that should not come the time to come."""
        time.sleep(0.3)

    def stop(self) -> None:
        self._queue.stop_consuming()
        self.join(PATIENCE)


def got(queue: Queue, **options: Any) -> Message:
    message = queue.get(**options)
    assert message is not None, f"{queue.name} is empty"
    return message


def take(queue: Queue) -> Message:
    """Wait for a message that is on its way into the queue, and get it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (message := queue.get(acknowledge=False)) is not None:
            return message
        time.sleep(0.01)
    raise AssertionError(f"nothing came into {queue.name}")


def drain(queue: Queue) -> list[bytes]:
    """Take what is in the queue."""
    return [bytes(message.body) for message in iter(lambda: queue.get(acknowledge=False), None)]


def code_of(kind: type[AMQPException], act: Callable[[], object]) -> int:
    """The code with which the broker closed the channel."""
    code: int = raised(kind, act).args[0].reply_code
    return code


def queue_is_gone(name: str) -> bool:
    with Connection(url()) as connection:
        try:
            Queue(connection.channel(), name).declare(passive=True)
        except AMQPNotFound:
            return True
    return False


@scenario("connect")
def connecting() -> None:
    connection = Connection(url())
    check("the server has a product", bool(connection.server_properties["product"]))
    for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
        check(capability, connection.capabilities[capability])
    channel = connection.channel()
    check("channel is open", channel.state_description, "Open")
    channel.close()
    check("channel is closed, connection open", (channel.closed, connection.is_open), (True, True))
    connection.close()
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
def auth_failure() -> None:
    code, text = raised(AMQPAccessRefused, lambda: Connection(url(password="wrong"))).args
    check("wrong password: 403 ACCESS_REFUSED", (code, text.partition(" ")[0]), (403, "ACCESS_REFUSED"))
    code, text = raised(AMQPNotAllowed, lambda: Connection(url(vhost="interop.no-such-vhost"))).args
    check("unknown vhost: 530 NOT_ALLOWED", (code, text.partition(" ")[0]), (530, "NOT_ALLOWED"))


@scenario("declare")
def declare() -> None:
    name = "interop.declare"
    with opened() as channel:
        exchange, queue = DirectExchange(channel, name, durable=True), Queue(channel, name, durable=True)
        for _ in range(2):
            exchange.declare()
            check("queue declared: messages and consumers", queue.declare(), (0, 0))
        check("bound", queue.bind(exchange, "key"))
        for _ in range(3):
            publish(channel, b"message", "key", exchange)
        check("passive: messages", queue.declare(passive=True), (3, 0))
        Inbox(Queue(channel, name)).wait("they are delivered", 3)
    with Connection(url()) as connection:
        channel = connection.channel()
        code = code_of(AMQPNotFound, lambda: Queue(channel, "interop.missing").declare(passive=True))
        check("passive, missing queue: 404", code, 404)
        check("the connection stays open", connection.is_open)
        channel = connection.channel()
        code = code_of(AMQPNotFound, lambda: Exchange(channel, "interop.missing").declare(passive=True))
        check("passive, missing exchange: 404", code, 404)
        channel = connection.channel()
        code = code_of(AMQPPreconditionFailed, lambda: Queue(channel, name, durable=False).declare())
        check("another durability: 406", code, 406)
        channel = connection.channel()
        code = code_of(AMQPPreconditionFailed, lambda: Queue(channel, name, durable=True, max_length=5).declare())
        check("another argument: 406", code, 406)

        channel = confirming(connection)
        exchange, queue = DirectExchange(channel, name, durable=True), Queue(channel, name, durable=True)
        # rabbitpy does not wait until the broker has closed the connection before.
        wait_for("what was not acknowledged is back", lambda: len(queue) == 3)
        queue.purge()
        check("purged", len(queue), 0)
        queue.unbind(exchange, "key")
        check("unbound", is_routed(connection, name, "key"), False)
        for _ in range(2):
            queue.delete()
            exchange.delete()
        check("deleted twice", channel.state_description, "Open")
        lacks("the numbers of purge and delete", "rabbitpy does not return them")

    # A connection that is left by an exception is closed.
    code, text = raised(AMQPCommandInvalid, declare_unknown_type).args
    check("unknown exchange type: 503", (code, text.partition(" ")[0]), (503, "COMMAND_INVALID"))


def declare_unknown_type() -> None:
    with opened() as channel:
        Exchange(channel, "interop.odd", "x-odd").declare()


@scenario("confirms")
def confirms() -> None:
    # rabbitpy writes the frames of a message one by one, without TCP_NODELAY: each confirm comes after a delayed
    # acknowledgement of TCP, some 40 ms. Ten publishers wait for them at the same time.
    publishers, each = 10, 100
    with Connection(url()) as connection:
        queue = declared(connection.channel(), "interop.confirms", durable=True)

        def publish_many(publisher: int) -> int:
            channel = confirming(connection)
            bodies = [b"%d.%d" % (publisher, number) for number in range(each)]
            return sum(publish(channel, body, queue, delivery_mode=PERSISTENT) for body in bodies)

        with ThreadPoolExecutor(publishers) as pool:
            confirmed = list(pool.map(publish_many, range(publishers)))
        check("each is confirmed", confirmed, [each] * publishers)
        check("all are in the queue", len(queue), publishers * each)
        inbox = Inbox(Queue(connection.channel(), queue.name), no_ack=True)
        inbox.wait("they come", publishers * each)
        inbox.stop()
        for publisher in range(publishers):
            seen = [body for body in inbox.bodies if body.startswith(b"%d." % publisher)]
            check(
                f"publisher {publisher}: in order", seen == [b"%d.%d" % (publisher, number) for number in range(each)]
            )
        queue.delete()


@scenario("mandatory-return")
def mandatory_return() -> None:
    with opened() as channel:
        message = Message(channel, b"come back", {"correlation_id": "42"})
        # publish() waits for the confirm: it raises this only when basic.return came before.
        error = raised(
            MessageReturnedException, lambda: message.publish("amq.direct", "interop.nobody", mandatory=True)
        )
        check("what it tells", error.args, (312, "NO_ROUTE", "amq.direct", "interop.nobody"))
        lacks("body and properties", "rabbitpy does not give the application the message that came back")


@scenario("consume")
def consume() -> None:
    with Connection(url()) as connection:
        # The queue is exclusive: it lives as long as this connection.
        publisher, channel = confirming(connection), connection.channel()
        queue = private_queue(publisher)
        for number in range(10):
            publish(publisher, b"%d" % number, queue)
        consuming = Queue(channel, queue.name)
        inbox = Inbox(consuming, prefetch=3)
        inbox.wait("three come", 3)
        inbox.settle()
        check("and no fourth", inbox.bodies, [b"0", b"1", b"2"])
        inbox.messages[1].ack(all_previous=True)
        inbox.wait("ack with multiple: two more come", 5)
        inbox.settle()
        check("not three", inbox.bodies[3:], [b"3", b"4"])
        inbox.messages[2].nack(requeue=True)
        inbox.wait("nack with requeue: it comes again", 6)
        again = inbox.messages[5]
        check("the same, redelivered", (bytes(again.body), again.redelivered), (b"2", True))
        again.reject(requeue=False)
        inbox.wait("reject: the next one comes", 7)
        check("which is the next", inbox.bodies[6], b"5")
        inbox.stop()
        check("cancelled: no consumer", queue.declare(passive=True)[1], 0)
        channel.close()
        check("what was not acknowledged is there again", drain(queue), [b"%d" % number for number in range(3, 10)])


@scenario("get")
def get() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        queue.bind("amq.direct", "interop.get")
        for body in (b"first", b"second"):
            publish(channel, body, "interop.get", "amq.direct")
        message = got(queue)
        check("exchange and key", (message.exchange, message.routing_key), ("amq.direct", "interop.get"))
        check("not redelivered, one left", (message.redelivered, message.method.message_count), (False, 1))
        check("body", bytes(message.body), b"first")
        message.nack(requeue=True)
        message = got(queue)
        check("requeued: redelivered", (bytes(message.body), message.redelivered), (b"first", True))
        message.ack()
        message = got(queue, acknowledge=False)
        check("the last one", (bytes(message.body), message.method.message_count), (b"second", 0))
        check("the empty queue says so", queue.get(), None)


@scenario("exclusive")
def exclusive() -> None:
    with opened() as owner, Connection(url()) as other:
        queue = private_queue(owner)
        check("named by the server", queue.name.startswith("amq.gen-"))
        channel = other.channel()
        code = code_of(AMQPResourceLocked, lambda: Queue(channel, queue.name).declare(passive=True))
        check("another connection: 405", code, 405)
        channel = other.channel()
        code = code_of(AMQPResourceLocked, lambda: next(Queue(channel, queue.name).consume()))
        check("another consumer: 405", code, 405)
    # rabbitpy does not wait until the broker has closed a connection.
    wait_for("gone with its connection", lambda: queue_is_gone(queue.name))
    with Connection(url()) as connection:
        queue = private_queue(confirming(connection))
        publish(queue.channel, b"", queue)
        # Only the methods themselves know exclusive consumers; a generator begins with its first message.
        messages = Methods(connection.channel()).basic_consume(queue.name, exclusive=True)
        check("an exclusive consumer", next(messages).redelivered, False)
        second = connection.channel()
        code = code_of(AMQPAccessRefused, lambda: next(Queue(second, queue.name).consume()))
        check("a second consumer: 403", code, 403)
        messages.close()


@scenario("auto-delete")
def auto_delete() -> None:
    name = "interop.auto-delete"
    with Connection(url()) as connection:
        channel = connection.channel()
        declared(channel, name, durable=True, auto_delete=True)
        inboxes = [Inbox(Queue(connection.channel(), name)) for _ in range(2)]
        inboxes[0].stop()
        check("stays while there is a consumer", not queue_is_gone(name))
        inboxes[1].stop()
        check("queue goes with its last consumer", queue_is_gone(name))

        queue = private_queue(channel)
        exchange = FanoutExchange(channel, name, durable=True, auto_delete=True)
        exchange.declare()
        queue.bind(exchange, "one")
        queue.bind(exchange, "two")
        queue.unbind(exchange, "one")
        exchange.declare(passive=True)
        check("stays while there is a binding", channel.state_description, "Open")
        queue.unbind(exchange, "two")
        code = code_of(AMQPNotFound, lambda: exchange.declare(passive=True))
        check("exchange goes with its last binding", code, 404)


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    with opened() as channel:
        source = TopicExchange(channel, "interop.topics", durable=True)
        destination = FanoutExchange(channel, "interop.fan", durable=True)
        for exchange in (source, destination):
            exchange.declare()
        queue = private_queue(channel)
        destination.bind(source, "stock.#")
        queue.bind(destination)
        publish(channel, b"through both", "stock.nyse.ibm", source)
        publish(channel, b"another topic", "weather.today", source)
        message = got(queue, acknowledge=False)
        check("comes through both", (bytes(message.body), message.exchange), (b"through both", source.name))
        check("and nothing else", drain(queue), [])
        destination.unbind(source, "stock.#")
        publish(channel, b"too late", "stock.nyse.ibm", source)
        check("not after unbind", drain(queue), [])
        for exchange in (source, destination):
            exchange.delete()


@scenario("headers")
def headers() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        publish(channel, b"{}", queue, **PAMQP_PROPERTIES)
        seen = {name: value for name, value in got(queue).properties.items() if value}
        for name, value in PAMQP_TABLE.items():
            check_typed(f"header {name}", seen["headers"][name], value)
        check_typed("all properties", seen, PAMQP_PROPERTIES)

        for match, numbers in MATCHES.items():
            bound = private_queue(channel)
            bound.bind("amq.headers", arguments={"x-match": match, **BOUND})
            for number, table in enumerate(COLOURED):
                publish(channel, b"%d" % number, "", "amq.headers", headers=table)
            check(f"x-match {match}", drain(bound), [b"%d" % number for number in numbers])


@scenario("dead-letter")
def dead_letter() -> None:
    with Connection(url()) as connection:
        channel = confirming(connection)
        exchange = DirectExchange(channel, "interop.dead", durable=True)
        exchange.declare()
        dead = private_queue(channel)
        dead.bind(exchange, "buried")
        to_dead: dict[str, Any] = {"dead_letter_exchange": exchange.name, "dead_letter_routing_key": "buried"}
        for reason, limits in (("rejected", {}), ("expired", {"message_ttl": 20}), ("maxlen", {"max_length": 1})):
            queue = private_queue(channel, **{**to_dead, **limits})
            publish(channel, b"dies", queue)
            if reason == "rejected":
                got(queue).reject(requeue=False)
            if reason == "maxlen":
                publish(channel, b"pushes", queue)
            letter = take(dead)
            arrived = (bytes(letter.body), letter.exchange, letter.routing_key)
            check(f"{reason}: arrives", arrived, (b"dies", exchange.name, "buried"))
            check_deaths(reason, letter.properties["headers"], death(reason, queue.name))

        # A rejected message waits in a queue without consumers and comes back: each queue counts its own deaths.
        work, wait = "interop.dead.work", "interop.dead.wait"
        retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work}
        queue = private_queue(channel, work, arguments=retry)
        private_queue(channel, wait, arguments=back, message_ttl=20)
        publish(channel, b"try me", queue)
        inbox = Inbox(Queue(connection.channel(), work))
        for attempt in (1, 2):
            inbox.wait(f"attempt {attempt}", attempt)
            inbox.messages[-1].reject(requeue=False)
        inbox.wait("attempt 3", 3)
        rows = death("expired", wait, 2), death("rejected", work, 2)
        check_deaths("twice", inbox.messages[-1].properties["headers"], *rows)
        inbox.stop()
        exchange.delete()


@scenario("ttl")
def ttl() -> None:
    with Connection(url()) as connection:
        channel = confirming(connection)
        check_expires(channel, "expiration", 60000, "50")
        check_expires(channel, "x-message-ttl", 50, "60000")
        queue = private_queue(channel)
        publish(channel, b"", queue)
        check("without either it stays", len(queue), 1)

        name = "interop.ttl.expires"
        # A declaration or basic.get would count as use, publishing does not.
        check_expiry(
            lambda ms: declared(channel, name, durable=True, expires=ms), lambda: is_routed(connection, "", name)
        )


def check_expires(channel: Channel, smaller: str, message_ttl: int, expiration: str) -> None:
    queue = private_queue(channel, message_ttl=message_ttl)
    # Mandatory: it raises when no queue gets the message. To count it first could take longer than it stays.
    Message(channel, b"", {"expiration": expiration}).publish("", queue.name, mandatory=True)
    wait_for(f"{smaller}: the smaller one counts", lambda: len(queue) == 0)


@scenario("priority")
def priority() -> None:
    with opened() as channel:
        queue = private_queue(channel, arguments={"x-max-priority": 10})
        for place, number in enumerate(PRIORITIES):
            publish(channel, b"%d" % place, queue, priority=number)
        check("by priority, equal ones in order", drain(queue), [b"%d" % place for place in BY_PRIORITY])


class Server(threading.Thread):
    """Answers each request, until its queue is deleted."""

    def __init__(self, requests: Queue) -> None:
        super().__init__(daemon=True)
        self._requests = requests
        self.start()

    def run(self) -> None:
        for request in self._requests.consume():
            properties = {"correlation_id": request.properties["correlation_id"]}
            Message(request.channel, bytes(request.body) * 2, properties).publish("", request.properties["reply_to"])
            request.ack()


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    with Connection(url()) as connection:
        requests = declared(connection.channel(), "interop.rpc", durable=True)
        serving = Queue(connection.channel(), requests.name)
        server = Server(serving)
        # The answers come to the channel that asked; its confirms would be waited for in two threads.
        channel = connection.channel()
        replies = Inbox(Queue(channel, "amq.rabbitmq.reply-to"), no_ack=True)
        for number in range(100):
            call = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": str(number)}
            publish(channel, b"%d." % number, requests, **call)
            deadline = time.monotonic() + PATIENCE
            while len(replies.messages) <= number and time.monotonic() < deadline:
                time.sleep(0.001)
        seen = [(reply.properties["correlation_id"], bytes(reply.body)) for reply in replies.messages]
        check("each call has its answer", seen == [(str(n), b"%d.%d." % (n, n)) for n in range(100)])
        replies.stop()
        serving.stop_consuming()
        server.join(PATIENCE)
        requests.delete()


@scenario("large-message")
def large_message() -> None:
    with opened() as channel:
        queue = private_queue(channel)
        for body in bodies_around(channel.maximum_frame_size):
            publish(channel, body, queue)
            # Not check(what, seen, expected): its explanation would show the bodies.
            check(f"{len(body)} bytes", drain(queue) == [body])


@scenario("cancel-notify")
def cancel_notify() -> None:
    with Connection(url()) as connection:
        queue = private_queue(connection.channel())
        consuming = Queue(connection.channel(), queue.name)
        inbox = Inbox(consuming)
        queue.delete()
        inbox.join(PATIENCE)
        check("the client is told", inbox.cancelled is not None)
        check("which consumer", inbox.cancelled and inbox.cancelled.args, (consuming.consumer_tag,))
        queue = private_queue(consuming.channel)
        publish(consuming.channel, b"still here", queue)
        check("the channel works on", bytes(take(queue).body), b"still here")


@scenario("blocked")
def blocked() -> None:
    log = Heard("rabbitpy.channel0")
    with Connection(url()) as connection, opened() as reader:
        queue = declared(reader, "interop.blocked", durable=True)
        publisher = connection.channel()
        published = 0

        def publish_one() -> None:
            nonlocal published
            publish(publisher, b"%d" % published, queue)
            published += 1
            time.sleep(0.05)

        try:
            control("alarm", "on")
            wait_for("connection.blocked comes", lambda: connection.blocked, publish_one)
            said, _, reason = log.messages[-1].partition(": ")
            check("it has a reason, in the log", (said, bool(reason)), ("Connection is blocked", True))
        finally:
            control("alarm", "off")
        wait_for("connection.unblocked comes", lambda: not connection.blocked)
        wait_for("what was published arrives", lambda: len(queue) == published)
        check("in order", drain(queue) == [b"%d" % number for number in range(published)])
        queue.delete()


def consume_until_stop(queue: str, consumer: ReconnectingConsumer) -> None:
    with Connection(url()) as connection:
        messages = Queue(connection.channel(), queue).consume()
        consumer.connected()
        for message in messages:
            message.ack()
            if consumer.take(message.body.decode()):
                break


@scenario("recovery")
def recovery() -> None:
    consumed, kept = "interop.recovery.consumed", "interop.recovery.kept"
    with opened() as channel:
        exchange = DirectExchange(channel, "interop.recovery", durable=True)
        exchange.declare()
        for name in (consumed, kept):
            declared(channel, name, durable=True).bind(exchange, name)
        for number in range(5):
            publish(channel, b"persistent %d" % number, kept, exchange, delivery_mode=PERSISTENT)
            publish(channel, b"transient %d" % number, kept, exchange, delivery_mode=TRANSIENT)
        publish(channel, b"before", consumed, exchange, delivery_mode=PERSISTENT)
    # rabbitpy raises the latter when nobody listens.
    errors = (RabbitpyException, RuntimeError)
    consumer = ReconnectingConsumer(partial(consume_until_stop, consumed), errors)
    consumer.check_restart()
    with opened() as channel:
        exchange = DirectExchange(channel, "interop.recovery", durable=True)
        exchange.declare(passive=True)
        queue = Queue(channel, kept)
        persistent = [b"persistent %d" % number for number in range(5)]
        check("persistent messages are there, transient are not", drain(queue), persistent)
        publish(channel, b"after", kept, exchange)
        check("the bindings are there", drain(queue), [b"after"])
        for body in (b"after", b"stop"):
            publish(channel, body, consumed, exchange)
        consumer.check_end()
        for name in (consumed, kept):
            Queue(channel, name).delete()
        exchange.delete()


if __name__ == "__main__":
    run()
