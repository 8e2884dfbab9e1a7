"""dramatiq over RabbitMQ: actors in a worker of its own, callbacks for replies, retries, delays, dead letter queues.

The worker is a child process with one thread for messages. dramatiq publishes to the default exchange only, into
durable queues: each has a queue beside it for delayed messages (``.DQ``) and one for dead letters (``.XQ``).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pika
from dramatiq import Message, Middleware
from dramatiq.brokers import rabbitmq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed

from interop.families.python import dramatiq_app as actors
from interop.families.python.checks import AMQP, PATIENCE, cannot, check, control, run, scenario, wait_for
from interop.families.python.dramatiq_app import REPLIES, TASKS

SILENCE = 0.5  # seconds that show that nothing more comes
DEAD_MESSAGE_TTL = 3000  # milliseconds that dead letters are kept where a scenario waits for their end


@contextmanager
def client(**options: Any) -> Iterator[RabbitmqBroker]:
    """A broker of dramatiq for the time of the block; the queues are deleted in the end."""
    try:
        with connected(**options) as broker:
            yield broker
    finally:
        delete(TASKS, REPLIES)


@contextmanager
def connected(**options: Any) -> Iterator[RabbitmqBroker]:
    broker = RabbitmqBroker(**{"url": AMQP.url, "confirm_delivery": True, **options})
    try:
        yield broker
    finally:
        broker.close()


@contextmanager
def dead_letters_kept(milliseconds: int) -> Iterator[None]:
    """How long: an argument of the queues that are declared in the block, here and by the worker."""
    variable, usually = "dramatiq_dead_message_ttl", rabbitmq.DEAD_MESSAGE_TTL
    os.environ[variable], rabbitmq.DEAD_MESSAGE_TTL = str(milliseconds), milliseconds
    try:
        yield
    finally:
        del os.environ[variable]
        rabbitmq.DEAD_MESSAGE_TTL = usually


def delete(*queues: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(AMQP.url)) as connection:
        for queue in queues:
            for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
                connection.channel().queue_delete(name)


@contextmanager
def working(prefetch: int = 1) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker for the time of the block. It restarts its consumers 0.3 s after they fail."""
    command = [sys.executable, "-P", "-m", "dramatiq", actors.__name__, "--queues", TASKS]
    environment = {"dramatiq_queue_prefetch": str(prefetch), "dramatiq_restart_delay": "300"}
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, "--processes", "1", "--threads", "1"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 3 * PATIENCE
            while "ready for action" not in Path(log.name).read_text():
                assert process.poll() is None, "the worker ended"
                assert time.monotonic() < deadline, "the worker does not start"
                time.sleep(0.05)
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read())
            raise
        finally:
            process.terminate()
            try:
                process.wait(2 * PATIENCE)
            except subprocess.TimeoutExpired:
                kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Without warning, with the processes it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def take(broker: RabbitmqBroker, queue: str, number: int, prefetch: int = 100) -> list[Any]:
    """So many messages of a queue, which must come; each is acknowledged."""
    taken: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    consumer = broker.consume(queue, prefetch=prefetch, timeout=100)
    try:
        for message in consumer:
            if message is not None:
                consumer.ack(message)
                taken.append(message)
            assert time.monotonic() < deadline, f"{len(taken)} of {number} messages in {queue}"
            if len(taken) == number:
                return taken
    finally:
        consumer.close()
    raise AssertionError("the consumer ended")


def send(broker: RabbitmqBroker, actor: Any, *args: Any, delay: int | None = None, **options: Any) -> Message:
    """Send a message whose result goes to the queue of replies."""
    return broker.enqueue(actor.message_with_options(args=args, on_success=actors.reply, **options), delay=delay)


def answers(broker: RabbitmqBroker, number: int) -> dict[str, Any]:
    """The results of so many messages, by the messages' identifiers."""
    return {message.args[0]["message_id"]: message.args[1] for message in take(broker, REPLIES, number)}


def call(broker: RabbitmqBroker, actor: Any, *args: Any) -> Any:
    """The result of one message, which must be the only one that comes."""
    sent = send(broker, actor, *args)
    return answers(broker, 1)[sent.message_id]


def refusal(act: Callable[[], object]) -> str:
    """What the act ends in, in the words of pika."""
    try:
        act()
    except ConnectionClosed as error:
        return repr(error.args[0])
    return "nothing"


def exists(broker: RabbitmqBroker, queue: str) -> bool:
    try:
        broker.connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        return bool(error.reply_code != 404)
    return True


@scenario("connect")
def connecting() -> None:
    with client() as broker:
        connection = broker.connection
        check("the server names its product", bool(connection._impl.server_properties["product"]))
        check("publisher confirms", connection.publisher_confirms_supported)
        check("consumers are told when cancelled", connection.consumer_cancel_notify_supported)
        check("basic.nack", connection.basic_nack_supported)
        check("a channel opens", broker.channel.is_open)
        with working() as worker:
            check("an actor runs", call(broker, actors.add, 1, 2), 3)
            worker.terminate()
            check("the worker stops in order", worker.wait(PATIENCE), 0)
        del broker.channel
        check("the connection is open", connection.is_open)
        broker.close()
        check("the connection is closed", connection.is_closed)


@scenario("auth-failure")
def auth_failure() -> None:
    place = f"{AMQP.host}:{AMQP.port}"
    refusals = {
        f"amqp://{AMQP.user}:wrong@{place}/": ("ProbableAuthenticationError", "(403) 'ACCESS_REFUSED"),
        f"amqp://{AMQP.user}:{AMQP.password}@{place}/interop.nowhere": (
            "ProbableAccessDeniedError",
            "(530) 'NOT_ALLOWED",
        ),
    }
    for url, expected in refusals.items():
        with connected(url=url) as stranger:
            refused = refusal(partial(send, stranger, actors.add, 1, 2))
            check(expected[0], tuple(words for words in expected if words in refused), expected)


@scenario("declare")
def declare() -> None:
    with client() as broker:
        for _ in range(3):
            send(broker, actors.add, 1, 2)
        check("declared by the first message", broker.get_queue_message_counts(TASKS), (3, 0, 0))
        send(broker, actors.add, 1, 2, delay=60_000)
        broker.declare_queue(TASKS, ensure=True)
        check("declared again", broker.get_queue_message_counts(TASKS), (3, 1, 0))
        with connected(max_priority=5) as other:
            refused = refusal(lambda: other.declare_queue(TASKS, ensure=True))
            check("declared with another argument", '(406) "PRECONDITION_FAILED' in refused)
        broker.flush(TASKS)
        check("flushed", broker.get_queue_message_counts(TASKS), (0, 0, 0))
        connection = broker.connection
        broker.flush("interop.none")
        check("a flush of what is not there closes the channel only", connection.is_open and broker.channel.is_open)
        check("and makes nothing", exists(broker, "interop.none"), False)
        check("the connection is the same", broker.connection is connection)


@scenario("confirms")
def confirms() -> None:
    with client() as broker:
        for number in range(1000):
            send(broker, actors.echo, number)
        check("all are in the queue", broker.get_queue_message_counts(TASKS), (1000, 0, 0))
        taken = take(broker, TASKS, 1000)
        check("in order", [message.args for message in taken], [(number,) for number in range(1000)])


class Attempts(Middleware):
    """Counts how often messages are published."""

    def __init__(self) -> None:
        self.number = 0

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.number += 1


@scenario("mandatory-return")
def mandatory_return() -> None:
    with client() as broker:
        broker.add_middleware(attempts := Attempts())
        send(broker, actors.echo, "before")
        delete(TASKS)
        sent = send(broker, actors.echo, "after")
        check("returned, dramatiq declares the queue and publishes again", attempts.number, 3)
        check("it is there then", broker.get_queue_message_counts(TASKS), (1, 0, 0))
        check("whole", take(broker, TASKS, 1)[0].asdict(), sent.asdict())
    with client(confirm_delivery=False) as careless:
        send(careless, actors.echo, "before")
        delete(TASKS)
        send(careless, actors.echo, "lost")
        check("without confirms it is not mandatory", exists(careless, TASKS), False)


@scenario("consume")
def consume() -> None:
    with client() as broker, tempfile.TemporaryDirectory() as folder:

        def counts() -> tuple[int, int, int]:
            seen: tuple[int, int, int] = broker.get_queue_message_counts(TASKS)
            return seen

        with working(prefetch=3) as worker:
            names = [str(Path(folder, str(number))) for number in range(10)]
            sent = [send(broker, actors.hold, name) for name in names]
            wait_for("three of ten are delivered", lambda: counts() == (7, 0, 0))
            time.sleep(SILENCE)
            check("no fourth until an ack", counts(), (7, 0, 0))
            Path(names[0]).touch()
            wait_for("acknowledged, the next comes", lambda: counts() == (6, 0, 0))
            for name in names:
                Path(name).touch()
            expected = {message.message_id: str(number) for number, message in enumerate(sent)}
            check("all are done", answers(broker, 10), expected)
            check("what fails is delayed and runs again", call(broker, actors.flaky, 2), 3)
            start = time.monotonic()
            late = send(broker, actors.add, 1, 2, delay=400)
            check("what is delayed runs later", answers(broker, 1), {late.message_id: 3})
            check("not too early", time.monotonic() - start >= 0.4)
            held = [send(broker, actors.hold, f"{folder}/never") for _ in range(5)]
            wait_for("three are held", lambda: counts() == (2, 0, 0))
            kill(worker)
            wait_for("what was not acknowledged is there again", lambda: counts() == (5, 0, 0))
            again = take(broker, TASKS, 5)
            check("in order", [message.message_id for message in again], [message.message_id for message in held])
            check("redelivered", [message.redelivered for message in again], [True] * 3 + [False] * 2)


cannot("get", "dramatiq has no basic.get: it reads queues by consuming")
cannot("exclusive", "dramatiq declares durable, shared queues only, and consumers that are never exclusive")
cannot("auto-delete", "dramatiq declares durable queues only, and no exchanges")
cannot("exchange-bindings", "dramatiq publishes to the default exchange only and knows no bindings")
cannot("headers", "dramatiq writes and reads no headers: a message with its options is the body")


@scenario("dead-letter")
def dead_letter() -> None:
    with client() as broker, working():
        sent = send(broker, actors.fail)
        wait_for("what fails for good is in the dead letter queue", lambda: dead(broker) == (0, 0, 1))
        # dramatiq hides the headers of a message: there is no x-death to look at.
        (message,) = take(broker, f"{TASKS}.XQ", 1)
        check("whole", message.asdict(), sent.asdict())
        unknown = Message(queue_name=TASKS, actor_name="nobody", args=(), kwargs={}, options={})
        broker.enqueue(unknown)
        wait_for("a message for an unknown actor", lambda: dead(broker) == (0, 0, 1))
        check("the same", take(broker, f"{TASKS}.XQ", 1)[0].message_id, unknown.message_id)
        broker.channel.basic_publish("", TASKS, b"no message of dramatiq's")
        wait_for("a body that nobody can decode", lambda: dead(broker) == (0, 0, 1))


def dead(broker: RabbitmqBroker) -> Any:
    return broker.get_queue_message_counts(TASKS)


@scenario("ttl")
def ttl() -> None:
    with dead_letters_kept(DEAD_MESSAGE_TTL), client() as broker, working(), tempfile.TemporaryDirectory() as folder:
        # The worker is busy until the message is too old: a dead letter may not live until a worker has started.
        broker.enqueue(actors.hold.message_with_options(args=(f"{folder}/go on",)))
        start = time.monotonic()
        send(broker, actors.add, 1, 2, max_age=100)
        time.sleep(0.2)
        Path(folder, "go on").touch()
        wait_for("a message that is too old is dead, not done", lambda: dead(broker) == (0, 0, 1))
        wait_for("a dead letter expires", lambda: dead(broker) == (0, 0, 0))
        check("not too early", time.monotonic() - start >= DEAD_MESSAGE_TTL / 1000)
        check("nobody has done it", broker.get_queue_message_counts(REPLIES), (0, 0, 0))


@scenario("priority")
def priority() -> None:
    with client(max_priority=10) as broker:
        for order, level in enumerate((1, 5, 3, 0, 9, None, 5, 3)):
            options = {} if level is None else {"broker_priority": level}
            send(broker, actors.echo, level, order, **options)
        taken = take(broker, TASKS, 8, prefetch=1)
        expected = [(9, 4), (5, 1), (5, 6), (3, 2), (3, 7), (1, 0), (0, 3), (None, 5)]
        check("by priority", [message.args for message in taken], expected)


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    # dramatiq's replies are messages to callbacks, and come by a queue with a name.
    with client() as broker, working(prefetch=100):
        expected = {send(broker, actors.add, number, 1).message_id: number + 1 for number in range(100)}
        check("a hundred calls, each its own reply", answers(broker, 100), expected)


@scenario("large-message")
def large_message() -> None:
    with client() as broker, working():
        frame_max = 131072  # pika asks for that, and the broker agrees
        around = len(actors.echo.message_with_options(args=("",), on_success=actors.reply).encode())
        for size in (around, frame_max - 8, frame_max - 7, 20 * 2**20):
            text = "x" * (size - around)
            sent = send(broker, actors.echo, text)
            check(f"{size} bytes were sent", len(sent.encode()), size)
            check(f"{size} bytes come back the same", answers(broker, 1)[sent.message_id] == text)


@scenario("cancel-notify")
def cancel_notify() -> None:
    with client() as broker, working():
        check("before", call(broker, actors.add, 1, 2), 3)
        delete(TASKS)
        # The worker is told and comes back; the queue is declared by who finds that it is gone.
        check("the worker consumes anew", call(broker, actors.add, 3, 4), 7)


@scenario("blocked")
def blocked() -> None:
    told: list[str] = []
    with client(confirm_delivery=False) as broker:
        broker.connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        broker.connection.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
        sent: list[str] = []

        def publish() -> None:
            sent.append(send(broker, actors.echo, len(sent)).message_id)
            broker.connection.sleep(0.1)

        publish()
        control("alarm", "on")
        try:
            wait_for("told that it is blocked", lambda: bool(told), publish)
            publish()
        finally:
            control("alarm", "off")
        wait_for("told that it is not any more", lambda: len(told) == 2, lambda: broker.connection.sleep(0.1))
        check("with a reason", (bool(told[0]), told[1]), (True, "unblocked"))
        taken = take(broker, TASKS, len(sent))
        check("what was sent arrives", [message.message_id for message in taken], sent)


@scenario("recovery")
def recovery() -> None:
    with client() as broker:
        with working():
            check("before", call(broker, actors.add, 1, 2), 3)
            late = send(broker, actors.add, 3, 4, delay=1500)
            control("restart")
            # dramatiq sends again on a new connection; all its messages are persistent.
            after = send(broker, actors.add, 5, 6)
            expected = {after.message_id: 11, late.message_id: 7}
            done: dict[str, Any] = {}
            # The first may be done again: perhaps the broker stopped before it had the worker's ack.
            while not expected.keys() <= done.keys():
                done |= answers(broker, 1)
            done = {name: result for name, result in done.items() if name in expected}
            check("the worker goes on, with what was delayed, too", done, expected)
        kept = send(broker, actors.add, 7, 8)
        control("restart")
        check("kept without a worker", take(broker, TASKS, 1)[0].message_id, kept.message_id)


if __name__ == "__main__":
    run()
