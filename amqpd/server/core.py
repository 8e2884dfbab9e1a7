"""The broker with its users and its store, without sockets: what a server and the offline commands open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amqpd.auth import passwords
from amqpd.auth.attempt import VerifiedPasswords
from amqpd.auth.users import Users
from amqpd.broker.batch import Definition
from amqpd.broker.broker import Broker
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.registry import Registry
from amqpd.server import plugins
from amqpd.server.administration import Live, answer
from amqpd.server.clock import now_ms
from amqpd.server.control import CommandRefused
from amqpd.server.settings import Plugins, Settings
from amqpd.store.contract import Opened, StoreCorrupt, StoreError
from amqpd.store.reader import SqliteReader
from amqpd.store.sqlite import SqliteStore

SHARD = "main"
FILE_NAME = "amqpd.db"


@dataclass
class Core:
    """``live`` is None when only the files are open."""

    broker: Broker
    users: Users
    store: SqliteStore
    reader: SqliteReader
    live: Live | None = None

    def commit(self) -> None:
        """Write everything that is open, waiting for the disk. Raises StoreError."""
        while (batch := self.broker.take_batch()) is not None:
            self.store.commit(batch)
            self.broker.batch_committed()

    def answered(self, inquiry: Inquiry) -> object:
        """Read and answer, waiting for the disk. Raises CommandRefused."""
        try:
            try:
                inquiry.read(self.reader)
            except StoreError as error:
                raise CommandRefused(f"the store cannot be read: {error}") from None
            return answer(inquiry)
        finally:
            inquiry.end()


def open_store(settings: Settings) -> tuple[SqliteStore, SqliteReader, Broker, Users]:
    """Claim the data directory and restore what it holds. Raises PluginFailed, StoreError and OSError."""
    registry = make_registry(settings.plugins)
    directory = Path(settings.store.data_dir)
    directory.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(directory / FILE_NAME)
    store.checkpointer.step_bytes = settings.store.checkpoint_bytes
    opened = store.open(SHARD, f"amqpd pid {os.getpid()}")
    reader = store.reader()
    try:
        broker, users = _restored(registry, settings, opened, reader)
    except BaseException as error:
        reader.close()
        store.close(False)
        if isinstance(error, ValueError):
            raise StoreCorrupt(f"{store.path} cannot be restored: {error}") from error
        raise
    # A new store that is to be given definitions gets what they lack when they are loaded.
    if not broker.vhosts and not settings.definitions.load_definitions:
        make_defaults(broker, users, settings)
    return store, reader, broker, users


def _restored(registry: Registry, settings: Settings, opened: Opened, reader: SqliteReader) -> tuple[Broker, Users]:
    """Raises ValueError on a definition that cannot be restored, and StoreError."""
    broker = Broker(registry, opened.next_message_id, opened.last_batch)
    broker.now = now_ms()  # a queue that lives for a time begins it with the restore

    def define(definition: Definition) -> None:
        broker.journal.define(definition)
        broker.revision.value += 1

    users = Users(define, settings.auth.loopback_users, VerifiedPasswords(os.urandom(32)), events=broker.events)
    summary = reader.summary()
    for definition in summary.definitions:
        users.apply(definition)
    broker.restore(summary, opened.clean)
    broker.started(reader)
    return broker, users


def make_registry(wanted: Plugins | None = None) -> Registry:
    """With what is built in and the installed plugins, all of them or those ``wanted``. Raises PluginFailed."""
    return plugins.registry(wanted)


def make_defaults(broker: Broker, users: Users, settings: Settings, vhost: bool = True, user: bool = True) -> None:
    """The first vhost, user and permissions of a new store; ``vhost`` and ``user``: whether it is to be made."""
    auth = settings.auth
    if vhost:
        broker.create_vhost(auth.default_vhost, "Default virtual host")
    if user:
        hashed = passwords.create(auth.default_pass.encode(), os.urandom(16))
        users.add_user(auth.default_user, hashed, passwords.SCRYPT, auth.default_user_tags)
    if vhost and user:
        configure, write, read = auth.default_permissions
        users.set_permissions(auth.default_user, auth.default_vhost, configure, write, read)


@contextmanager
def open_core(settings: Settings) -> Iterator[Core]:
    """For the command line while no broker runs. Raises StoreError, StoreUnavailable when one does."""
    store, reader, broker, users = open_store(settings)
    try:
        core = Core(broker, users, store, reader)
        core.commit()
        yield core
    finally:
        reader.close()
        store.close(True)
