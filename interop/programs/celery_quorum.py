"""Celery on quorum queues with native delayed delivery: countdowns wait in queues of the broker, not in the worker."""

import time
from typing import Any

from interop.broker import Broker
from interop.celery_app import working
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.celery.quorum"
WAIT = 30
LEVELS = 28


def run(broker: Broker) -> Json:
    settings: dict[str, Any] = {
        "broker_url": broker.url,
        "task_default_queue": QUEUE,
        "task_default_exchange": QUEUE,
        "task_default_exchange_type": "topic",
        "task_default_queue_type": "quorum",
        "broker_native_delayed_delivery_queue_type": "quorum",
        "result_backend": "rpc://",
    }
    seen: dict[str, Any] = {}
    with working(settings) as (app, _):
        seen["result"] = app.send_task("add", (1, 2)).get(WAIT)
        started = time.monotonic()
        later = app.send_task("note", ("after three seconds",), countdown=3)
        now = app.send_task("note", ("at once",))
        seen["order"] = [now.get(WAIT)[-1:], later.get(WAIT)[-2:]]
        seen["waited"] = 2.5 < time.monotonic() - started < 15
        with app.connection_for_read() as connection:
            counts = [
                connection.channel().queue_declare(f"celery_delayed_{level}", passive=True).message_count
                for level in range(LEVELS)
            ]
            seen["left in the delay queues"] = sum(counts)
    return seen


EXPECTED: Json = {
    "result": 3,
    "order": [["at once"], ["at once", "after three seconds"]],
    "waited": True,
    "left in the delay queues": 0,
}

if __name__ == "__main__":
    main(run, EXPECTED)
