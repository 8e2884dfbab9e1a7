"""Celery's native delayed delivery: countdowns wait in 28 queues of the broker, not in the worker.

A quorum queue among the task queues turns it on, and turns ``basic.qos`` with global off. The delay queues may be of
either type; their names are the same, so one type is done after the other.
"""

import time
from functools import partial
from typing import Any

from kombu.transport.native_delayed_delivery import CELERY_DELAYED_DELIVERY_EXCHANGE

from interop.blocking import scratch
from interop.broker import Broker
from interop.celery_app import DELAYS, clean, working
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json

QUEUE = "interop.celery.delay"
WAIT = 60
COUNTDOWN_SECONDS = 3  # binary 11: through two of the delay queues, two seconds and one
FIRST_SECONDS = 2


def run(broker: Broker) -> Json:
    settings: dict[str, Any] = {
        "broker_url": broker.url,
        "task_default_queue": QUEUE,
        "task_default_exchange": QUEUE,
        "task_default_exchange_type": "topic",  # native delay does nothing for direct exchanges
        "task_default_queue_type": "quorum",
    }
    seen: dict[str, Any] = {}
    for kind in ("classic", "quorum"):
        seen[kind] = punctual(partial(_clean, broker, {**settings, "broker_native_delayed_delivery_queue_type": kind}))
    return seen


def _clean(broker: Broker, settings: dict[str, Any]) -> Json:
    delayed = scratch(broker.url, queues=DELAYS, exchanges=[*DELAYS, CELERY_DELAYED_DELIVERY_EXCHANGE])
    with clean(broker.url, QUEUE), delayed:
        return _seen(settings)


def _seen(settings: dict[str, Any]) -> Json:
    seen: dict[str, Any] = {}
    with working(settings) as (app, _):
        started = time.monotonic()
        with within(COUNTDOWN_SECONDS):
            with within(FIRST_SECONDS):
                later = app.send_task("note", ("later",), countdown=COUNTDOWN_SECONDS)
                seen["waiting in the broker"] = _waiting(app)
            seen["waiting in the worker"] = app.control.inspect(["w1@interop"], timeout=WAIT).scheduled()
            retried = app.send_task("stubborn", (1,))
            at_once = app.send_task("note", ("at once",)).get(WAIT)
        seen["order"] = [at_once, later.get(WAIT)]
        seen["waited"] = COUNTDOWN_SECONDS <= time.monotonic() - started < WAIT
        seen["retried"] = retried.get(WAIT)
        seen["left in the broker"] = _waiting(app)
    return seen


def _waiting(app: Any) -> dict[str, int]:
    """How many tasks are in each delay queue that has any."""
    with app.connection_for_read() as connection:
        channel = connection.channel()
        counts = {name: channel.queue_declare(name, passive=True).message_count for name in DELAYS}
    return {name: count for name, count in counts.items() if count}


SEEN: Json = {
    "waiting in the broker": {"celery_delayed_1": 1},
    "waiting in the worker": {"w1@interop": []},
    "order": [["at once"], ["at once", "later"]],
    "waited": True,
    "retried": 2,
    "left in the broker": {},
}
EXPECTED: Json = {"classic": SEEN, "quorum": SEEN}

if __name__ == "__main__":
    main(run, EXPECTED)
