"""The broker a program talks to, and how the three kinds of broker do what programs ask of them.

A program gets a ``Broker``: its URL and five handles that act on the broker itself (``interrupt``,
``restart``, ``crash``, ``alarm``, ``policy``). A broker that cannot do one of them raises ``CannotDo`` with the reason,
and the program is reported as skipped with that reason.
"""

import base64
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, Self

import trustme

from interop.transcript import Json

START_SECONDS = 60.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.05
PORTS = range(20000, 32000)  # below those that Linux gives to connections (ip_local_port_range)
CANNOT = 3  # exit status of a command that acts on a broker, for what this broker cannot be made to do
SHORT_OF = {"memory": 'memory_high_watermark = "1B"', "disk": 'disk_free_limit = "1000TB"'}  # beyond every machine
LOG_CHARACTERS = 4000  # of amqpd's log, shown when something is wrong with it


Definition = Mapping[str, Json]


class CannotDo(Exception):
    """This broker cannot be made to do what the program needs; the text says why."""


def _cannot_interrupt(_name: str) -> NoReturn:
    raise CannotDo("no way to close this broker's connections by force: set its management URL")


def _cannot_restart() -> NoReturn:
    raise CannotDo("this broker is not ours to restart")


def _cannot_crash() -> NoReturn:
    raise CannotDo("this broker is not ours to kill")


def _cannot_alarm(_on: bool) -> NoReturn:
    raise CannotDo("no way to raise a resource alarm in this broker: set RABBITMQCTL")


def _cannot_set_policy(_name: str, _pattern: str, _definition: Definition) -> NoReturn:
    raise CannotDo("no way to set a policy in this broker: set its management URL")


@dataclass(frozen=True)
class Tls:
    """Where a broker takes connections over TLS: its port, and a PEM file with the authority its clients trust."""

    port: int
    authority: Path


@dataclass(frozen=True)
class Broker:
    """A running broker and what can be done to it.

    ``interrupt(name)`` breaks the connections whose client-provided name is ``name``, from the broker's side;
    the broker takes new connections again when it returns. ``restart()`` stops the broker, starts it on the
    same data and returns when it listens; ``crash()`` likewise, but it kills the process (SIGKILL). ``alarm(on)``
    raises or clears the memory alarm. ``policy(name, pattern, definition)`` sets a policy for queues in this vhost; an
    empty definition clears it. ``tls`` is None when the broker has no such port, or it is not known. ``command`` starts
    another broker of the same kind; it wants ``--listen`` and ``--data-dir``, and is empty when there is no way.
    ``data_dir`` is that of an amqpd of our own, by which its command line finds it.
    """

    url: str
    interrupt: Callable[[str], None] = _cannot_interrupt
    restart: Callable[[], None] = _cannot_restart
    crash: Callable[[], None] = _cannot_crash
    alarm: Callable[[bool], None] = _cannot_alarm
    policy: Callable[[str, str, Definition], None] = _cannot_set_policy
    tls: Tls | None = None
    command: tuple[str, ...] = ()
    data_dir: Path | None = None

    @property
    def tool(self) -> tuple[str, ...]:
        """amqpd's command line for this broker, an amqpd of our own, up to where its words come."""
        return (*self.command[:-1], "--data-dir", str(self.data_dir))

    @property
    def vhost(self) -> str:
        path = urllib.parse.urlsplit(self.url).path
        return urllib.parse.unquote(path[1:]) or "/"

    def observe(self, run: "Callable[[Broker], Json]") -> Json:
        """Run a program and return its transcript as plain JSON, with the vhost's name made neutral."""
        text = json.dumps(run(self))
        name = json.dumps(self.vhost)[1:-1]
        return _json(text.replace(f"vhost '{name}'", "vhost '/'"))


def _json(text: str | bytes) -> Json:
    parsed: Json = json.loads(text)
    return parsed


# ---- amqpd as a child process


class AmqpdProcess:
    """``python -m amqpd run`` on two free loopback ports, one of them for TLS, with its files in ``directory``.

    It listens on 127.0.0.1 and, where there is one, on ::1 with the same port; TLS is on 127.0.0.1 alone. As a context
    manager it is started and stopped.
    """

    COMMAND = (sys.executable, "-m", "amqpd", "run")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.port, tls_port = _free_ports(2)
        self._tls = Tls(tls_port, directory / "authority.pem")
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._config = directory / "interop.toml"
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False
        self._alarms: set[str] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker; returns when the port is open, raises AssertionError if it never is."""
        if not self._config.exists():
            self._write_certificate()
            self._write_config()
        self._ending = False
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_listening(self.port, self._assert_alive)
        except AssertionError:
            self._process.kill()
            self._process.wait()
            raise

    def terminate(self) -> None:
        """Send SIGTERM and do not wait. Once only: a second one would end the broker at once."""
        assert self._process is not None
        if not self._ending:
            self._ending = True
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop with SIGTERM, if running; the exit status must be 0 and the log without a traceback."""
        if self._process is None:
            return
        self.terminate()
        process, self._process = self._process, None
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"amqpd did not stop in {STOP_SECONDS} s; its log:\n{self.log()}") from None
        assert status == 0, f"amqpd exited with {status}; its log:\n{self.log()}"
        whole_log = (self.directory / "log").read_text(errors="replace")
        assert "Traceback" not in whole_log, whole_log[whole_log.index("Traceback") :][:LOG_CHARACTERS]

    def restart(self) -> None:
        self.stop()
        self.start()

    def crash(self) -> None:
        """Kill the process and start it again."""
        assert self._process is not None
        self.kill()
        self.start()

    def kill(self) -> None:
        """End the process, if running, without asking what it thinks of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def alarm(self, on: bool, resource: str = "memory") -> None:
        """Set a limit that this machine cannot keep, of ``memory`` or ``disk``, or put it back.

        Returns when the broker has seen it.
        """
        assert self._process is not None
        if on == (resource in self._alarms):
            return
        self._alarms ^= {resource}
        logged = f"{resource} resource limit alarm {'set' if on else 'cleared'}"
        log = self.directory / "log"
        read = log.stat().st_size
        self._write_config()
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while logged.encode() not in log.read_bytes()[read:]:
            self._assert_alive()
            assert time.monotonic() < deadline, f"no {logged}; the log:\n{self.log()}"
            time.sleep(POLL_SECONDS)

    def policy(self, name: str, pattern: str, definition: Definition) -> None:
        """Set a policy by the command line, or clear it."""
        words = ["set", name, pattern, json.dumps(definition)] if definition else ["clear", name]
        command = [*self.COMMAND[:-1], "--data-dir", str(self.data_dir), "policies", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"

    def broker(self) -> Broker:
        return Broker(
            self.url,
            lambda _name: self.restart(),
            self.restart,
            self.crash,
            self.alarm,
            self.policy,
            self._tls,
            self.COMMAND,
            self.data_dir,
        )

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-LOG_CHARACTERS:]

    def _command(self) -> list[str]:
        listen = [word for host in _loopbacks() for word in ("--listen", f"[{host}]:{self.port}")]
        return [*self.COMMAND, "-c", str(self._config), "--data-dir", str(self.data_dir), *listen]

    def _write_config(self) -> None:
        limits = "\n".join(SHORT_OF[resource] for resource in sorted(self._alarms))
        certificate = str(self.directory / "server.pem")
        self._config.write_text(
            f"""\
[listeners]
tls = ["127.0.0.1:{self._tls.port}"]

[tls]
certificate = {json.dumps(certificate)}
key = {json.dumps(certificate)}

[limits]
alarm_interval = 0.1
{limits}
"""
        )

    def _write_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self._tls.authority)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.directory / "server.pem")

    def _assert_alive(self) -> None:
        assert self._process is not None
        status = self._process.poll()
        assert status is None, f"amqpd exited with {status}; its log:\n{self.log()}"


def _free_ports(count: int) -> list[int]:
    """Ports that the system gives to nobody by itself: a client that tries to reconnect could otherwise be given the
    port of the broker that is just restarting, and connect to itself.
    """
    with ExitStack() as held:
        return [_free_port(held) for _ in range(count)]


def _free_port(held: ExitStack) -> int:
    """One that is free on all loopback addresses; taken until ``held`` is closed."""
    while True:
        port = random.choice(PORTS)
        try:
            for host in _loopbacks():
                held.enter_context(_bound(host, port))
        except OSError:
            continue
        return port


def _bound(host: str, port: int) -> socket.socket:
    with ExitStack() as unless_bound:
        probe = unless_bound.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        probe.bind((host, port))
        unless_bound.pop_all()
        return probe


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        _bound("::1", 0).close()
    except OSError:
        return False
    return True


def _loopbacks() -> tuple[str, ...]:
    return ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",)


@contextmanager
def running_amqpd(directory: Path) -> Iterator[Broker]:
    """An amqpd of our own for the time of the block."""
    with AmqpdProcess(directory) as process:
        yield process.broker()


# ---- a broker that somebody else holds the handles of


def controlled(url: str, command: str) -> Broker:
    """A broker on which a command acts: ``command restart`` (``interop/suite/control.py`` says what it answers)."""

    def act(*words: str) -> None:
        done = subprocess.run([command, *words], capture_output=True, text=True)
        if done.returncode == CANNOT:
            raise CannotDo(done.stdout.strip())
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"

    return Broker(
        url,
        lambda name: act("interrupt", name),
        lambda: act("restart"),
        lambda: act("crash"),
        lambda on: act("alarm", "on" if on else "off"),
        lambda name, pattern, definition: act("policy", name, pattern, json.dumps(definition)),
    )


# ---- a RabbitMQ (or any broker) that is already running


class Management:
    """The few calls of RabbitMQ's management HTTP API that the programs need."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        credentials = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self._root = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}/api"
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def call(self, method: str, *path: str, body: Json = None) -> Json:
        url = "/".join([self._root, *(urllib.parse.quote(part, safe="") for part in path)])
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return _json(text) if text else None

    def reachable(self) -> bool:
        try:
            self.call("GET", "overview")
        except (OSError, ValueError):
            return False
        return True

    def set_policy(self, vhost: str, name: str, pattern: str, definition: Definition) -> None:
        """Set a policy for queues; clear it when the definition is empty."""
        if definition:
            body: Json = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
            self.call("PUT", "policies", vhost, name, body=body)
        else:
            self.call("DELETE", "policies", vhost, name)

    def close_connections(self, name: str) -> None:
        """Close every connection with this client-provided name; waits until the API knows of one."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := self._connections(name)):
            assert time.monotonic() < deadline, f"the management API never showed connection {name!r}"
            time.sleep(POLL_SECONDS)
        for connection in found:
            try:
                self.call("DELETE", "connections", connection)
            except urllib.error.HTTPError as error:
                # The list lags behind: a connection of an earlier program may be in it, closed already.
                if error.code != 404:
                    raise

    def _connections(self, name: str) -> list[str]:
        rows = self.call("GET", "connections")
        assert isinstance(rows, list)
        return [
            str(row["name"])
            for row in rows
            if isinstance(row, dict) and row.get("user_provided_name") == name and row.get("state") == "running"
        ]


def _management_of(url: str, management_url: str | None) -> Management | None:
    parts = urllib.parse.urlsplit(url)
    port = (parts.port or 5672) + 10000  # RabbitMQ's habit: 5672 and 15672
    guess = f"http://{parts.username or 'guest'}:{parts.password or 'guest'}@{parts.hostname}:{port}"
    management = Management(management_url or guess)
    return management if management.reachable() else None


@contextmanager
def running_elsewhere(url: str) -> Iterator[Broker]:
    """A broker that runs already. With its management API, the programs get a vhost of their own for the
    block.

    RABBITMQ_MANAGEMENT_URL is tried at the AMQP port plus 10000 when not set. RABBITMQCTL is a rabbitmqctl
    command line, needed for the alarm; RABBITMQ_MAY_RESTART=1 says that it may be used to restart the broker,
    too.
    """
    ctl = shlex.split(os.environ.get("RABBITMQCTL", ""))
    alarm = _ctl_alarm(ctl) if ctl else _cannot_alarm
    restart = _ctl_restart(ctl, url) if ctl and os.environ.get("RABBITMQ_MAY_RESTART") == "1" else _cannot_restart
    management = _management_of(url, os.environ.get("RABBITMQ_MANAGEMENT_URL"))
    if management is None:
        yield Broker(url, restart=restart, alarm=alarm)
        return
    vhost = f"interop-{os.getpid()}"
    user = urllib.parse.urlsplit(url).username or "guest"
    management.call("PUT", "vhosts", vhost)
    try:
        management.call("PUT", "permissions", vhost, user, body={"configure": ".*", "write": ".*", "read": ".*"})
        own = urllib.parse.urlsplit(url)._replace(path="/" + urllib.parse.quote(vhost, safe="")).geturl()
        policy = partial(management.set_policy, vhost)
        yield Broker(own, management.close_connections, restart, alarm=alarm, policy=policy)
    finally:
        management.call("DELETE", "vhosts", vhost)


def _ctl_alarm(ctl: list[str]) -> Callable[[bool], None]:
    def alarm(on: bool) -> None:
        limit = "0.000001" if on else "0.4"  # 0.4 is the default up to 3.13
        subprocess.run([*ctl, "set_vm_memory_high_watermark", limit], check=True, capture_output=True)

    return alarm


def _ctl_restart(ctl: list[str], url: str) -> Callable[[], None]:
    def restart() -> None:
        for command in ("stop_app", "start_app"):
            subprocess.run([*ctl, command], check=True, capture_output=True)
        port = urllib.parse.urlsplit(url).port or 5672
        _wait_listening(port, lambda: None)

    return restart


def _wait_listening(port: int, still_alive: Callable[[], None]) -> None:
    """Return when the loopback port accepts connections; ``still_alive`` raises when there is no hope."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        still_alive()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise AssertionError(f"nothing listened on port {port} within {START_SECONDS} s")
