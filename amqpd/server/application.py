"""The broker as a process: everything is put together here, started, and brought to an end."""

from __future__ import annotations

import gc
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from amqpd import __version__
from amqpd.auth.certificates import CertificateName
from amqpd.auth.mechanisms import Mechanisms, configured
from amqpd.auth.users import Users
from amqpd.broker.batch import StoredEntry
from amqpd.broker.broker import Broker
from amqpd.broker.events import COMMAND_LINE
from amqpd.broker.inquiry import Inquiry
from amqpd.broker.journal import CommitPort
from amqpd.broker.shard import PageRequest
from amqpd.server import administration, plugins
from amqpd.server.alarms import Alarms
from amqpd.server.cli import form
from amqpd.server.clock import now_ms
from amqpd.server.configuration import Source
from amqpd.server.control import SOCKET_NAME, CommandRefused, ControlError, serve_control
from amqpd.server.core import Core, open_core, open_store
from amqpd.server.definitions import startup
from amqpd.server.inbox import Inbox
from amqpd.server.logins import LoginChecks
from amqpd.server.logs import Log
from amqpd.server.notify import Notifier, watchdog_interval
from amqpd.server.poller import Listener, Poller
from amqpd.server.session_log import ConnectionLogs
from amqpd.server.settings import Settings
from amqpd.server.store_threads import Checkpoints, PageReader, StoreWriter
from amqpd.server.tls import TlsError, make_context
from amqpd.session import basic_methods, channel_methods, exchange_methods, queue_methods
from amqpd.session.connection import Connection
from amqpd.session.environment import Environment
from amqpd.session.handshake import server_properties
from amqpd.store.contract import StoreError

__all__ = ["open_core", "serve"]

# What clients get to answer connection.close at a shutdown.
SHUTDOWN_GRACE_SECONDS = 0.5
# Messages are not tracked by the garbage collector (see broker/message.py); what is left makes few cycles.
GC_THRESHOLDS = (50_000, 20, 100)


async def serve(settings: Settings, source: Source) -> int:
    """Run the broker until it is told to stop. Returns the exit status."""
    log = Log(settings.log.level, settings.log.format)
    try:
        definitions = startup.read_source(settings)
    except startup.CannotLoad as error:
        log.critical(f"cannot load definitions: {error}")
        return 2
    try:
        store, reader, broker, users = open_store(settings)
    except plugins.PluginFailed as error:
        log.critical(str(error))
        return 1
    except (StoreError, OSError) as error:
        log.critical(f"cannot open the store: {error}")
        return 1
    core = Core(broker, users, store, reader)
    application = Application(settings, source, log, core)
    try:
        if definitions is not None:
            startup.load(broker, users, definitions, settings, log)
            core.commit()
        status = await application.run()
    except StoreError as error:
        log.critical(f"cannot load definitions: {error}")
        application.broken = True
    finally:
        try:
            reader.close()
            store.close(application.orderly)
        except StoreError as error:
            log.error(f"the store could not be closed in order: {error}")
            application.broken = True
    return 1 if application.broken else status


class Commit(CommitPort):
    """Lets a task wait for what it changed to be on disk."""

    def __init__(self) -> None:
        self.done = trio.Event()

    def batch_committed(self, number: int) -> None:
        self.done.set()


class Application:
    """``broken``: the store failed for good; nothing may be written any more.

    ``orderly``: all that was decided is in the store, also what had been delivered; otherwise all may have been.
    """

    def __init__(self, settings: Settings, source: Source, log: Log, core: Core) -> None:
        self.settings = settings
        self.source = source
        self.log = log
        self.core = core
        self.broker: Broker = core.broker
        self.users: Users = core.users
        self.started = time.monotonic()
        self.broken = False
        self.orderly = False
        self.stopping = trio.Event()
        self.notifier = Notifier.from_environment(os.environ)
        self.inbox = Inbox()
        self.logins = LoginChecks(self.inbox)
        self.session_log = ConnectionLogs(log)
        self.alarms = Alarms(self.broker, log, settings)
        # For operators, so that a long question holds up no queue.
        self._asking = core.store.reader()
        self.environment = self._environment()
        self.writer = StoreWriter(core.store, self.inbox, self._committed, self._store_trouble, self._store_fatal)
        self.reader = PageReader(core.reader, self.inbox, self._page_loaded, self._store_fatal)
        self.checkpoints = Checkpoints(core.store, log, self.inbox, self._store_fatal)
        self.poller = Poller(
            self.environment,
            self.inbox,
            self.session_log,
            self.writer.commit,
            self.reader.load,
            self.logins.check,
            settings.listeners.proxy_protocol,
            settings.connections.connection_max,
            int(settings.listeners.tls_handshake_timeout * 1000),
        )
        self._use_limits(settings)
        self.broker.events.node = self._cluster_name()
        core.live = self

    def _cluster_name(self) -> str:
        return self.settings.server.cluster_name or f"amqpd@{socket.gethostname()}"

    def _environment(self) -> Environment:
        settings = self.settings
        platform = f"amqpd on Python {sys.version_info.major}.{sys.version_info.minor}"
        return Environment(
            broker=self.broker,
            backend=self.users,
            limiter=self.users,
            mechanisms=_mechanisms(settings),
            token=partial(secrets.token_urlsafe, 16),
            log=self.session_log,
            server_properties=server_properties(
                settings.server.product,
                settings.server.version,
                self._cluster_name(),
                platform,
                __version__,
            ),
            handshake_timeout_ms=int(settings.listeners.handshake_timeout * 1000),
            handlers={
                **channel_methods.HANDLERS,
                **exchange_methods.HANDLERS,
                **queue_methods.HANDLERS,
                **basic_methods.HANDLERS,
            },
        )

    def _use_limits(self, settings: Settings) -> None:
        """Limits that a reload may change."""
        environment, connections, limits = self.environment, settings.connections, settings.limits
        environment.heartbeat = connections.heartbeat
        environment.frame_max = connections.frame_max
        environment.channel_max = connections.channel_max
        environment.max_message_size = connections.max_message_size
        environment.consumer_max_per_channel = connections.consumer_max_per_channel
        environment.default_queue_type = settings.queues.default_type
        environment.consumer_timeout_ms = round(connections.consumer_timeout * 1000)
        environment.consumer_timeout_closes = connections.consumer_timeout_action == "close"
        environment.outbox_bytes_max = limits.outbox_bytes_max
        environment.mechanisms = _mechanisms(settings)
        self.poller.connection_max = connections.connection_max
        shard = self.broker.shard
        shard.window_bytes_max = limits.queue_window_bytes
        shard.window_budget = limits.queue_windows_bytes
        self.broker.journal.open_bytes_max = limits.unwritten_bytes_max
        self.users.loopback_users = frozenset(settings.auth.loopback_users)
        self.alarms.use(settings)

    async def run(self) -> int:
        """Returns the exit status."""
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self.writer.start()
        self.reader.start()
        self.checkpoints.start()
        try:
            async with trio.open_nursery() as nursery:
                status = await self._serve(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._asking.close()
            self.logins.stop()
            self.checkpoints.stop()
            self.reader.stop()
            self.writer.stop()
        return 1 if self.broken else status

    async def _serve(self, nursery: trio.Nursery) -> int:
        """Open the ports, serve until told to stop, and end in order. Returns the exit status."""
        # Before a port is open: whoever sees it open may send SIGTERM.
        await nursery.start(self._watch_signals)
        try:
            listeners = self._open_listeners()
        except (OSError, TlsError) as error:
            self.log.critical(str(error))
            self.orderly = True  # nobody came in
            return 1
        self.log.info(f"file descriptors: at most {_raise_descriptor_limit()}")
        control = Path(self.settings.store.data_dir, SOCKET_NAME)
        try:
            await nursery.start(partial(serve_control, control, self._command))
        except (ControlError, OSError) as error:
            self.log.warning(f"no control socket: {error}")
        for listener in listeners:
            self.poller.listen(listener)
            self.log.info(f"listening on {_shown(listener.sock)}{' (TLS)' if listener.context else ''}")
        nursery.start_soon(self.poller.run)
        nursery.start_soon(self.poller.run_timers)
        nursery.start_soon(self._watch_resources)
        nursery.start_soon(self._ping_watchdog)
        self.poller.turn()
        started = (time.monotonic() - self.started) * 1000
        self.log.info(f"amqpd {__version__} ({form()}) is ready, {started:.0f} ms after it opened its store")
        self.notifier.ready()
        await self.stopping.wait()
        self.notifier.stopping()
        await self._shut_down()
        return 0

    # Listeners and reload

    def _open_listeners(self) -> list[Listener]:
        """Raises OSError, with the address in its text, and TlsError."""
        settings = self.settings
        listeners = [
            Listener(_bound(address.host, address.port, settings.listeners.backlog), None)
            for address in settings.listeners.amqp
        ]
        if settings.listeners.tls:
            self.tls_context = make_context(settings.tls)
            listeners += [
                Listener(_bound(address.host, address.port, settings.listeners.backlog), lambda: self.tls_context)
                for address in settings.listeners.tls
            ]
        return listeners

    def reload(self) -> None:
        """SIGHUP: take what can be changed while running; a bad configuration changes nothing."""
        self.notifier.reloading()
        reloaded = self.source.reload(self.settings)
        for line in reloaded.warnings:
            self.log.warning(line)
        error = reloaded.error
        if error is None and self.settings.listeners.tls:
            try:
                self.tls_context = make_context(reloaded.settings.tls)
            except TlsError as fault:
                error = str(fault)
        if error is not None:
            self.log.error(f"configuration not reloaded: {error}")
        else:
            self.settings = reloaded.settings
            self.log.set_level(self.settings.log.level)
            self._use_limits(self.settings)
            self.log.info(f"configuration reloaded; changed: {', '.join(reloaded.changed) or 'nothing'}")
            if reloaded.waiting:
                self.log.warning(f"waiting for a restart: {', '.join(reloaded.waiting)}")
        self.notifier.ready()

    async def _watch_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """The first SIGTERM or SIGINT stops the broker in order, the second at once."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for received in signals:
                if received == signal.SIGHUP:
                    self.reload()
                elif self.stopping.is_set():
                    os._exit(1)
                else:
                    self.log.info(f"{signal.Signals(received).name} received: stopping")
                    self.stopping.set()

    async def _shut_down(self) -> None:
        """Tell clients, let them answer, put everything in flight back, and write what is left."""
        self.poller.stop_listening()
        for port in list(self.broker.connections.values()):
            port.force_close("broker forced connection closure with reason 'shutdown'")
        self.poller.turn()
        with trio.move_on_after(SHUTDOWN_GRACE_SECONDS):
            while self.broker.connections:
                await trio.sleep(0.01)
        for port in list(self.broker.connections.values()):
            if isinstance(port, Connection):
                port.lost("broker shutdown")
        self.poller.turn()
        if not self.broken:
            self.broker.finish()
            await self._commit_everything()

    async def _commit_everything(self) -> None:
        # A disk that takes nothing now will hardly take it in ten seconds.
        rounds = 1 if self.alarms.store_trouble else 20
        with trio.move_on_after(SHUTDOWN_GRACE_SECONDS * rounds):
            while self.broker.unwritten():
                self.poller.turn()
                await trio.sleep(0.002)
            self.orderly = not self.broken

    # The store

    def _committed(self, number: int) -> None:
        self.broker.batch_committed()

    def _page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        self.broker.page_loaded(request, entries)

    def _store_trouble(self, error: StoreError | None) -> None:
        """A commit failed and is tried again: block publishers until it works."""
        if error is not None and not self.alarms.store_trouble:
            self.log.error(f"the store cannot write, publishers are blocked: {error}")
        elif error is None:
            self.log.info("the store writes again")
        self.alarms.store_trouble = error is not None
        self.alarms.look()
        self.poller.turn()

    def _store_fatal(self, error: BaseException) -> None:
        self.log.critical(f"the store failed for good, the broker stops: {error!r}")
        self.broken = True
        self.stopping.set()

    # Watching

    async def _watch_resources(self) -> None:
        while True:
            self.alarms.look()
            self.poller.turn()
            reports, self.broker.reports = self.broker.reports, []
            for line in reports:
                self.log.warning(line)
            await trio.sleep(self.settings.limits.alarm_interval)

    async def _ping_watchdog(self) -> None:
        interval = watchdog_interval(os.environ)
        while interval is not None:
            self.notifier.watchdog()
            await trio.sleep(interval)

    # Operators

    async def _command(self, command: str, arguments: Mapping[str, object]) -> object:
        """A command from the control socket; answered when what it changed is on disk.

        One that changes nothing is answered also while the disk takes nothing. Raises CommandRefused.
        """
        try:
            with administration.faults(self.core, command):
                result = await self._executed(command, arguments)
        except administration.CommandFailed as error:
            self.log.exception(str(error), error.__cause__ or error)
            raise
        if administration.find(self.core, command).changes and not self.broker.journal.empty():
            commit = Commit()
            self.broker.journal.waiting.append(commit)
            self.poller.turn()
            await commit.done.wait()
        else:
            self.poller.turn()
        return result

    async def _executed(self, command: str, arguments: Mapping[str, object]) -> object:
        actor = self.broker.events.act_as(COMMAND_LINE)
        try:
            result = administration.execute(self.core, command, arguments)
        finally:
            self.broker.events.actor = actor
        while isinstance(result, Inquiry):
            result = await self._answered(result)
        return result

    async def _answered(self, inquiry: Inquiry) -> object:
        """Raises CommandRefused."""
        try:
            try:
                await trio.to_thread.run_sync(inquiry.read, self._asking)
            except StoreError as error:
                raise CommandRefused(f"the store cannot be read: {error}") from None
            self.broker.now = now_ms()
            return administration.answer(inquiry)
        finally:
            inquiry.end()

    def status(self) -> dict[str, object]:
        broker = self.broker
        return {
            "version": __version__,
            "form": form(),
            "pid": os.getpid(),
            "uptime_seconds": int(time.monotonic() - self.started),
            "connections": len(broker.connections),
            "channels": sum(len(one.channels) for one in self._connections()),
            "queues": sum(len(vhost.queues) for vhost in broker.vhosts.values()),
            "messages": sum(
                queue.message_count() for vhost in broker.vhosts.values() for queue in vhost.queues.values()
            ),
            "alarms": self.alarms.active(),
        }

    def connections(self) -> list[dict[str, object]]:
        return [
            {
                "name": one.name,
                "user": one.user.name,
                "vhost": one.vhost_name(),
                "client_name": one.client_name,
                "state": "blocked" if one.blocked else one.handshake.state,
                "channels": len(one.channels),
            }
            for one in self._connections()
        ]

    def close_connection(self, name: str, reason: str) -> None:
        for one in self._connections():
            if one.name == name:
                one.force_close(reason)

    def _connections(self) -> list[Connection]:
        return [port for port in self.broker.connections.values() if isinstance(port, Connection)]


def _mechanisms(settings: Settings) -> Mechanisms:
    names = settings.tls
    return configured(
        settings.auth.mechanisms,
        CertificateName(names.login_from, names.login_san_type, names.login_san_index),
        settings.auth.default_user,
    )


def _raise_descriptor_limit() -> int:
    """Take as many descriptors as the system lets us have: each connection needs one. Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard
        except (OSError, ValueError):
            pass
    return soft


def _bound(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Raises OSError with the address in its text."""
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host or "::", port))
        sock.listen(backlog)
    except OSError as error:
        raise OSError(f"cannot listen on {host or '*'}:{port}: {error.strerror or error}") from error
    return sock


def _shown(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"
