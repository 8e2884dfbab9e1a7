"""Celery: a worker whose connections break connects again, declares what it needs and does what it had not done."""

import time
from typing import Any

from interop.broker import Broker
from interop.celery_app import clean, make_app, working
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.celery.reconnect"
NAME = "interop celery_reconnect"
WAIT = 40
WORKERS = ["w1@interop"]


def run(broker: Broker) -> Json:
    settings: dict[str, Any] = {
        "broker_url": broker.url,
        "task_default_queue": QUEUE,
        "broker_transport_options": {"confirm_publish": True, "client_properties": {"connection_name": NAME}},
    }
    seen: dict[str, Any] = {}
    with clean(broker.url, QUEUE), working(settings) as (app, _):
        seen["before"] = app.send_task("add", (1, 2)).get(WAIT)
        app.send_task("note", ("held when it broke",), countdown=2, ignore_result=True)
        inspect = app.control.inspect(WORKERS, timeout=5)
        _await(lambda: inspect.scheduled()["w1@interop"])
        app.close()
        broker.interrupt(NAME)
        # The client's connections broke, too. A second client sees only what the worker does.
        again = make_app(settings)
        last = again.send_task("note", ("sent afterwards",), countdown=2)
        seen["noted"] = last.get(WAIT)
        seen["ping"] = again.control.ping(WORKERS, timeout=5)
        again.close()
    return seen


def _await(done: Any) -> None:
    deadline = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < deadline, "what the program waits for did not happen"


EXPECTED: Json = {
    "before": 3,
    "noted": ["held when it broke", "sent afterwards"],
    "ping": [{"w1@interop": {"ok": "pong"}}],
}

if __name__ == "__main__":
    main(run, EXPECTED)
