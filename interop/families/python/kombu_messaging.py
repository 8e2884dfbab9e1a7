"""kombu: its Connection, Exchange, Queue, Producer, Consumer and the mixins, over py-amqp.

kombu confirms one message at a time: with ``confirm_publish`` each publish returns when the broker has confirmed it.
"""

import datetime as dt
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqp.exceptions import ConsumerCancelled
from kombu import Connection, Consumer, Exchange, Producer, Queue, binding
from kombu.mixins import ConsumerMixin, ConsumerProducerMixin

from interop.families.python.checks import AMQP, PATIENCE, check, control, run, scenario, wait_for
from interop.families.python.kombu_shared import HEADERS, count, gone, refusal

REPLY_TO = Queue("amq.rabbitmq.reply-to", no_declare=True, no_ack=True)
SILENCE = 0.3  # seconds without a delivery that show that none comes


def connect(**options: Any) -> Connection:
    return Connection(AMQP.url, **options)


def confirming() -> Connection:
    return connect(transport_options={"confirm_publish": True})


@contextmanager
def declared(*entities: Queue | Exchange) -> Iterator[None]:
    """Declare queues and exchanges for the time of the block."""
    with connect() as connection:
        for entity in entities:
            entity(connection).declare()
    try:
        yield
    finally:
        with connect() as connection:
            for entity in entities:
                entity(connection).delete()


def drain(connection: Connection, seconds: float = 0.1) -> None:
    """Let callbacks see what comes, or do nothing when nothing comes in that time."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=seconds)


def take(queue: Queue, connection: Connection) -> Any:
    """The next message of the queue, which must come; it is acknowledged."""
    deadline = time.monotonic() + PATIENCE
    while (message := queue(connection).get(no_ack=True)) is None:
        assert time.monotonic() < deadline, f"no message in {queue.name}"
        time.sleep(0.01)
    return message


@scenario("connect")
def connecting() -> None:
    connection = connect().ensure_connection(max_retries=1)
    properties = connection.connection.server_properties
    check("the server names its product", bool(properties["product"]))
    for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
        check(f"capability {capability}", properties["capabilities"][capability])
    channel = connection.channel()
    check("the channel is open", channel.is_open)
    channel.close()
    check("the channel is closed", channel.is_open, False)
    connection.release()
    check("the connection is closed", bool(connection.connected), False)


@scenario("auth-failure")
def auth_failure() -> None:
    right = {"hostname": AMQP.host, "port": AMQP.port, "userid": AMQP.user, "password": AMQP.password}
    stranger = Connection(**right | {"password": "wrong"}, virtual_host=AMQP.vhost)
    check("wrong password", refusal(stranger.connect), ("AccessRefused", 403))
    lost = Connection(**right, virtual_host="interop.nowhere")
    check("unknown vhost", refusal(lost.connect), ("NotAllowed", 530))


@scenario("declare")
def declare() -> None:
    exchange = Exchange("interop.declare", "direct")
    queue = Queue("interop.declare", exchange, "key")
    otherwise = Queue(queue.name, durable=False)
    longer = Queue(queue.name, max_length=5)
    with declared(exchange, queue), connect() as connection:
        bound = queue(connection)
        check("declared again", bound.declare(), queue.name)
        producer = Producer(connection, exchange)
        for _ in range(3):
            producer.publish("text", routing_key="key")
        wait_for("a passive declaration tells messages", lambda: count(queue, connection) == 3)
        consumer = Consumer(connection.channel(), [queue], callbacks=[lambda _body, _message: None])
        consumer.consume()
        consumers = bound.queue_declare(passive=True).consumer_count
        check("a passive declaration tells consumers", consumers, 1)
        consumer.channel.close()
        check("not there", refusal(lambda: Queue("interop.none")(connection).queue_declare(passive=True))[1], 404)
        check("only the channel was closed", bound.queue_declare(passive=True).queue, queue.name)
        refused = ("PreconditionFailed", 406)
        check("another durability", refusal(otherwise(connection).declare), refused)
        check("another argument", refusal(longer(connection).declare), refused)
        bound.unbind_from(exchange, "key")
        producer.publish("goes nowhere", routing_key="key")
        check("purged after the unbind", bound.purge(), 3)
        Producer(connection).publish("text", routing_key=queue.name)
        wait_for("one more message", lambda: count(queue, connection) == 1)
        check("deleted with its messages", bound.delete(), 1)
        check("deleted again", bound.delete(), 0)
    with connect() as connection:
        unknown = Exchange("interop.declare", "interop-no-such-type")(connection)
        check("an unknown type", refusal(unknown.declare), ("InvalidCommand", 503))
        check("the connection was closed", bool(connection.connected), False)


@scenario("confirms")
def confirms() -> None:
    queue = Queue("interop.confirms")
    with declared(queue), confirming() as connection:
        producer = Producer(connection)
        for number in range(1000):
            producer.publish(number, routing_key=queue.name, delivery_mode="persistent", timeout=PATIENCE)
        check("all are in the queue", count(queue, connection), 1000)
        bound = queue(connection)
        got = [bound.get(no_ack=True) for _ in range(1000)]
        check("in order", [message.payload for message in got], list(range(1000)))
        check("persistent", {message.properties["delivery_mode"] for message in got}, {2})


@scenario("mandatory-return")
def mandatory_return() -> None:
    returned: list[Any] = []
    with declared(exchange := Exchange("interop.returning", "direct")), confirming() as connection:
        producer = Producer(connection, exchange, on_return=lambda *parts: returned.append(parts))
        producer.publish(
            {"nobody": "gets it"}, "nowhere", mandatory=True, correlation_id="c", headers={"h": 1}, timeout=PATIENCE
        )
    check("returned once, before the confirm", len(returned), 1)
    error, name, key, message = returned[0]
    check("reply code", error.reply_code, 312)
    check("reply text", error.reply_text, "NO_ROUTE")
    check("exchange and routing key", (name, key), (exchange.name, "nowhere"))
    check("body", message.body, '{"nobody": "gets it"}')
    properties = [message.properties[name] for name in ("content_type", "correlation_id", "application_headers")]
    check("properties", properties, ["application/json", "c", {"h": 1}])


@scenario("consume")
def consume() -> None:
    queue = Queue("interop.consume")
    taken: list[Any] = []

    def seen() -> list[tuple[int, bool]]:
        return [(message.payload, message.delivery_info["redelivered"]) for message in taken]

    with declared(queue), connect() as connection:
        producer = Producer(connection)
        for number in range(10):
            producer.publish(number, routing_key=queue.name)
        channel = connection.channel()
        with Consumer(channel, [queue], on_message=taken.append, prefetch_count=3):
            wait_for("three of ten are delivered", lambda: len(taken) == 3, lambda: drain(connection))
            drain(connection, SILENCE)
            check("no fourth until an ack", seen(), [(0, False), (1, False), (2, False)])
            taken[1].ack(multiple=True)
            wait_for("two were acked, two come", lambda: len(taken) == 5, lambda: drain(connection))
            taken[2].requeue()
            wait_for("what was requeued comes again", lambda: len(taken) == 6, lambda: drain(connection))
            check("redelivered, before the others", seen()[3:], [(3, False), (4, False), (2, True)])
            taken[3].reject()
            wait_for("the next for what was rejected", lambda: len(taken) == 7, lambda: drain(connection))
        check("all that came", seen()[5:], [(2, True), (5, False)])
        check("cancelled, three are not acked", count(queue, connection), 4)
        channel.close()
        wait_for("they are there again", lambda: count(queue, connection) == 7)
        again = [take(queue, connection) for _ in range(7)]
        check("what was rejected is gone", [message.payload for message in again], [2, 4, 5, 6, 7, 8, 9])


@scenario("get")
def get() -> None:
    exchange = Exchange("interop.get", "direct")
    queue = Queue("interop.get", exchange, "key")
    with declared(exchange, queue), confirming() as connection:
        producer = Producer(connection, exchange, "key")
        for text in ("one", "two"):
            producer.publish(text)
        bound = queue(connection)
        message = bound.get()
        info = {name: message.delivery_info[name] for name in ("exchange", "routing_key", "redelivered")}
        check("where it came from", info, {"exchange": exchange.name, "routing_key": "key", "redelivered": False})
        check("messages left", message.delivery_info["message_count"], 1)
        message.requeue()
        message = bound.get()
        check("again", (message.payload, message.delivery_info["redelivered"]), ("one", True))
        message.ack()
        check("got without ack", bound.get(no_ack=True).payload, "two")
        check("an empty queue", bound.get(), None)


@scenario("exclusive")
def exclusive() -> None:
    with connect() as other:
        with connect() as connection:
            queue = Queue(exclusive=True, durable=False)(connection)
            queue.declare()
            check("named by the server", queue.name.startswith("amq.gen-"))
            named = Queue(queue.name)
            locked = ("ResourceLocked", 405)
            check("declared elsewhere", refusal(lambda: named(other).queue_declare(passive=True)), locked)
            check("read elsewhere", refusal(named(other).get), locked)
        wait_for("gone with its connection", lambda: gone(named, other))
        # The consumers of kombu are never exclusive; its channels can make them so.
        with declared(shared := Queue("interop.exclusive")), connect() as connection:
            connection.channel().basic_consume(shared.name, exclusive=True)
            second = refusal(lambda: shared(other).consume())
            check("a second consumer", second, ("AccessRefused", 403))


@scenario("auto-delete")
def auto_delete() -> None:
    queue = Queue("interop.passing", auto_delete=True)
    exchange = Exchange("interop.passing", "fanout", auto_delete=True)
    bound = Queue("interop.bound", exchange)
    with declared(exchange, queue, bound), connect() as connection:
        with Consumer(connection.channel(), [queue], callbacks=[lambda _body, _message: None]):
            with Consumer(connection.channel(), [queue], callbacks=[lambda _body, _message: None]):
                check("there with two consumers", gone(queue, connection), False)
            check("there with one", gone(queue, connection), False)
        wait_for("the queue goes with its last consumer", lambda: gone(queue, connection))
        check("an exchange with a binding", gone(exchange, connection), False)
        bound(connection).unbind_from(exchange)
        wait_for("the exchange goes with its last binding", lambda: gone(exchange, connection))


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    topic, fanout = Exchange("interop.topic", "topic"), Exchange("interop.fanout", "fanout")
    queue = Queue("interop.bound", fanout)
    with declared(topic, fanout, queue), confirming() as connection:
        target = fanout(connection)
        target.bind_to(topic, "*.red")
        producer = Producer(connection, topic)
        for key in ("deep.red", "deep.blue"):
            producer.publish(key, key)
        check("through both", take(queue, connection).delivery_info["routing_key"], "deep.red")
        check("by its key only", count(queue, connection), 0)
        target.unbind_from(topic, "*.red")
        producer.publish("late", "deep.red")
        check("not after the unbind", count(queue, connection), 0)


PROPERTIES: dict[str, Any] = {
    "content_type": "application/x-interop",
    "content_encoding": "binary",
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "correlation",
    "reply_to": "reply",
    "message_id": "message",
    "timestamp": 1709209801,
    "type": "kind",
    "user_id": AMQP.user,
    "app_id": "interop",
    "cluster_id": "cluster",
}


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: types(one) for name, one in value.items()}
    if isinstance(value, list):
        return [types(one) for one in value]
    return type(value)


@scenario("headers")
def headers() -> None:
    exchange = Exchange("interop.headers", "headers")
    match = {"colour": "red", "size": 5}
    every = Queue("interop.all", exchange, binding_arguments={"x-match": "all", **match})
    either = Queue("interop.any", exchange, binding_arguments={"x-match": "any", **match})
    plain = Queue("interop.plain")
    with declared(exchange, every, either, plain), confirming() as connection:
        producer = Producer(connection)
        producer.publish(b"body", plain.name, headers=HEADERS, expiration=60, **PROPERTIES)
        message = take(plain, connection)
        for name, value in HEADERS.items():
            check(f"header {name}", message.headers.get(name, "absent"), value)
        check("types of the headers", types(message.headers), types(HEADERS))
        for name, value in PROPERTIES.items():
            check(f"property {name}", message.properties[name], value)
        check("property expiration", message.properties["expiration"], "60000")
        for sent in (match, {"colour": "red"}, {"colour": "blue", "size": 6}, {**match, "more": 1}):
            producer.publish(sent, exchange=exchange, headers=sent)
        check("x-match all", (count(every, connection), take(every, connection).payload), (2, match))
        check("x-match any", count(either, connection), 3)


def deaths(message: Any) -> list[tuple[Any, ...]]:
    names = ("reason", "queue", "exchange", "routing-keys", "count")
    return [tuple(death[name] for name in names) for death in message.headers["x-death"]]


@scenario("dead-letter")
def dead_letter() -> None:
    exchange = Exchange("interop.dead", "direct")
    dead = Queue("interop.dead", exchange, "asked for")
    to_dead = {"x-dead-letter-exchange": exchange.name, "x-dead-letter-routing-key": "asked for"}
    rejecting = Queue("interop.rejected", queue_arguments=to_dead)
    expiring = Queue("interop.expired", queue_arguments=to_dead, message_ttl=0.05)
    short = Queue("interop.maxlen", queue_arguments=to_dead, max_length=1)
    with declared(exchange, dead, rejecting, expiring, short), confirming() as connection:
        producer = Producer(connection)
        for queue, reason in ((rejecting, "rejected"), (expiring, "expired"), (short, "maxlen")):
            producer.publish(reason, queue.name)
            if queue is rejecting:
                queue(connection).get().reject()
            elif queue is short:
                producer.publish("pushes the other one out", queue.name)
            message = take(dead, connection)
            check(f"{reason}: body", message.payload, reason)
            check(f"{reason}: routing key", message.delivery_info["routing_key"], "asked for")
            check(f"{reason}: x-death", deaths(message), [(reason, queue.name, "", [queue.name], 1)])
            check(f"{reason}: time", type(message.headers["x-death"][0]["time"]), dt.datetime)
            first = [message.headers[f"x-first-death-{name}"] for name in ("reason", "queue", "exchange")]
            check(f"{reason}: x-first-death", first, [reason, queue.name, ""])
    twice()


def twice() -> None:
    """A queue whose rejected messages wait in another one and come back: what retries are built of."""
    back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "interop.work"}
    work = Queue("interop.work", queue_arguments={**back, "x-dead-letter-routing-key": "interop.wait"})
    waiting = Queue("interop.wait", queue_arguments=back, message_ttl=0.05)
    with declared(work, waiting), connect() as connection, connection.SimpleQueue(work) as simple:
        Producer(connection).publish("stubborn", work.name)
        for _ in range(2):
            simple.get(timeout=PATIENCE).reject()
        message = simple.get(timeout=PATIENCE)
        message.ack()
        reasons = {(reason, queue): number for reason, queue, *_, number in deaths(message)}
        check("dead twice", reasons, {("rejected", work.name): 2, ("expired", waiting.name): 2})


@scenario("ttl")
def ttl() -> None:
    brief = Queue("interop.brief", message_ttl=0.2)
    patient = Queue("interop.patient", message_ttl=60)
    unused = Queue("interop.unused", expires=0.3)
    with declared(brief, patient), confirming() as connection:
        producer = Producer(connection)
        start = time.monotonic()
        producer.publish("expires", brief.name, expiration=60)
        wait_for("the queue's is the smaller", lambda: count(brief, connection) == 0)
        check("not too early", time.monotonic() - start >= 0.2)
        start = time.monotonic()
        producer.publish("expires", patient.name, expiration=0.2)
        producer.publish("stays", patient.name)
        wait_for("the message's is the smaller", lambda: count(patient, connection) == 1)
        check("not too early either", time.monotonic() - start >= 0.2)
        check("the other one stays", take(patient, connection).payload, "stays")
    with declared(unused), connect() as connection:
        # Asking for it is using it: not more often than it expires.
        time.sleep(0.6)
        wait_for("an unused queue expired", lambda: gone(unused, connection), lambda: time.sleep(0.6))


@scenario("priority")
def priority() -> None:
    queue = Queue("interop.priority", max_priority=10)
    with declared(queue), confirming() as connection:
        producer = Producer(connection)
        for order, level in enumerate((1, 5, 3, 0, 9, None, 5, 3)):
            producer.publish([level, order], queue.name, priority=level)
        got = [take(queue, connection).payload for _ in range(8)]
        check("by priority", got, [[9, 4], [5, 1], [5, 6], [3, 2], [3, 7], [1, 0], [0, 3], [None, 5]])


class Server(ConsumerProducerMixin):
    """Answers requests, as kombu's manual has it."""

    def __init__(self, connection: Connection, queue: Queue) -> None:
        self.connection = connection
        self.queue = queue
        self.ready = threading.Event()

    def get_consumers(self, consumer: type[Consumer], channel: Any) -> list[Consumer]:
        return [consumer([self.queue], on_message=self.on_request, prefetch_count=1)]

    def on_consume_ready(self, connection: Connection, channel: Any, consumers: list[Consumer], **kwargs: Any) -> None:
        self.ready.set()

    def on_request(self, message: Any) -> None:
        self.producer.publish(
            message.payload**2,
            exchange="",
            routing_key=message.properties["reply_to"],
            correlation_id=message.properties["correlation_id"],
            retry=True,
        )
        message.ack()


@contextmanager
def running(worker: ConsumerMixin) -> Iterator[None]:
    """A worker with a mixin, in a thread of its own for the time of the block."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.should_stop = True
        thread.join(PATIENCE)


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    queue = Queue("interop.rpc")
    replies: dict[str, Any] = {}
    server = Server(connect(), queue)

    def on_reply(message: Any) -> None:
        replies[message.properties["correlation_id"]] = message.payload

    with declared(queue), running(server), connect() as connection:
        check("the server is ready", server.ready.wait(PATIENCE))
        channel = connection.channel()
        with Consumer(channel, [REPLY_TO], on_message=on_reply, no_ack=True, accept=["json"]):
            producer = Producer(channel)
            for number in range(100):
                producer.publish(number, queue.name, reply_to=REPLY_TO.name, correlation_id=f"call {number}")
            wait_for("a hundred replies", lambda: len(replies) == 100, lambda: drain(connection))
    check("each its own", replies, {f"call {number}": number**2 for number in range(100)})


@scenario("large-message")
def large_message() -> None:
    queue = Queue("interop.large")
    with declared(queue), confirming() as connection:
        frame_max = connection.ensure_connection(max_retries=1).connection.frame_max
        for size in (0, frame_max - 8, frame_max - 7, 20 * 2**20):
            body = bytes(range(256)) * (size // 256) + bytes(size % 256)
            Producer(connection).publish(body, queue.name)
            # An empty body is read as an empty text.
            check(f"{size} bytes come back the same", (take(queue, connection).body or b"") == body)


@scenario("cancel-notify")
def cancel_notify() -> None:
    told: list[str] = []
    watched, other = Queue("interop.watched"), Queue("interop.other")
    with declared(watched, other), connect() as connection, connect() as deleter:
        channel = connection.channel()
        watched(channel).consume("by-callback", callback=lambda _message: None, on_cancel=told.append)
        watched(deleter).delete()
        wait_for("its callback is called", lambda: bool(told), lambda: drain(connection))
        check("with the consumer's tag", told, ["by-callback"])
        # Without a callback it is an exception, which the mixins take for a reason to consume anew.
        Consumer(channel, [watched], callbacks=[lambda _body, _message: None]).consume()
        watched(deleter).delete()
        try:
            connection.drain_events(timeout=PATIENCE)
            check("without a callback it is raised", "nothing was raised", "ConsumerCancelled")
        except ConsumerCancelled as error:
            check("without a callback it is raised", isinstance(error, connection.connection_errors))
        check("the channel works on", other(channel).queue_declare(passive=True).queue, other.name)


@scenario("blocked")
def blocked() -> None:
    told: list[str] = []
    listening = {"on_blocked": told.append, "on_unblocked": lambda: told.append("unblocked")}
    published = itertools.count()
    with declared(queue := Queue("interop.blocked")), connect(transport_options=listening) as connection:
        producer = Producer(connection)

        def publish() -> None:
            producer.publish(next(published), queue.name)
            drain(connection)

        publish()
        control("alarm", "on")
        try:
            # The broker tells a connection that publishes, and may be a moment later to see the alarm.
            wait_for("told that it is blocked", lambda: bool(told), publish)
            publish()
        finally:
            control("alarm", "off")
        wait_for("told that it is not any more", lambda: len(told) == 2, lambda: drain(connection))
        # py-amqp does not read the broker's reason and gives one of its own.
        check("in these words", told, ["connection blocked, see broker logs", "unblocked"])
        sent = list(range(next(published)))
        check("what was published arrives", [take(queue, connection).payload for _ in sent], sent)


class Worker(ConsumerMixin):
    """Notes what comes; counts its connections."""

    def __init__(self, connection: Connection, queue: Queue) -> None:
        self.connection = connection
        self.queue = queue
        self.connected = 0
        self.seen: list[Any] = []

    def get_consumers(self, consumer: type[Consumer], channel: Any) -> list[Consumer]:
        return [consumer([self.queue], callbacks=[self.on_work])]

    def on_consume_ready(self, connection: Connection, channel: Any, consumers: list[Consumer], **kwargs: Any) -> None:
        self.connected += 1

    def on_work(self, body: Any, message: Any) -> None:
        message.ack()
        self.queue(message.channel).queue_declare(passive=True)  # answered after the ack has been taken
        self.seen.append(body)


@scenario("recovery")
def recovery() -> None:
    exchange = Exchange("interop.recovery", "direct")
    work = Queue("interop.recovery", [binding(exchange, "work")])
    kept = Queue("interop.kept", exchange, "keep")
    worker = Worker(connect(), work)
    with declared(exchange, work, kept), confirming() as connection, running(worker):
        producer = Producer(connection, exchange)
        producer.publish("before", "work")
        wait_for("consumed before", lambda: worker.seen == ["before"])
        for mode in ("persistent", "transient"):
            producer.publish(mode, "keep", delivery_mode=mode)
        control("restart")
        wait_for("the consumer is there again", lambda: worker.connected == 2)
        # The producer's connection broke, too: it makes a new one and publishes there.
        producer.publish("after", "work", retry=True, retry_policy={"max_retries": 5})
        wait_for("consumed after", lambda: worker.seen == ["before", "after"])
        check("only the persistent message is left", count(kept, connection), 1)
        check("and comes", take(kept, connection).payload, "persistent")
        producer.publish("bound still", "keep")
        check("bindings hold", take(kept, connection).payload, "bound still")
        check("the exchange is there", gone(exchange, connection), False)


if __name__ == "__main__":
    run()
