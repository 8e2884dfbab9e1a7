"""A broker in a process of its own: ``python -m amqpd run``, with its files in one directory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from amqpd.auth import passwords
from amqpd.server.control import SOCKET_NAME, request

# Long enough for a machine that is slow and busy; nothing that goes well waits so long.
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0

_numbers = itertools.count()
_ports: set[int] = set()

Config = Mapping[str, Mapping[str, object]]


def free_port() -> int:
    """Another one each time: one that was handed out before may not be listened on yet, or be needed again."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _ports:
            _ports.add(port)
            return port


def eventually(what: Callable[[], object], said: str, seconds: float = 60.0) -> None:
    """Wait until ``what`` is true. Raises AssertionError with ``said`` when it never is."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s: {said}"
        time.sleep(0.01)


class BrokerProcess:
    """``config``: tables of amqpd.toml. ``descriptors``: the limit of open files, None for what we have."""

    def __init__(
        self,
        directory: Path,
        config: Config | None = None,
        data_dir: Path | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.directory = directory
        self.data_dir = data_dir or directory / "data"
        self.config_path = directory / "amqpd.toml"
        self.log_path = directory / "log"
        self.port = free_port()
        self.descriptors = descriptors
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(config or {})
        # A name in the abstract namespace: a path may be too long for a socket.
        self.notify_name = f"amqpd-test-{os.getpid()}-{next(_numbers)}"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("\0" + self.notify_name)

    def configure(self, config: Config) -> None:
        """Write the configuration file; it counts from the next start or reload."""
        tables: dict[str, dict[str, object]] = {name: dict(table) for name, table in config.items()}
        tables["limits"] = {"alarm_interval": 0.1, **tables.get("limits", {})}
        lines: list[str] = []
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        # In one step: a reload under way reads the old file or the new one.
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.rename(self.config_path)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "amqpd", "run", "-c", str(self.config_path)),
            *("--data-dir", str(self.data_dir), "--listen", f"127.0.0.1:{self.port}", *self.arguments),
        ]

    def launch(self) -> None:
        """Start the process and return at once."""
        assert self.process is None
        environment = {**os.environ, "NOTIFY_SOCKET": f"@{self.notify_name}", **self.environment}
        command = self.command()
        if self.descriptors is not None:
            # Not by preexec_fn: the tests have threads.
            command = ["sh", "-c", f'ulimit -n {self.descriptors} && exec "$@"', "sh", *command]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the process and wait until it says that it is ready."""
        self.launch()
        self.wait_notified("READY=1")

    def wait_notified(self, wanted: str, seconds: float = START_SECONDS) -> str:
        """The next datagram with the line ``wanted``; others before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            self.notify.settimeout(0.05)
            try:
                text = self.notify.recv(4096).decode()
            except TimeoutError:
                assert time.monotonic() < deadline, f"no {wanted} within {seconds} s; log:\n{self.log()}"
                assert self.running(), f"exited before {wanted}; log:\n{self.log()}"
                continue
            if wanted in text.splitlines():
                return text

    def forget_notifications(self) -> None:
        self.notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notify.recv(4096)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit status, once it has ended."""
        assert self.process is not None
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within {seconds} s; log:\n{self.log()}") from None
        self.process = None
        self.forget_notifications()
        return status

    def stop(self) -> None:
        """Stop it in order; it must exit with 0 and must never have met a bug of its own."""
        self.signal(signal.SIGTERM)
        status = self.wait()
        log = self.log()
        assert status == 0, f"exit status {status}; log:\n{log}"
        assert "Traceback" not in log, log
        assert "internal error" not in log, log

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self, config: Config | None = None) -> None:
        """Write the configuration, send SIGHUP, and wait until it has been looked at."""
        if config is not None:
            self.configure(config)
        self.forget_notifications()
        self.signal(signal.SIGHUP)
        self.wait_notified("READY=1")

    def ask(self, command: str, **arguments: object) -> Any:
        """An operator's command, through the control socket."""
        return request(self.data_dir / SOCKET_NAME, command, arguments)

    def add_user(self, name: str, password: str) -> None:
        """A user who may do everything in the default vhost."""
        hashed = passwords.create(password.encode(), os.urandom(passwords.SCRYPT_SALT_BYTES))
        self.ask("users add", name=name, tags=[], password_hash=hashed, hashing_algorithm=passwords.SCRYPT)
        self.permit(name)

    def permit(self, user: str, vhost: str = "/", **patterns: str) -> None:
        """``configure``, ``write`` and ``read``: everything where it is not said."""
        asked = {"configure": ".*", "write": ".*", "read": ".*", **patterns}
        self.ask("permissions set", user=user, vhost=vhost, **asked)

    def command_line(self, *words: str, wanted: int = 0) -> str:
        """Run an ``amqpd`` command on this data directory; its output and errors."""
        done = subprocess.run(
            [sys.executable, "-m", "amqpd", *words, "--data-dir", str(self.data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == wanted, done.stdout
        return done.stdout

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_log(self, text: str, times: int = 1) -> None:
        eventually(lambda: self.log().count(text) >= times, f"{text!r} in the log:\n{self.log()[-3000:]}")

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        return self._status_kib("VmRSS") * 1024

    def peak_rss_bytes(self) -> int:
        """The most it ever was."""
        return self._status_kib("VmHWM") * 1024

    def _status_kib(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise AssertionError(f"no {key} in /proc")

    def close(self) -> None:
        """End of a test: nothing of it may run on."""
        if self.running():
            assert self.process is not None
            self.process.kill()
            self.process.wait()
        self.notify.close()
