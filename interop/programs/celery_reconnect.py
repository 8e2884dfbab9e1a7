"""Celery: a worker whose connections break connects again, declares what it needs and does what it had not done."""

import itertools
import time
from typing import Any

from interop.broker import Broker
from interop.celery_app import clean, make_app, working
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json

QUEUE = "interop.celery.reconnect"
NAME = "interop celery_reconnect"
WAIT = 60
HELD_SECONDS = (2, 10, 30)  # after which the task that the worker holds would be done, if need be longer and longer
WORKERS = ["w1@interop"]


def run(broker: Broker) -> Json:
    held = itertools.chain(HELD_SECONDS, itertools.repeat(HELD_SECONDS[-1]))
    return punctual(lambda: _seen(broker, next(held)))


def _seen(broker: Broker, held_seconds: int) -> Json:
    settings: dict[str, Any] = {
        "broker_url": broker.url,
        "task_default_queue": QUEUE,
        "broker_transport_options": {"confirm_publish": True, "client_properties": {"connection_name": NAME}},
    }
    seen: dict[str, Any] = {}
    with clean(broker.url, QUEUE), working(settings) as (app, _):
        seen["before"] = app.send_task("add", (1, 2)).get(WAIT)
        inspect = app.control.inspect(WORKERS, timeout=WAIT)
        with within(held_seconds):
            over = time.monotonic() + held_seconds
            app.send_task("note", ("held when it broke",), countdown=held_seconds, ignore_result=True)
            while not inspect.scheduled()["w1@interop"] and time.monotonic() < over:
                pass
            app.close()
            broker.interrupt(NAME)
        # The client's connections broke, too. A second client sees only what the worker does.
        again = make_app(settings)
        last = again.send_task("note", ("sent afterwards",), countdown=held_seconds)
        seen["noted"] = last.get(held_seconds + WAIT)
        seen["ping"] = again.control.ping(WORKERS, timeout=WAIT)
        again.close()
    return seen


EXPECTED: Json = {
    "before": 3,
    "noted": ["held when it broke", "sent afterwards"],
    "ping": [{"w1@interop": {"ok": "pong"}}],
}

if __name__ == "__main__":
    main(run, EXPECTED)
