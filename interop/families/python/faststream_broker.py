"""FastStream: subscribers and publishers on a RabbitBroker; what it declares and connects are aio-pika's objects."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.exceptions import PublishError
from faststream import AckPolicy
from faststream.exceptions import RejectMessage
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from faststream.rabbit.subscriber import RabbitSubscriber
from pamqp.commands import Basic

from interop.families.python.asyncio_clients import (
    BOUND_TO,
    MATCHED,
    MATCHING,
    NOT_FOUND,
    NOT_REFUSED,
    PROPERTIES,
    TABLE,
    Inbox,
    check_capabilities,
    check_expiry,
    check_letters,
    check_refused_logins,
    check_returned,
    check_second_deaths,
    check_table,
    dead_letters_to,
    delete,
    eventually,
    large_bodies,
    publish_during_alarm,
    refusal,
    scratch,
)
from interop.families.python.checks import AMQP, PATIENCE, arrival, check, control, run, scenario

RECONNECT_SECONDS = 0.2  # FastStream's own default is 5
ONE_BY_ONE = Channel(prefetch_count=1)  # handlers of messages that come together run together


def new_broker(address: str = AMQP.url, **options: Any) -> RabbitBroker:
    return RabbitBroker(address, timeout=PATIENCE, reconnect_interval=RECONNECT_SECONDS, logger=None, **options)


@asynccontextmanager
async def application(
    queues: Sequence[str] = (), exchanges: Sequence[str] = (), **options: Any
) -> AsyncIterator[RabbitBroker]:
    """A connected broker, not started; what the scenario declares under these names is deleted again."""
    async with scratch(queues, exchanges), new_broker(**options) as broker:
        yield broker


def collect(
    broker: RabbitBroker, queue: RabbitQueue, exchange: RabbitExchange | None = None, **options: Any
) -> tuple[RabbitSubscriber, Inbox[RabbitMessage]]:
    """A subscriber whose handler keeps the messages."""
    inbox = Inbox[RabbitMessage]()
    subscriber = broker.subscriber(queue, exchange, **options)

    @subscriber
    async def keep(message: RabbitMessage) -> None:
        inbox.append(message)

    return subscriber, inbox


async def declaring(entity: RabbitQueue | RabbitExchange) -> tuple[str, str]:
    """What becomes of a declaration on a connection of its own."""
    async with new_broker() as other:
        if isinstance(entity, RabbitQueue):
            return await refusal(other.declare_queue(entity))
        return await refusal(other.declare_exchange(entity))


async def exists(queue: str) -> bool:
    return await declaring(RabbitQueue(queue, declare=False)) == NOT_REFUSED


async def counts(queue: str) -> tuple[int | None, int | None]:
    """How many messages and consumers a queue has; a broker that knows it already would not ask."""
    async with new_broker() as other:
        told = (await other.declare_queue(RabbitQueue(queue, declare=False))).declaration_result
        return told.message_count, told.consumer_count


async def drain(queue: str) -> list[Any]:
    async with new_broker() as other:
        source, messages = await other.declare_queue(RabbitQueue(queue, declare=False)), []
        while message := await source.get(no_ack=True, fail=False):
            messages.append(message)
        return messages


async def take(subscriber: RabbitSubscriber, **options: Any) -> RabbitMessage:
    """The next message of a subscriber without handlers; there must be one."""
    message = await subscriber.get_one(timeout=PATIENCE, **options)
    assert message is not None
    return message


def delivery_tag(message: RabbitMessage) -> int:
    """Messages come to their handlers side by side; the tags tell their order."""
    return message.raw_message.delivery_tag or 0


def where(message: RabbitMessage) -> tuple[object, str | None, str | None]:
    return message.body, message.raw_message.exchange, message.raw_message.routing_key


@scenario("connect")
async def connecting() -> None:
    broker = new_broker()
    connection = await broker.connect()
    assert connection.transport is not None
    check_capabilities(connection.transport.connection.server_properties)
    await broker.start()
    check("broker answers", await broker.ping(timeout=PATIENCE))
    await broker.stop()
    check("connection is closed", connection.is_closed)


@scenario("auth-failure")
async def auth_failure() -> None:
    await check_refused_logins(lambda address: new_broker(address).connect())


@scenario("declare")
async def declare() -> None:
    # Its exchange types are an enumeration: FastStream cannot ask for one that the broker does not know.
    name = "interop.declare"
    durable = RabbitQueue(name, durable=True)
    async with application([name], [name]) as broker:
        exchange = await broker.declare_exchange(RabbitExchange(name, durable=True))
        queue = await broker.declare_queue(durable)
        check("queue declared again the same way", await declaring(durable), NOT_REFUSED)
        check("exchange declared again the same way", await declaring(RabbitExchange(name)), NOT_REFUSED)
        await queue.bind(exchange, "key")
        for text in ("1", "2"):
            await broker.publish(text, exchange=RabbitExchange(name), routing_key="key")
        check("passive declaration tells messages and consumers", await counts(name), (2, 0))
        missing = await declaring(RabbitQueue("interop.missing", declare=False))
        check("passive queue that is not there", missing, NOT_FOUND)
        missing = await declaring(RabbitExchange("interop.missing", declare=False))
        check("passive exchange that is not there", missing, NOT_FOUND)
        unlike = ("ChannelPreconditionFailed", "PRECONDITION_FAILED")
        check("other durability", await declaring(RabbitQueue(name, durable=False)), unlike)
        other_argument = await declaring(RabbitQueue(name, durable=True, arguments={"x-max-length": 5}))
        check("other argument", other_argument, unlike)
        # A refused declaration closes FastStream's channel, which aio-pika opens again.
        refused = await refusal(broker.declare_queue(RabbitQueue("interop.missing", declare=False)))
        check("refused on a channel in use", refused, NOT_FOUND)
        await arrival("404 leaves the connection and a channel", lambda: not queue.channel.is_closed)
        await queue.unbind(exchange, "key")
        await broker.publish("nobody", exchange=RabbitExchange(name), routing_key="key", mandatory=False)
        check("purge tells the number", (await queue.purge()).message_count, 2)
        await broker.publish("3", name)
        deleted = await queue.delete(if_unused=False, if_empty=False)
        check("delete tells the number", deleted.message_count, 1)
        deleted = await queue.delete(if_unused=False, if_empty=False)
        check("deleted twice is fine", deleted.message_count, 0)


@scenario("confirms")
async def confirms() -> None:
    queue = RabbitQueue("interop.confirms", durable=True)
    async with application([queue.name]) as broker:
        subscriber = broker.subscriber(queue)
        await broker.start()
        publisher = broker.publisher(queue, persist=True)
        answers = await asyncio.gather(*(publisher.publish(number) for number in range(1000)))
        check("each confirmed", [type(answer) for answer in answers].count(Basic.Ack), 1000)
        check("all in the queue", await counts(queue.name), (1000, 0))
        numbers = []
        async with asyncio.timeout(PATIENCE):
            async for message in subscriber:
                numbers.append(await message.decode())
                await message.ack()
                if len(numbers) == 1000:
                    break
        check("in order", numbers == list(range(1000)))
        await broker.stop()
        check("acknowledged ones are gone", await counts(queue.name), (0, 0))


@scenario("mandatory-return")
async def mandatory_return() -> None:
    name = "interop.returns"
    sent: dict[str, Any] = {"content_type": "text/plain", "correlation_id": "7", "headers": {"a": 1}}
    raising = Channel(on_return_raises=True)
    async with application([name], [name], default_channel=raising) as broker:
        exchange = RabbitExchange(name)
        await broker.declare_exchange(exchange)
        # It raises for the return only if that comes before the confirm.
        try:
            await broker.publish("nobody wants this", exchange=exchange, routing_key="interop.nobody", **sent)
        except PublishError as error:
            check_returned(error, name, b"nobody wants this", sent)
        else:
            check("returned before the confirm", False)
        await broker.declare_queue(RabbitQueue(name))
        check("a message that somebody gets is confirmed", type(await broker.publish("wanted", name)), Basic.Ack)


@scenario("consume")
async def consume() -> None:
    queue = RabbitQueue("interop.consume")
    async with application([queue.name]) as broker, new_broker() as consuming:
        await broker.declare_queue(queue)
        for number in range(10):
            await broker.publish(str(number), queue)
        options: dict[str, Any] = {"channel": Channel(prefetch_count=3), "ack_policy": AckPolicy.MANUAL}
        subscriber, inbox = collect(consuming, queue, **options)
        await consuming.start()
        await inbox.holds("3 are delivered", 3)
        inbox.sort(key=delivery_tag)
        check("no 4th is", ((await counts(queue.name))[0], inbox.bodies), (7, [b"0", b"1", b"2"]))
        await inbox[2].ack(multiple=True)
        await inbox.holds("ack of multiple lets 3 more in", 6)
        inbox.sort(key=delivery_tag)
        check("the next three", inbox.bodies[3:], [b"3", b"4", b"5"])
        await inbox[3].nack(requeue=True)
        await inbox.holds("a requeued message comes again", 7)
        redelivered = [inbox[index].raw_message.redelivered for index in (3, 6)]
        check("it is redelivered", (inbox[6].body, redelivered), (b"3", [False, True]))
        await inbox[4].reject(requeue=False)
        await inbox.holds("a rejected one makes room", 8)
        check("in its place comes the next", inbox[7].body, b"6")
        await subscriber.stop()
        await inbox[5].ack()
        check("none is delivered once cancelled", (await counts(queue.name), len(inbox)), ((3, 0), 8))
        await consuming.stop()
        left = await drain(queue.name)
        bodies = [message.body for message in left]
        check("what was not acknowledged is there again", bodies, [b"3", b"6", b"7", b"8", b"9"])
        check("only it is redelivered", [m.redelivered for m in left], [True, True, False, False, False])


@scenario("get")
async def get() -> None:
    name = "interop.get"
    queue, exchange = RabbitQueue(name, routing_key="key"), RabbitExchange(name)
    async with application([name], [name]) as broker:
        subscriber = broker.subscriber(queue, exchange)
        await broker.start()
        for text in ("1", "2"):
            await broker.publish(text, exchange=exchange, routing_key="key")
        first = await take(subscriber, no_ack=False)
        check("body, exchange and routing key", where(first), (b"1", name, "key"))
        check("redelivered, left", (first.raw_message.redelivered, first.raw_message.message_count), (False, 1))
        await first.reject(requeue=True)
        again = await take(subscriber, no_ack=False)
        check("requeued and redelivered", (again.body, again.raw_message.redelivered), (b"1", True))
        await again.ack()
        second = await take(subscriber)
        check("the next one is the last", (second.body, second.raw_message.message_count), (b"2", 0))
        check("empty queue gives None", await subscriber.get_one(timeout=0.2), None)


@scenario("exclusive")
async def exclusive() -> None:
    # FastStream's queues have names that the application gives, and its subscribers consume without exclusive.
    queue = RabbitQueue("interop.exclusive", durable=False, exclusive=True)
    async with application([queue.name]) as broker:
        _, inbox = collect(broker, queue)
        await broker.start()
        await broker.publish("mine", queue)
        await arrival("its own connection consumes", lambda: inbox.bodies == [b"mine"])
        locked = await declaring(RabbitQueue(queue.name, declare=False))
        check("another connection is refused", locked, ("ChannelLockedResource", "RESOURCE_LOCKED"))
        await broker.stop()
        check("gone with its connection", await exists(queue.name), False)


@scenario("auto-delete")
async def auto_delete() -> None:
    name = "interop.auto-delete"
    queue = RabbitQueue(name, auto_delete=True)
    exchange, bound = RabbitExchange(name, auto_delete=True), RabbitQueue(name + ".bound")
    async with application([name, bound.name], [name]) as broker:
        subscribers = [collect(broker, queue)[0] for _ in range(2)]
        await broker.start()
        await subscribers[0].stop()
        check("queue stays while one consumes", await exists(name))
        await subscribers[1].stop()
        check("queue goes with its last consumer", await exists(name), False)
        source, destination = await broker.declare_exchange(exchange), await broker.declare_queue(bound)
        for key in ("a", "b"):
            await destination.bind(source, key)
        await destination.unbind(source, "a")
        passive = RabbitExchange(name, declare=False)
        check("exchange stays while one is bound", await declaring(passive), NOT_REFUSED)
        await destination.unbind(source, "b")
        check("exchange goes with its last binding", await declaring(passive), NOT_FOUND)


@scenario("exchange-bindings")
async def exchange_bindings() -> None:
    queue = RabbitQueue("interop.e2e")
    topic = RabbitExchange("interop.e2e.topic", ExchangeType.TOPIC)
    fanout = RabbitExchange("interop.e2e.fanout", ExchangeType.FANOUT, bind_to=topic, routing_key="news.#")
    async with application([queue.name], [topic.name, fanout.name]) as broker:
        _, inbox = collect(broker, queue, fanout)
        await broker.start()
        await broker.publish("through", exchange=topic, routing_key="news.today")
        await broker.publish("not", exchange=topic, routing_key="weather", mandatory=False)
        await arrival("through both", lambda: [where(m) for m in inbox] == [(b"through", topic.name, "news.today")])
        middle, source = await broker.declare_exchange(fanout), await broker.declare_exchange(topic)
        await middle.unbind(source, "news.#")
        await broker.publish("late", exchange=topic, routing_key="news.today", mandatory=False)
        await broker.publish("last", queue)
        await inbox.holds("the queue still consumes", 2)
        check("not after unbind", inbox.bodies, [b"through", b"last"])


@scenario("headers")
async def headers() -> None:
    name = "interop.headers"
    exchange = RabbitExchange(name, ExchangeType.HEADERS)
    by_match = {
        match: RabbitQueue(f"{name}.{match}", bind_arguments={"x-match": match, **BOUND_TO}) for match in ("all", "any")
    }
    queues = [name, *(queue.name for queue in by_match.values())]
    async with application(queues, [name], app_id="app", default_channel=ONE_BY_ONE) as broker:
        _, inbox = collect(broker, RabbitQueue(name), no_reply=True)
        routed = {match: collect(broker, queue, exchange)[1] for match, queue in by_match.items()}
        await broker.start()
        await broker.publish(b"{}", name, headers=TABLE, message_type="type", persist=True, expiration=60, **PROPERTIES)
        await inbox.holds("message arrives", 1)
        check_table(inbox[0].headers)
        persistent = aio_pika.DeliveryMode.PERSISTENT
        expected = {**PROPERTIES, "expiration": 60.0, "delivery_mode": persistent, "type": "type", "app_id": "app"}
        for key, value in expected.items():
            check(f"property {key}", getattr(inbox[0].raw_message, key), value)

        for body, fields in MATCHING.items():
            await broker.publish(body, exchange=exchange, headers=fields, mandatory=False)
        for match, queue in by_match.items():
            await broker.publish(b"end", queue)
            await arrival(f"x-match {match}: all arrived", lambda: b"end" in routed[match].bodies)  # noqa: B023
            check(f"x-match {match}", routed[match].bodies, [*MATCHED[match], b"end"])


@scenario("dead-letter")
async def dead_letter() -> None:
    name, exchange = "interop.dl.work", RabbitExchange("interop.dl.dead")
    limited = RabbitQueue(name, arguments={**dead_letters_to("dead", exchange=exchange.name), "x-max-length": 1})
    dead = RabbitQueue(exchange.name, routing_key="dead")
    async with application([name, dead.name], [exchange.name]) as broker:
        _, inbox = collect(broker, dead, exchange)
        subscriber = broker.subscriber(limited)

        @subscriber
        async def refuse(text: str) -> None:
            raise RejectMessage

        await broker.start()
        await broker.publish("rejected", limited)
        await inbox.holds("rejected", 1)
        await subscriber.stop()
        await broker.publish("expired", limited, expiration=0.05)
        await inbox.holds("expired", 2)
        for text in ("maxlen", "the limit is 1"):
            await broker.publish(text, limited)
        await inbox.holds("length-limited", 3)
        check_letters([(where(letter), letter.headers) for letter in inbox], name, exchange.name)
    await dead_lettered_twice()


async def dead_lettered_twice() -> None:
    """Rejected messages wait a moment and come back; the second death of a kind is counted with the first."""
    name, waiting = "interop.dl.again", "interop.dl.waiting"
    tried = Inbox[RabbitMessage]()
    async with application([name, waiting]) as broker:
        await broker.declare_queue(RabbitQueue(waiting, arguments={**dead_letters_to(name), "x-message-ttl": 50}))

        @broker.subscriber(RabbitQueue(name, arguments=dead_letters_to(waiting)))
        async def succeed_at_last(message: RabbitMessage) -> None:
            tried.append(message)
            if len(tried) < 3:
                raise RejectMessage

        await broker.start()
        await broker.publish("again", name)
        await tried.holds("delivered three times", 3)
        check_second_deaths(tried[-1].headers, name, waiting)


@scenario("ttl")
async def ttl() -> None:
    short, long, gone, unused = (f"interop.ttl.{name}" for name in ("short", "long", "gone", "unused"))
    async with application([short, long, gone]) as broker:
        _, inbox = collect(broker, RabbitQueue(gone))
        await broker.start()
        await broker.declare_queue(RabbitQueue(short, arguments={"x-message-ttl": 50, **dead_letters_to(gone)}))
        await broker.declare_queue(RabbitQueue(long, arguments={"x-message-ttl": 60000, **dead_letters_to(gone)}))
        await broker.publish("the queue's", short, expiration=60)
        await arrival("x-message-ttl is smaller", lambda: inbox.bodies == [b"the queue's"])
        await broker.publish("its own", long, expiration=0.05)
        await broker.publish("stays", long)
        await arrival("expiration is smaller", lambda: inbox.bodies == [b"the queue's", b"its own"])
        check("what has time stays", await counts(long), (1, 0))

        async def is_gone() -> bool:
            return not await exists(unused)

        await check_expiry(
            lambda given: broker.declare_queue(RabbitQueue(unused, arguments=given, robust=False)), is_gone
        )


@scenario("priority")
async def priority() -> None:
    queue = RabbitQueue("interop.priority", arguments={"x-max-priority": 10})
    async with application([queue.name], default_channel=ONE_BY_ONE) as broker:
        await broker.declare_queue(queue)
        for text, level in (("1", 1), ("5", 5), ("3", 3), ("0", 0), ("9", 9), ("5 again", 5)):
            await broker.publish(text, queue, priority=level)
        await broker.publish("none", queue)
        _, inbox = collect(broker, queue)
        await broker.start()
        await inbox.holds("all are received", 7)
        expected = [b"9", b"5", b"5 again", b"3", b"1", b"0", b"none"]
        check("by priority, then in order; none is 0", inbox.bodies, expected)


@scenario("direct-reply-to")
async def direct_reply_to() -> None:
    queue = RabbitQueue("interop.rpc")
    async with application([queue.name]) as broker:

        @broker.subscriber(queue)
        async def upper(text: str) -> str:
            return text.upper()

        await broker.start()
        calls = [f"body {number}" for number in range(100)]
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*(broker.request(text, queue, timeout=PATIENCE) for text in calls))
        check("each its own answer", [await answer.decode() for answer in answers], [text.upper() for text in calls])


@scenario("large-message")
async def large_message() -> None:
    queue = RabbitQueue("interop.large")
    async with application([queue.name]) as broker:
        connection = await broker.connect()
        assert connection.transport is not None
        subscriber = broker.subscriber(queue)
        await broker.start()
        for body in large_bodies(connection.transport.connection.connection_tune.frame_max):
            await broker.publish(body, queue)
            got = await take(subscriber)
            check(f"{len(body)} bytes", (len(got.body), got.body == body), (len(body), True))


@scenario("cancel-notify")
async def cancel_notify() -> None:
    """FastStream hears that its consumer was cancelled and subscribes again; it has no word for the notice itself."""
    queue = RabbitQueue("interop.cancel")
    async with application([queue.name, "interop.cancel.other"]) as broker:
        _, inbox = collect(broker, queue)
        _, others = collect(broker, RabbitQueue("interop.cancel.other"))
        await broker.start()
        await delete([queue.name])
        await broker.publish("works on", "interop.cancel.other")
        await arrival("channel works on", lambda: others.bodies == [b"works on"])

        async def consumes_again() -> bool:
            return await exists(queue.name) and await counts(queue.name) == (0, 1)

        await eventually("subscriber is there again", consumes_again)
        await broker.publish("after", queue)
        await arrival("and gets what comes", lambda: inbox.bodies == [b"after"])


@scenario("blocked")
async def blocked() -> None:
    queue = RabbitQueue("interop.blocked")
    async with application([queue.name], default_channel=ONE_BY_ONE) as broker:
        await broker.declare_queue(queue)
        published = await publish_during_alarm(lambda body: broker.publish(body, queue))
        _, inbox = collect(broker, queue)
        await broker.start()
        await inbox.holds("what was published arrives", len(published))
        check("in order", inbox.bodies, published)


@scenario("recovery")
async def recovery() -> None:
    restored = asyncio.Event()
    # What is not robust is not FastStream's to restore: it must be there again by itself.
    exchange = RabbitExchange("interop.recovery", durable=True, robust=False)
    kept, queue = RabbitQueue("interop.recovery.kept", durable=True, robust=False), RabbitQueue("interop.recovery")
    callbacks = {"on_reconnected": [lambda _connection: restored.set()]}
    async with application([queue.name, kept.name], [exchange.name], **callbacks) as broker:
        holding = await broker.declare_queue(kept)
        await holding.bind(await broker.declare_exchange(exchange), "kept", robust=False)
        for text, persist in (("persistent", True), ("transient", False)):
            await broker.publish(text, exchange=exchange, routing_key="kept", persist=persist)
        _, inbox = collect(broker, queue, ack_policy=AckPolicy.MANUAL)
        await broker.start()
        await broker.publish("before", queue, persist=True)
        await arrival("consumes before", lambda: inbox.bodies == [b"before"])
        await asyncio.to_thread(control, "restart")
        await arrival("connection is restored", restored.is_set)
        await inbox.holds("unacknowledged message comes again", 2)
        check("it is redelivered", (inbox[1].body, inbox[1].raw_message.redelivered), (b"before", True))
        await inbox[1].ack()
        await broker.publish("after", queue)
        await arrival("publishes and consumes on", lambda: inbox.bodies[2:] == [b"after"])
        await inbox[2].ack()
        await broker.publish("new", exchange=exchange, routing_key="kept")
        bodies = [message.body for message in await drain(kept.name)]
        check("durable ones are there, transient is not", bodies, [b"persistent", b"new"])


if __name__ == "__main__":
    run()
