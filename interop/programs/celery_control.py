"""Celery: broadcast control and events: ping, inspect, rate limits, revoke, queues added and cancelled, shutdown."""

import threading
import time
from typing import Any

from interop.broker import Broker
from interop.celery_app import clean, working
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json

QUEUE = "interop.celery.control"
EXTRA = "interop.celery.extra"
WAIT = 60
REVOKED_SECONDS = 2  # after which the task that is revoked would be done
WORKERS = ["w1@interop"]  # asked by name, an answer is not waited for longer than it takes


def run(broker: Broker) -> Json:
    eventful = {"worker_send_task_events": True, "task_send_sent_event": True}
    with clean(broker.url, QUEUE, EXTRA):
        return _seen({"broker_url": broker.url, "task_default_queue": QUEUE, **eventful})


def _seen(settings: dict[str, Any]) -> Json:
    seen: dict[str, Any] = {}
    with working(settings) as (app, worker):
        events = Events(app)
        answered = {"reply": True, "timeout": WAIT, "destination": WORKERS}
        seen["ping"] = app.control.ping(WORKERS, timeout=WAIT)
        inspect = app.control.inspect(WORKERS, timeout=WAIT)
        seen["queues"] = [one["name"] for one in inspect.active_queues()["w1@interop"]]
        seen["tasks"] = [name for name in inspect.registered()["w1@interop"] if not name.startswith("celery.")]
        seen["prefetch"] = inspect.stats()["w1@interop"]["prefetch_count"]
        app.send_task("note", ("never",), countdown=1000, ignore_result=True)
        seen["prefetch with a task that waits"] = _prefetch_with_scheduled(inspect)
        seen["rate limit"] = app.control.rate_limit("add", "100/s", **answered)
        seen["revoked"] = punctual(lambda: _revoke(app))
        seen["added queue"] = app.control.add_consumer(EXTRA, **answered)
        seen["result through it"] = app.send_task("add", (2, 3), queue=EXTRA).get(WAIT)
        seen["cancelled queue"] = app.control.cancel_consumer(EXTRA, **answered)
        seen["events"] = events.of(app.send_task("add", (1, 1)))
        events.stop()
        app.control.shutdown()
        seen["exit status after shutdown"] = worker.process.wait(WAIT)
        seen["given back"] = _given_back(app)
    return seen


def _prefetch_with_scheduled(inspect: Any) -> int:
    """The worker's limit once it holds a task with a countdown."""
    deadline = time.monotonic() + WAIT
    while not inspect.scheduled()["w1@interop"]:
        assert time.monotonic() < deadline, "the worker never took the task with a countdown"
    count: int = inspect.stats()["w1@interop"]["prefetch_count"]
    return count


def _given_back(app: Any) -> int:
    """How many tasks the worker held; the broker may see later than we do that it has ended."""
    deadline = time.monotonic() + WAIT
    with app.connection_for_read() as connection:
        channel = connection.channel()
        while not (count := channel.queue_declare(QUEUE, passive=True).message_count) and time.monotonic() < deadline:
            time.sleep(0.01)
    return int(count)


def _revoke(app: Any) -> str:
    with within(REVOKED_SECONDS):
        result = app.send_task("add", (1, 1), countdown=REVOKED_SECONDS)
        app.control.revoke(result.id, reply=True, timeout=WAIT, destination=WORKERS)
    error = result.get(WAIT, propagate=False)
    return f"{result.state}: {error}"


class Events:
    """Collects the events of tasks in a thread."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._changed = threading.Condition()
        self._kinds: dict[str, list[str]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._capture, daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT)

    def _capture(self) -> None:
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self._on_event})
            receiver.on_consume_ready = lambda *_, **__: self._ready.set()
            self._receiver = receiver
            receiver.capture(limit=None, timeout=None, wakeup=False)

    def _on_event(self, event: dict[str, Any]) -> None:
        with self._changed:
            self._kinds.setdefault(event.get("uuid", ""), []).append(event["type"])
            self._changed.notify_all()

    def stop(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(WAIT)
        assert not self._thread.is_alive()

    def of(self, result: Any) -> list[str]:
        """Kinds of events of a task once it is done.

        The client tells of task-sent on its connection and the worker of the rest on its own, in no order between the
        two: so the last event of each is waited for. One that never comes is missing in what is returned.
        """
        result.get(WAIT)
        with self._changed:
            self._changed.wait_for(lambda: {"task-sent", "task-succeeded"} <= set(self._kinds.get(result.id, [])), WAIT)
            return sorted(self._kinds.get(result.id, []))


EXPECTED: Json = {
    "ping": [{"w1@interop": {"ok": "pong"}}],
    "queues": ["interop.celery.control"],
    "tasks": ["add", "fail", "insist", "note", "perish", "perish_acknowledged", "stubborn", "total"],
    "prefetch": 1,
    "prefetch with a task that waits": 2,
    "rate limit": [{"w1@interop": {"ok": "new rate limit set successfully"}}],
    "revoked": "REVOKED: revoked",
    "added queue": [{"w1@interop": {"ok": "add consumer interop.celery.extra"}}],
    "result through it": 5,
    "cancelled queue": [{"w1@interop": {"ok": "no longer consuming from interop.celery.extra"}}],
    "events": ["task-received", "task-sent", "task-started", "task-succeeded"],
    "exit status after shutdown": 0,
    "given back": 1,
}

if __name__ == "__main__":
    main(run, EXPECTED)
