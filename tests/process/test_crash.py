"""A real process is killed at random moments under load; what it promised is there when it is back.

``AMQPD_CRASH_ROUNDS`` sets how often (30), ``AMQPD_CRASH_SEED`` repeats the choices of a run. The moments
themselves are the machine's: a seed does not repeat a failure for sure, but the model names what went wrong.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.process.broker_process import BrokerProcess
from tests.process.client import Client
from tests.process.load import Load, Model, check, declare_all

ROUNDS = int(os.environ.get("AMQPD_CRASH_ROUNDS", "30"))
SEED = int(os.environ.get("AMQPD_CRASH_SEED", "0")) or random.SystemRandom().randrange(1 << 30)


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_what_was_confirmed_survives_kill_9_at_any_moment(make_broker: Callable[..., BrokerProcess]) -> None:
    print(f"AMQPD_CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    # A small window and log, so that paging and checkpoints happen in a short run, too.
    broker = make_broker({"limits": {"queue_window_bytes": "256KiB", "queue_windows_bytes": "1MiB"}})
    model = Model()
    broker.start()
    with Client(broker.port) as client:
        declare_all(client)
    promises: dict[str, int] = {}
    for number in range(ROUNDS):
        load = Load(broker.port, model, number, chance)
        load.start()
        time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is tested
        broker.kill()
        load.join()
        promises = {key: promises.get(key, 0) + count for key, count in model.counts().items()}
        while chance.random() < 0.15:
            # Killed again, while it starts.
            broker.launch()
            time.sleep(chance.uniform(0.1, 0.6))
            broker.kill()
        broker.start()
        check(broker.port, model, keep=chance.random() < 0.7)
    broker.stop()
    print(promises)
    # The test is worth something only when there was something to lose.
    assert all(count > 10 * ROUNDS for key, count in promises.items() if key != "acks open"), promises
    assert "Traceback" not in broker.log()
