"""Celery: tasks with rpc:// results, groups, chains, retries, ETA, priorities, errors.

The worker's prefetch is 1, and it keeps a task with a countdown unacknowledged: it gets another one only because it
raises the limit of its running consumer with ``basic.qos``. It does so for a RabbitMQ from 3.3 and before 4.0, by the
product and version that the broker announces.
"""

from typing import Any

from celery import chain, group

from interop.broker import Broker
from interop.celery_app import WorkerProcess, clean, make_app, working
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json

QUEUE = "interop.celery.tasks"
WAIT = 60
LIFE_SECONDS = 2  # of the task that expires
LATER_SECONDS = 3  # after which tasks with a countdown are done


def run(broker: Broker) -> Json:
    return punctual(lambda: _all(broker))


def _all(broker: Broker) -> Json:
    with clean(broker.url, QUEUE):
        return _seen({"broker_url": broker.url, "max_priority": 10, "task_default_queue": QUEUE})


def _seen(settings: dict[str, Any]) -> Json:
    seen: dict[str, Any] = {"priorities": _priorities(settings)}
    with working(settings) as (app, _):
        task = app.signature
        seen["results"] = [app.send_task("add", (n, n)).get(WAIT) for n in range(3)]
        seen["group"] = group(task("add", (n, 1)) for n in range(5)).apply_async().get(WAIT)
        seen["chain"] = chain(task("add", (1, 2)), task("add", (3,)), task("add", (4,))).apply_async().get(WAIT)
        seen["error"] = _error(app.send_task("fail", ("on purpose",)))
        with within(LIFE_SECONDS):  # The worker must take it: if it expires in the queue, nobody reports it.
            expired = app.send_task("add", (1, 1), countdown=LIFE_SECONDS + 0.2, expires=LIFE_SECONDS)
            app.send_task("note", ("behind it",)).get(WAIT)
        retried, vain = app.send_task("stubborn", (2,)), app.send_task("insist")
        with within(LATER_SECONDS):
            later = [app.send_task("note", (f"later {n}",), countdown=LATER_SECONDS) for n in range(3)]
            seen["at once"] = app.send_task("note", ("at once",)).get(WAIT)[-1:]
        seen["countdowns"] = sorted(max((result.get(WAIT) for result in later), key=len)[-3:])
        seen["expired"] = _error(expired)
        seen["autoretry"] = retried.get(WAIT)
        seen["retries used up"] = _error(vain)
        with app.connection_for_read() as connection:
            queue = connection.channel().queue_declare(QUEUE, passive=True)
            seen["left in the queue"] = queue.message_count
    return seen


def _priorities(settings: dict[str, Any]) -> list[str]:
    """The order in which a worker that comes late does what was sent."""
    app = make_app(settings)
    for priority in (0, 5, 9, 5, 0, 9):
        app.send_task("note", (f"priority {priority}",), priority=priority, ignore_result=True)
    last = app.send_task("note", ("last",), priority=0)
    worker = WorkerProcess(settings, "late", ())
    try:
        noted: list[str] = last.get(WAIT)
    finally:
        app.close()
        assert worker.stop() == 0
    return noted


def _error(result: Any) -> str:
    error = result.get(WAIT, propagate=False)
    return f"{result.state}: {type(error).__name__}: {error}"


EXPECTED: Json = {
    "priorities": ["priority 9", "priority 9", "priority 5", "priority 5", "priority 0", "priority 0", "last"],
    "results": [0, 2, 4],
    "group": [1, 2, 3, 4, 5],
    "chain": 10,
    "error": "FAILURE: ValueError: on purpose",
    "at once": ["at once"],
    "countdowns": ["later 0", "later 1", "later 2"],
    "expired": "REVOKED: TaskRevokedError: expired",
    "autoretry": 3,
    "retries used up": "FAILURE: RuntimeError: in vain",
    "left in the queue": 0,
}

if __name__ == "__main__":
    main(run, EXPECTED)
