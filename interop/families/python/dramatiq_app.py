"""The actors of ``dramatiq_actors``: what its worker runs and its client sends."""

import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage

from interop.families.python.checks import AMQP, PATIENCE

TASKS, REPLIES = "interop.tasks", "interop.replies"

broker = RabbitmqBroker(url=AMQP.url, confirm_delivery=True)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=TASKS)
def add(x: int, y: int) -> int:
    return x + y


@dramatiq.actor(queue_name=TASKS)
def echo(value: Any) -> Any:
    return value


@dramatiq.actor(queue_name=TASKS)
def hold(path: str) -> str:
    """Done when there is such a file."""
    deadline = time.monotonic() + 2 * PATIENCE
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return Path(path).name


@dramatiq.actor(queue_name=TASKS, min_backoff=50, max_backoff=100)
def flaky(failures: int) -> int:
    """Fails so often, then returns how often it ran."""
    message = CurrentMessage.get_current_message()
    retries: int = message.options.get("retries", 0)
    if retries < failures:
        raise KeyError("not yet")
    return retries + 1


@dramatiq.actor(queue_name=TASKS, max_retries=0)
def fail() -> None:
    raise ValueError("on purpose")


@dramatiq.actor(queue_name=REPLIES)
def reply(message: dict[str, Any], result: Any) -> None:
    """The callback for results. The worker does not run it: the program reads this queue itself."""
