"""A Celery application as its users write one, with settings from outside so that worker and client agree.

``make_app`` is for the client; the worker imports ``app``, made from the JSON in ``INTEROP_CELERY``. The worker has
one process or thread (``-c 1``) and a prefetch of 1, however many cores there are.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Queue, pools

from interop.blocking import scratch

SETTINGS = "INTEROP_CELERY"
READY_SECONDS = 60.0
STOP_SECONDS = 60.0
LOG_CHARACTERS = 4000
DELAYS = [f"celery_delayed_{level}" for level in range(28)]  # a queue and an exchange each: kombu fixes the names

DEFAULTS: dict[str, Any] = {
    "broker_connection_retry_on_startup": True,
    "worker_hijack_root_logger": False,
    "worker_prefetch_multiplier": 1,
    "control_exchange": "interop.celery",
    "event_exchange": "interop.celeryev",
    "task_default_queue": "interop.celery",
    "broker_transport_options": {"confirm_publish": True},
    "result_backend": "rpc://",
    "result_expires": 60,
}


def make_app(settings: dict[str, Any]) -> Celery:
    """``settings`` are Celery's, and ``max_priority`` for the default queue."""
    settings = {**DEFAULTS, **settings}
    highest = settings.pop("max_priority", None)
    made = Celery("interop", set_as_current=False)
    made.conf.update(settings)
    if highest is not None:
        name = settings["task_default_queue"]
        made.conf.task_queues = [Queue(name, routing_key=name, queue_arguments={"x-max-priority": highest})]
    add_tasks(made)
    return made


def add_tasks(made: Celery) -> None:
    done: list[str] = []

    def add(x: int, y: int) -> int:
        return x + y

    def total(numbers: list[int]) -> int:
        return sum(numbers)

    def fail(text: str) -> None:
        raise ValueError(text)

    def note(name: str) -> list[str]:
        """All names noted by this worker, in order."""
        done.append(name)
        return list(done)

    def stubborn(self: Any, failures: int) -> int:
        """Retried until it has failed so often; returns how often it ran."""
        if self.request.retries < failures:
            raise KeyError("not yet")
        return int(self.request.retries) + 1

    def insist(self: Any) -> None:
        raise self.retry(countdown=0.1, exc=RuntimeError("in vain"))

    def perish(self: Any) -> str:
        """Kills its process when it is delivered for the first time."""
        if not self.request.delivery_info["redelivered"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done when redelivered"

    def perish_acknowledged(self: Any) -> str:
        return perish(self)

    # Native delayed delivery counts whole seconds.
    retrying = {"bind": True, "autoretry_for": (KeyError,), "retry_backoff": False, "default_retry_delay": 1}
    options: dict[Callable[..., Any], dict[str, Any]] = {
        add: {},
        total: {},
        fail: {},
        note: {},
        stubborn: retrying,
        insist: {"bind": True, "max_retries": 2},
        perish: {"bind": True, "acks_late": True, "reject_on_worker_lost": True},
        perish_acknowledged: {"bind": True},
    }
    for function, more in options.items():
        made.task(shared=False, name=function.__name__, **more)(function)


class WorkerProcess:
    """``celery worker`` as a child; ``log`` is what it wrote."""

    def __init__(self, settings: dict[str, Any], name: str, options: tuple[str, ...]) -> None:
        self._file = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the worker lives)
        command = [sys.executable, "-m", "celery", "-A", "interop.celery_app", "worker", "-n", f"{name}@interop"]
        self.process = subprocess.Popen(
            [*command, "-c", "1", "--pool", "solo", "--loglevel", "warning", *options],
            env={**os.environ, SETTINGS: json.dumps(settings)},
            cwd=Path(__file__).parents[1],
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        self._file.seek(0)
        return self._file.read()[-LOG_CHARACTERS:]

    def await_ready(self, app: Celery) -> None:
        """Return when it answers a ping. Raises AssertionError when it never does."""
        deadline = time.monotonic() + READY_SECONDS
        while not app.control.ping(timeout=0.5):
            assert self.process.poll() is None, f"the worker ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"the worker is not ready:\n{self.log()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._file.close()

    def stop(self) -> int:
        """Stop it in order and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the worker does not stop:\n{self.log()}") from None
        finally:
            assert "CRITICAL" not in self.log(), self.log()
            self._file.close()


@contextmanager
def clean(url: str, *names: str) -> Iterator[None]:
    """Delete, before the block and after it, these queues with their exchanges and the exchanges of ``DEFAULTS``."""
    control, events = DEFAULTS["control_exchange"], DEFAULTS["event_exchange"]
    shared = [f"{control}.pidbox", f"reply.{control}.pidbox", events]
    with scratch(url, queues=names, exchanges=[*names, *shared]):
        try:
            yield
        finally:
            # kombu keeps connections for later apps, with a note of what it has declared on them.
            pools.reset()


@contextmanager
def working(settings: dict[str, Any], name: str = "w1", *options: str) -> Iterator[tuple[Celery, WorkerProcess]]:
    """A client's app and a worker that is ready, both with these settings."""
    app = make_app(settings)
    worker = WorkerProcess(settings, name, options)
    try:
        worker.await_ready(app)
        yield app, worker
    except BaseException:
        worker.kill()
        raise
    finally:
        app.close()
    assert worker.stop() == 0


if SETTINGS in os.environ:
    app = make_app(json.loads(os.environ[SETTINGS]))
