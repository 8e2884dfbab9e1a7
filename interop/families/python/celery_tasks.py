"""Celery: tasks for messages, results for replies, a worker of its own as the consumer.

The worker is a child process with one thread for tasks and a prefetch of 1. Celery's queues are kombu's, and its
users look at them over the connection of the application; what Celery has no word for is left to ``kombu_messaging``.
"""

import datetime as dt
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue, pools
from kombu.serialization import dumps

from interop.families.python import celery_app
from interop.families.python.checks import AMQP, PATIENCE, check, control, run, scenario, wait_for
from interop.families.python.kombu_shared import HEADERS, count, gone, refusal

TASKS = "interop.tasks"
JSON = "application/json"
NODE = "w1@interop"
CELERY = [sys.executable, "-P", "-m", "celery", "-A", "interop.families.python.celery_app"]
SILENCE = 0.5  # seconds that show that nothing more comes
ANSWERED: dict[str, Any] = {"reply": True, "timeout": PATIENCE, "destination": [NODE]}  # of commands to the worker
QUEUES = {queue.name: queue for queue in celery_app.QUEUES}
EXCHANGES = ("interop.celery.pidbox", "reply.interop.celery.pidbox", "interop.celeryev", TASKS, "interop.topic")


@contextmanager
def application(**settings: Any) -> Iterator[Celery]:
    """An application with connections of its own: kombu's pools keep them, with a note of what is declared."""
    pools.reset()
    app = celery_app.make_app(**settings)
    try:
        yield app
    finally:
        app.close()
        pools.reset()


@contextmanager
def client(**settings: Any) -> Iterator[Celery]:
    """An application for the time of the block; all queues and exchanges are deleted in the end."""
    try:
        with application(**settings) as app:
            yield app
    finally:
        with Connection(AMQP.url) as connection:
            for queue in celery_app.QUEUES:
                queue(connection).delete()
            exchanges = {queue.exchange.name for queue in celery_app.QUEUES if queue.exchange}
            for name in {*EXCHANGES, *exchanges} - {""}:
                Exchange(name)(connection).delete()


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    file: IO[str]

    def log(self) -> str:
        self.file.seek(0)
        return self.file.read()


@contextmanager
def working(app: Celery, *queues: str, prefetch: int = 1) -> Iterator[Worker]:
    """A worker on these queues that answers, for the time of the block."""
    more = ["worker", "-n", NODE, "-Q", ",".join(queues or (TASKS,)), "--prefetch-multiplier", str(prefetch)]
    more += ["--pool", "threads", "-c", "1", "--without-mingle", "--without-gossip", "--loglevel", "warning"]
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen([*CELERY, *more], stdout=file, stderr=subprocess.STDOUT)
        worker = Worker(process, file)
        try:
            deadline = time.monotonic() + 3 * PATIENCE
            while not app.control.ping([NODE], timeout=1):
                assert process.poll() is None, "the worker ended"
                assert time.monotonic() < deadline, "the worker does not answer"
            yield worker
        except BaseException:
            sys.stderr.write(worker.log())
            raise
        finally:
            process.terminate()
            try:
                process.wait(2 * PATIENCE)
            finally:
                process.kill()


def call(app: Celery, name: str, *args: Any, **options: Any) -> Any:
    """The result of a task."""
    return app.send_task(name, args, **options).get(timeout=PATIENCE)


def inspect(app: Celery) -> Any:
    """To ask the worker; no longer than its answer takes."""
    return app.control.inspect([NODE], timeout=PATIENCE)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what is no check by itself, but must be there before one."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def standing(queue: Queue) -> tuple[int, int]:
    """Its messages and consumers."""
    declared = queue.queue_declare(passive=True)
    return declared.message_count, declared.consumer_count


def shell(*words: str) -> str:
    """What ``celery amqp`` says."""
    return subprocess.run([*CELERY, "amqp", *words], capture_output=True, text=True, check=True).stdout


@scenario("connect")
def connecting() -> None:
    with client() as app, working(app) as worker:
        with app.connection_for_write() as connection:
            properties = connection.connection.server_properties
            check("the server names its product", bool(properties["product"]))
            for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
                check(f"capability {capability}", properties["capabilities"][capability])
            channel = connection.channel()
            check("a channel opens", channel.is_open)
            channel.close()
        check("the connection is closed", bool(connection.connected), False)
        broker = inspect(app).stats()[NODE]["broker"]
        check("the worker tells where it is", (broker["hostname"], broker["port"]), (AMQP.host, AMQP.port))
        check("a task", call(app, "add", 1, 2), 3)
        worker.process.terminate()
        check("the worker stops in order", worker.process.wait(PATIENCE), 0)


@scenario("auth-failure")
def auth_failure() -> None:
    place = f"{AMQP.host}:{AMQP.port}"
    with client(broker_url=f"amqp://{AMQP.user}:wrong@{place}/{AMQP.vhost}") as stranger:
        check("wrong password", refusal(lambda: stranger.send_task("add")), ("AccessRefused", 403))
    with client(broker_url=f"amqp://{AMQP.user}:{AMQP.password}@{place}/interop.nowhere") as lost:
        check("unknown vhost", refusal(lambda: lost.send_task("add")), ("NotAllowed", 530))


@scenario("declare")
def declare() -> None:
    with client() as app, app.connection_for_write() as connection:
        results = [app.send_task("add", (number, 1)) for number in range(3)]
        tasks = app.amqp.queues[TASKS](connection)
        check("declared by the first task", standing(tasks), (3, 0))
        check("declared again", tasks.declare(), TASKS)
        with working(app, "interop.dead"):
            app.control.add_consumer(TASKS, **ANSWERED)
            told = inspect(app).active_queues()[NODE]
            check("what the worker consumes", sorted(queue["name"] for queue in told), ["interop.dead", TASKS])
            check("they are done", [result.get(timeout=PATIENCE) for result in results], [1, 2, 3])
            wait_for("one consumer, no message", lambda: standing(tasks) == (0, 1))
        for _ in range(3):
            app.send_task("add", (1, 2))
        tasks.queue_unbind()
        app.send_task("add", (1, 2), exchange=TASKS, routing_key=TASKS, declare=[])
        check("purged after the unbind", app.control.purge(), 3)
        app.send_task("add", (1, 2), queue=TASKS)
        check("deleted with its messages", tasks.delete(), 1)
        check("deleted again", tasks.delete(), 0)
        check("not there", refusal(lambda: tasks.queue_declare(passive=True)), ("NotFound", 404))
        check("only the channel was closed", tasks.declare(), TASKS)
        queues = {"durability": Queue(TASKS, durable=False), "argument": Queue(TASKS, max_length=5)}
        for what, queue in queues.items():
            with application(task_queues=[queue]) as other:
                check(f"another {what}", refusal(lambda: other.send_task("add")), ("PreconditionFailed", 406))
        odd = Queue("interop.odd", Exchange("interop.odd", "interop-no-such-type"))
        with application(task_queues=[odd], task_default_queue=odd.name) as other:
            check("an unknown type", refusal(lambda: other.send_task("add")), ("InvalidCommand", 503))


@scenario("confirms")
def confirms() -> None:
    with client() as app:
        tasks = app.amqp.queues[TASKS]
        for number in range(1000):
            app.send_task("note", (number,), ignore_result=True, confirm_timeout=PATIENCE)
        with app.connection_for_write() as connection:
            check("all are in the queue", standing(tasks(connection)), (1000, 0))
        with working(app, prefetch=100), app.connection_for_write() as connection:
            wait_for("a worker takes them all", lambda: standing(tasks(connection)) == (0, 1))
            check("done in order", call(app, "note"), list(range(1000)))
            check("persistent", call(app, "request")["properties"]["delivery_mode"], 2)


@scenario("mandatory-return")
def mandatory_return() -> None:
    returned: list[Any] = []
    with client() as app, app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection, on_return=lambda *parts: returned.append(parts))
        QUEUES[TASKS](connection).declare()
        options = {"exchange": TASKS, "routing_key": "nowhere", "mandatory": True, "headers": {"h": 1}}
        app.send_task("add", (1, 2), task_id="lost", producer=producer, ignore_result=True, **options)
    check("returned once, before the confirm", len(returned), 1)
    error, name, key, message = returned[0]
    check("reply code", error.reply_code, 312)
    check("reply text", error.reply_text, "NO_ROUTE")
    check("exchange and routing key", (name, key), (TASKS, "nowhere"))
    check("body", json.loads(message.body)[0], [1, 2])
    check("properties", [message.properties[name] for name in ("content_type", "correlation_id")], [JSON, "lost"])
    headers = message.properties["application_headers"]
    check("headers", (headers["task"], headers["h"]), ("add", 1))


@scenario("consume")
def consume() -> None:
    with client() as app, tempfile.TemporaryDirectory() as folder, app.connection_for_write() as connection:
        tasks = app.amqp.queues[TASKS]
        with working(app, prefetch=3) as worker:
            names = [str(Path(folder, str(number))) for number in range(10)]
            results = [app.send_task("hold", (name,)) for name in names]
            wait_for("three of ten are delivered", lambda: count(tasks, connection) == 7)
            time.sleep(SILENCE)
            told = inspect(app)

            def held() -> tuple[int, int, int]:
                return len(told.active()[NODE]), len(told.reserved()[NODE]), count(tasks, connection)

            # The worker has the messages before it says that it works on them.
            eventually(lambda: held() == (1, 2, 7))
            check("one runs, two wait, no fourth until an ack", held(), (1, 2, 7))
            Path(names[0]).touch()
            check("its result", results[0].get(timeout=PATIENCE), "0")
            wait_for("acknowledged late, the next comes", lambda: count(tasks, connection) == 6)
            for name in names:
                Path(name).touch()
            done = [result.get(timeout=PATIENCE) for result in results]
            check("all are done", done, [str(number) for number in range(10)])
            check("what is requeued comes again", call(app, "decline", True), "redelivered")
            declined = app.send_task("decline", (False,))
            check("what is rejected fails", type(declined.get(timeout=PATIENCE, propagate=False)).__name__, "Reject")
            wait_for("and is gone", lambda: standing(tasks(connection)) == (0, 1))
            check("what is retried runs again", call(app, "retried", 2), 3)
            app.control.cancel_consumer(TASKS, **ANSWERED)
            wait_for("cancelled", lambda: standing(tasks(connection)) == (0, 0))
            late = app.send_task("add", (1, 2))
            check("nobody takes the task", count(tasks, connection), 1)
            app.control.add_consumer(TASKS, **ANSWERED)
            check("until there is a consumer", late.get(timeout=PATIENCE), 3)
            for _ in range(5):
                app.send_task("hold", (f"{folder}/never",))
            wait_for("three are held", lambda: count(tasks, connection) == 2)
            worker.process.kill()
            wait_for("what was not acknowledged is there again", lambda: count(tasks, connection) == 5)


@scenario("get")
def get() -> None:
    with client() as app:
        for number in range(2):
            app.send_task("add", (number, 1), ignore_result=True)
        got = shell("basic.get", TASKS)
        for part in ("'exchange': ''", f"'routing_key': '{TASKS}'", "'redelivered': False", "'message_count': 1"):
            check(f"told {part}", part in got)
        again = shell("basic.get", TASKS, "true")
        check("not acknowledged, it comes again", "'redelivered': True" in again)
        shell("basic.get", TASKS, "true")
        check("an empty queue", "No messages in queue" in shell("basic.get", TASKS))
        # A result whose state is asked for is got, not consumed.
        result = app.send_task("add", (1, 2))
        check("no result yet", result.state, "PENDING")
        with working(app):
            wait_for("the state of a result", lambda: result.state == "SUCCESS")
        check("the result", result.result, 3)


@scenario("exclusive")
def exclusive() -> None:
    # The queue that a worker is spoken to by is exclusive. Celery's consumers never are.
    mailbox = Queue(f"{NODE}.interop.celery.pidbox")
    with client() as app, app.connection_for_write() as connection:
        with working(app):
            refused = refusal(lambda: count(mailbox, connection))
            check("the worker's queue, declared elsewhere", refused, ("ResourceLocked", 405))
            refused = refusal(mailbox(connection).get)
            check("read elsewhere", refused, ("ResourceLocked", 405))
        wait_for("gone with the worker", lambda: gone(mailbox, connection))


@scenario("auto-delete")
def auto_delete() -> None:
    with client() as app, app.connection_for_write() as connection:
        replies = Queue(app.thread_oid)
        queue = app.amqp.queues["interop.passing"]
        with working(app, queue.name):
            check("a result", call(app, "add", 1, 2, queue=queue.name), 3)
            check("the queue of results", gone(replies, connection), False)
            app.backend.result_consumer.stop()
            wait_for("goes with its consumer", lambda: gone(replies, connection))
            check("a queue with a worker", gone(queue, connection), False)
            check("an exchange with a binding", gone(celery_app.PASSING, connection), False)
        wait_for("the queue goes with its worker", lambda: gone(queue, connection))
        wait_for("the exchange with its binding", lambda: gone(celery_app.PASSING, connection))


@scenario("exchange-bindings")
def exchange_bindings() -> None:
    with client() as app, app.connection_for_write() as connection, working(app, "interop.bound", TASKS):
        celery_app.TOPIC(connection).declare()
        target = celery_app.FANOUT(connection)
        target.bind_to(celery_app.TOPIC, "*.red")
        for key in ("deep.blue", "deep.red"):
            app.send_task("note", (key,), exchange="interop.topic", routing_key=key, ignore_result=True)
        info = call(app, "request", exchange="interop.topic", routing_key="a.red")["delivery_info"]
        check("through both", (info["exchange"], info["routing_key"]), ("interop.topic", "a.red"))
        check("by its key only", call(app, "note"), ["deep.red"])
        target.unbind_from(celery_app.TOPIC, "*.red")
        app.send_task("note", ("late",), exchange="interop.topic", routing_key="deep.red", ignore_result=True)
        time.sleep(SILENCE)
        check("not after the unbind", call(app, "note"), ["deep.red"])


PROPERTIES: dict[str, Any] = {
    "priority": 7,
    "message_id": "message",
    "timestamp": 1709209801,
    "type": "kind",
    "user_id": AMQP.user,
    "app_id": "interop",
    "cluster_id": "cluster",
}


@scenario("headers")
def headers() -> None:
    with client() as app:
        with working(app):
            sent = app.send_task("request", list(HEADERS), headers=HEADERS, expires=60, **PROPERTIES)
            seen = sent.get(timeout=PATIENCE)
        for name, value in HEADERS.items():
            check(f"header {name}", seen["headers"][name], repr(value))
        own = {"content_type": JSON, "content_encoding": "utf-8", "delivery_mode": 2, "expiration": "60000"}
        own |= {"correlation_id": sent.id, "reply_to": app.thread_oid}
        for name, value in (PROPERTIES | own).items():
            check(f"property {name}", seen["properties"].get(name, "absent"), value)
        match = celery_app.MATCH
        with app.connection_for_write() as connection:
            for queue in ("interop.all", "interop.any"):
                QUEUES[queue](connection).declare()
            for some in (match, {"colour": "red"}, {"colour": "blue", "size": 6}, {**match, "more": 1}):
                app.send_task("add", exchange="interop.headers", routing_key="any", headers=some, ignore_result=True)
            counts = [count(QUEUES[queue], connection) for queue in ("interop.all", "interop.any")]
            check("x-match all and any", counts, [2, 3])


@scenario("dead-letter")
def dead_letter() -> None:
    with client() as app, working(app, "interop.rejected", "interop.dead", "interop.work", TASKS):
        for name in ("interop.expired", "interop.maxlen", "interop.wait"):
            with app.connection_for_write() as connection:
                QUEUES[name](connection).declare()
        for number, reason in enumerate(("rejected", "expired", "maxlen"), 1):
            queue = f"interop.{reason}"
            task, args = ("die", (1,)) if reason == "rejected" else ("buried", (reason,))
            app.send_task(task, args, queue=queue)
            if reason == "maxlen":
                app.send_task("buried", ("pushes the other one out",), queue=queue)
            found = noting(app, number, f"{reason}: run from the dead letter queue")
            (death,) = found["x-death"]
            check(f"{reason}: routing key", found["routing_key"], "asked for")
            check(f"{reason}: time", type(death.pop("time")), dt.datetime)
            expected = {"reason": reason, "queue": queue, "exchange": "", "routing-keys": [queue], "count": 1}
            check(f"{reason}: x-death", death, expected)
            first = [found[f"x-first-death-{name}"] for name in ("reason", "queue", "exchange")]
            check(f"{reason}: x-first-death", first, [reason, queue, ""])
        app.send_task("die", (2,), queue="interop.work")
        found = noting(app, 4, "rejected twice, it waits twice")
        counts = {(death["reason"], death["queue"]): death["count"] for death in found["x-death"]}
        check("dead twice", counts, {("rejected", "interop.work"): 2, ("expired", "interop.wait"): 2})


def noting(app: Celery, number: int, what: str) -> Any:
    """What the worker notes as its so many-th; it must come."""
    seen: list[Any] = []

    def look() -> None:
        seen[:] = call(app, "note")

    wait_for(what, lambda: len(seen) == number, look)
    return seen[-1]


@scenario("ttl")
def ttl() -> None:
    brief, patient, unused = (QUEUES[f"interop.{name}"] for name in ("brief", "patient", "unused"))
    with client() as app, app.connection_for_write() as connection:
        start = time.monotonic()
        app.send_task("add", (1, 2), queue=brief.name, expires=60)
        wait_for("the queue's is the smaller", lambda: count(brief, connection) == 0)
        check("not too early", time.monotonic() - start >= 0.2)
        start = time.monotonic()
        app.send_task("add", (1, 2), queue=patient.name, expires=0.2)
        app.send_task("add", (1, 2), queue=patient.name)
        wait_for("the task's is the smaller", lambda: count(patient, connection) == 1)
        check("not too early either", time.monotonic() - start >= 0.2)
        app.send_task("add", (1, 2), queue=unused.name)
        # Asking for it is using it: not more often than it expires.
        time.sleep(0.6)
        wait_for("an unused queue expired", lambda: gone(unused, connection), lambda: time.sleep(0.6))


@scenario("priority")
def priority() -> None:
    with client() as app:
        for order, level in enumerate((1, 5, 3, 0, 9, None, 5, 3)):
            options = {} if level is None else {"priority": level}
            app.send_task("note", ([level, order],), queue="interop.priority", ignore_result=True, **options)
        last = app.send_task("note", queue="interop.priority", priority=0)
        with working(app, "interop.priority"):
            expected = [[9, 4], [5, 1], [5, 6], [3, 2], [3, 7], [1, 0], [0, 3], [None, 5]]
            check("done by priority", last.get(timeout=PATIENCE), expected)


@scenario("direct-reply-to")
def direct_reply_to() -> None:
    with client() as app, working(app, prefetch=100):
        results = [app.send_task("add", (number, 1)) for number in range(100)]
        seen = [result.get(timeout=PATIENCE) for result in results]
        check("each call its own result", seen, [number + 1 for number in range(100)])
        replies: dict[str, Any] = {}

        def on_reply(body: Any, message: Any) -> None:
            replies[message.properties["correlation_id"]] = body["result"]

        with app.connection_for_write() as connection:
            channel = connection.channel()
            direct = Queue("amq.rabbitmq.reply-to", no_declare=True, no_ack=True)
            with Consumer(channel, [direct], callbacks=[on_reply], no_ack=True, accept=["json"]):
                producer = Producer(channel)
                for number in range(100):
                    app.send_task("add", (number, 2), task_id=f"call {number}", reply_to=direct.name, producer=producer)
                wait_for("a hundred direct replies", lambda: len(replies) == 100, connection.drain_events)
        check("each its own", replies, {f"call {number}": number + 2 for number in range(100)})


@scenario("large-message")
def large_message() -> None:
    with client() as app, app.connection_for_write() as connection, working(app):
        frame_max = connection.ensure_connection(max_retries=1).connection.frame_max
        frame = len(dumps(app.amqp.as_task_v2("id", "echo", ("",)).body, "json")[2])  # what is around the text
        for size in (frame, frame_max - 8, frame_max - 7, 20 * 2**20):
            text = "x" * (size - frame)
            check(f"{size} bytes come back the same", call(app, "echo", text) == text)


@scenario("cancel-notify")
def cancel_notify() -> None:
    with client() as app, app.connection_for_write() as connection, working(app) as worker:
        check("before", call(app, "add", 1, 2), 3)
        tasks = app.amqp.queues[TASKS](connection)
        tasks.delete()
        wait_for("the worker is told and consumes anew", lambda: consumed(tasks))
        check("it says why", "ConsumerCancelled" in worker.log())
        check("after", call(app, "add", 3, 4), 7)


def consumed(queue: Queue) -> bool:
    """Whether the queue is there and has a consumer."""
    with Connection(AMQP.url) as connection:
        return not gone(queue, connection) and standing(queue(connection))[1] > 0


@scenario("blocked")
def blocked() -> None:
    told: list[str] = []
    sent_before: list[int] = []

    def on_blocked(reason: str) -> None:
        sent_before.append(len(sent))
        told.append(reason)

    listening = {"on_blocked": on_blocked, "on_unblocked": lambda: told.append("unblocked"), "confirm_publish": True}
    sent: list[int] = []
    with client(broker_transport_options=listening) as app, working(app):
        check("before", call(app, "note", 0), [0])

        def send() -> None:
            """Without a confirm, which does not come while the broker is blocked, no task counts as sent."""
            for number in itertools.count(1):
                app.send_task("note", (number,), ignore_result=True)
                sent.append(number)
                if "unblocked" in told:
                    return

        sender = threading.Thread(target=send, daemon=True)
        control("alarm", "on")
        try:
            sender.start()
            wait_for("the sender is told that it is blocked", lambda: bool(told))
            time.sleep(SILENCE)
            # The one that was on its way then may still be confirmed.
            check("nothing is sent meanwhile", len(sent) - sent_before[0] in (0, 1))
        finally:
            control("alarm", "off")
        wait_for("and that it is not any more", lambda: "unblocked" in told)
        sender.join(PATIENCE)
        # py-amqp does not read the broker's reason and gives one of its own.
        check("in these words", told, ["connection blocked, see broker logs", "unblocked"])
        check("what was sent arrives", call(app, "note"), [0, *sent])


@scenario("recovery")
def recovery() -> None:
    with client() as app, working(app):
        check("before", call(app, "note", "before"), ["before"])
        for mode in (2, 1):
            options = {"exchange": "interop.dead", "routing_key": "asked for", "delivery_mode": mode}
            with app.connection_for_write() as connection:
                QUEUES["interop.dead"](connection).declare()
            app.send_task("note", (f"mode {mode}",), ignore_result=True, **options)
        tasks = app.amqp.queues[TASKS]
        control("restart")
        wait_for("the worker is there again", lambda: consumed(tasks), lambda: time.sleep(0.1))
        with app.connection_for_write() as connection:
            check("only the persistent task is left", count(QUEUES["interop.dead"], connection), 1)
            # Tasks are sent again when a pooled connection turns out to be broken; commands to workers are not.
            # And the worker may take tasks before it takes commands.
            eventually(lambda: bool(app.control.ping([NODE], timeout=1, connection=connection)))
            app.control.add_consumer("interop.dead", **ANSWERED, connection=connection)
        app.send_task("note", ("bound still",), exchange="interop.dead", routing_key="asked for", ignore_result=True)
        last = noting(app, 3, "it is done, and one more that goes the old way")
        check("in order", (last, call(app, "note")), ("bound still", ["before", "mode 2", "bound still"]))
        check("results come, too", call(app, "add", 1, 2), 3)


if __name__ == "__main__":
    run()
