"""Opening the store: what cannot be restored is said in one line, and the store can be opened again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from amqpd.broker.batch import Definition
from amqpd.server import application
from amqpd.server.configuration import Source
from amqpd.server.core import FILE_NAME, SHARD, open_core
from amqpd.server.settings import Settings
from amqpd.store.contract import StoreCorrupt
from amqpd.store.sqlite import SqliteStore

EXCHANGE = {"vhost": "/", "name": "odd", "type": "x-odd", "auto_delete": 0, "internal": 0, "arguments": b""}
QUEUE = {"id": 77, "vhost": "/", "name": "odd", "auto_delete": 0, "type": "odd", "arguments": b"", "levels": 1}
TORN = {**QUEUE, "type": "classic", "arguments": b"\xff"}
BINDING = {
    "vhost": "/",
    "source": "amq.direct",
    "destination_type": "queue",
    "destination": "nowhere",
    "routing_key": "",
    "arguments": b"",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), store=replace(Settings().store, data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("exchange", EXCHANGE, "exchange .*'x-odd'.*type is not registered"),
        ("queue", QUEUE, "queue .*'odd'.*type is not registered"),
        ("queue", TORN, "queue .*name runs past the table"),
        ("binding", BINDING, "binding .*'nowhere'"),
    ],
)
def test_definition_that_cannot_be_restored_is_named(
    settings: Settings, kind: str, values: dict[str, int | str | bytes], said: str
) -> None:
    with open_core(settings) as core:
        core.broker.journal.define(Definition(kind, False, {**values}))
        core.commit()
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=said), open_core(settings):
            pass


def test_broker_that_fails_leaves_a_store_that_was_not_closed_in_order(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: application.Application) -> int:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(application.Application, "run", fail)
    with pytest.raises(RuntimeError):
        trio.run(application.serve, settings, Source())
    store = SqliteStore(Path(settings.store.data_dir, FILE_NAME))
    assert not store.open(SHARD, "test").clean
    store.close(False)


def test_broker_that_could_not_write_everything_leaves_such_a_store_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(self: application.Application) -> int:
        await self._shut_down()  # no writer runs: what is open stays open
        return 0

    monkeypatch.setattr(application, "SHUTDOWN_GRACE_SECONDS", 0.001)
    monkeypatch.setattr(application.Application, "run", stop)
    trio.run(application.serve, settings, Source())
    store = SqliteStore(Path(settings.store.data_dir, FILE_NAME))
    assert not store.open(SHARD, "test").clean
    store.close(False)
