"""Celery: chords. rpc:// results cannot have them, so their results lie in files, the tasks still in the broker."""

import tempfile
from typing import Any

from celery import chord, group

from interop.broker import Broker
from interop.celery_app import clean, make_app, working
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.celery.chords"


def run(broker: Broker) -> Json:
    with clean(broker.url, QUEUE):
        return _seen({"broker_url": broker.url, "task_default_queue": QUEUE})


def _seen(settings: dict[str, Any]) -> Json:
    seen: dict[str, Any] = {}
    app = make_app(settings)
    try:
        _chord(app, 2)
    except NotImplementedError as error:
        seen["with rpc://"] = str(error).split("\n")[0][:60]
    app.close()
    with tempfile.TemporaryDirectory() as directory:
        filed = {**settings, "result_backend": f"file://{directory}", "result_chord_retry_interval": 0.2}
        with working(filed) as (app, _):
            seen["with files"] = _chord(app, 10).get(60)
    return seen


def _chord(app: Any, count: int) -> Any:
    header = group(app.signature("add", (n, n)) for n in range(count))
    return chord(header, app=app)(app.signature("total"))


EXPECTED: Json = {"with rpc://": 'The "rpc" result backend does not support chords!', "with files": 90}

if __name__ == "__main__":
    main(run, EXPECTED)
