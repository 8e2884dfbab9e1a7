"""Celery: a task whose worker dies. Acknowledged late it comes again, to the next process or the next worker."""

import signal
from typing import Any

from interop.broker import Broker
from interop.celery_app import WorkerProcess, clean, make_app, working
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.celery.lost"
WAIT = 60


def run(broker: Broker) -> Json:
    settings = {"broker_url": broker.url, "task_default_queue": QUEUE}
    with clean(broker.url, QUEUE):
        return {"child": _child_lost(settings), "worker": _worker_lost(settings)}


def _child_lost(settings: dict[str, Any]) -> Json:
    """The pool's process dies, the worker lives: it rejects the task with requeue, or reports it lost."""
    with working(settings, "w1", "--pool", "prefork") as (app, _):
        seen: dict[str, Any] = {"late": app.send_task("perish").get(WAIT)}
        result = app.send_task("perish_acknowledged")
        seen["early"] = [type(result.get(WAIT, propagate=False)).__name__, result.state]
        seen["next"] = app.send_task("add", (1, 2)).get(WAIT)
    return seen


def _worker_lost(settings: dict[str, Any]) -> Json:
    """The worker itself dies, and with it its connection: the broker gives the task to the next worker."""
    app = make_app(settings)
    try:
        first = WorkerProcess(settings, "first", ())
        try:
            result = app.send_task("perish")
            killed = first.process.wait(WAIT) == -signal.SIGKILL
        finally:
            first.kill()
        second = WorkerProcess(settings, "second", ())
        try:
            return {"killed": killed, "late": result.get(WAIT)}
        finally:
            assert second.stop() == 0
    finally:
        app.close()


EXPECTED: Json = {
    "child": {"late": "done when redelivered", "early": ["WorkerLostError", "FAILURE"], "next": 3},
    "worker": {"killed": True, "late": "done when redelivered"},
}

if __name__ == "__main__":
    main(run, EXPECTED)
