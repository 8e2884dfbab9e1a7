"""The Celery application of ``celery_tasks``: what its worker runs and its client sends."""

import time
from pathlib import Path
from typing import Any

from celery import Celery, shared_task
from celery.exceptions import Reject
from kombu import Exchange, Queue

from interop.families.python.checks import AMQP, PATIENCE

DEAD = Exchange("interop.dead", "direct")
TOPIC, FANOUT = Exchange("interop.topic", "topic"), Exchange("interop.fanout", "fanout")
PASSING = Exchange("interop.passing", "direct", auto_delete=True)
MATCHING = Exchange("interop.headers", "headers")
MATCH = {"colour": "red", "size": 5}
TO_DEAD = {"x-dead-letter-exchange": DEAD.name, "x-dead-letter-routing-key": "asked for"}

QUEUES = [
    Queue("interop.tasks", Exchange("interop.tasks", "direct"), "interop.tasks"),
    Queue("interop.priority", max_priority=10),
    Queue("interop.bound", FANOUT),
    Queue("interop.passing", PASSING, "passing", auto_delete=True),
    Queue("interop.all", MATCHING, binding_arguments={"x-match": "all", **MATCH}),
    Queue("interop.any", MATCHING, binding_arguments={"x-match": "any", **MATCH}),
    Queue("interop.dead", DEAD, "asked for"),
    Queue("interop.rejected", queue_arguments=TO_DEAD),
    Queue("interop.expired", queue_arguments=TO_DEAD, message_ttl=0.05),
    Queue("interop.maxlen", queue_arguments=TO_DEAD, max_length=1),
    Queue("interop.work", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "interop.wait"}),
    Queue(
        "interop.wait",
        queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "interop.work"},
        message_ttl=0.05,
    ),
    Queue("interop.brief", message_ttl=0.2),
    Queue("interop.patient", message_ttl=60),
    Queue("interop.unused", expires=0.3),
]


def make_app(**settings: Any) -> Celery:
    """An application with these settings besides its own; the last one made is current."""
    made = Celery("interop", broker=AMQP.url, backend="rpc://")
    made.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"confirm_publish": True},
        control_exchange="interop.celery",
        event_exchange="interop.celeryev",
        result_expires=60,
        task_default_queue="interop.tasks",
        task_queues=QUEUES,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    made.conf.update(settings)
    return made


app = make_app()
noted: list[Any] = []  # by the tasks of this worker


@shared_task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="echo")
def echo(text: str) -> str:
    return text


@shared_task(name="note")
def note(*names: Any) -> list[Any]:
    """All that this worker has noted, in order."""
    noted.extend(names)
    return noted


@shared_task(name="request", bind=True)
def request(self: Any, *names: str) -> dict[str, Any]:
    """What came with the message: for each header its value and type as this language shows them; and the rest."""
    headers = self.request.headers or {}
    return {
        "headers": {name: repr(headers.get(name, "absent")) for name in names},
        "properties": self.request.properties,
        "delivery_info": self.request.delivery_info,
    }


@shared_task(name="hold", acks_late=True)
def hold(path: str) -> str:
    """Done when there is such a file."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return Path(path).name


@shared_task(name="decline", bind=True, acks_late=True)
def decline(self: Any, requeue: bool) -> str:
    """Sends its message back when it is delivered for the first time, or rejects it."""
    if not self.request.delivery_info["redelivered"]:
        raise Reject("declined", requeue=requeue)
    return "redelivered"


@shared_task(name="retried", bind=True, autoretry_for=(KeyError,), retry_backoff=False, default_retry_delay=0)
def retried(self: Any, failures: int) -> int:
    """Fails so often, then returns how often it ran."""
    if self.request.retries < failures:
        raise KeyError("not yet")
    return int(self.request.retries) + 1


@shared_task(name="die", bind=True, acks_late=True, ignore_result=True)
def die(self: Any, times: int = 1) -> None:
    """Rejected until it has died so often; then its headers are noted."""
    headers = self.request.headers or {}
    if sum(death["count"] for death in headers.get("x-death", []) if death["reason"] != "expired") < times:
        raise Reject("not yet dead", requeue=False)
    bury(headers, self.request.delivery_info)


@shared_task(name="buried", bind=True, ignore_result=True)
def buried(self: Any, name: str) -> None:
    bury(self.request.headers or {}, self.request.delivery_info)


def bury(headers: dict[str, Any], delivery_info: dict[str, Any]) -> None:
    dead = {name: value for name, value in headers.items() if name.startswith("x-")}
    noted.append({**dead, "routing_key": delivery_info["routing_key"]})
