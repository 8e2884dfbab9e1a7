"""The command line: against a running control server, offline, and its errors."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from amqpd import __version__
from amqpd.auth import passwords
from amqpd.server import cli
from amqpd.server.administration import COMMANDS, execute
from amqpd.server.control import SOCKET_NAME, serve_control
from amqpd.server.settings import Settings
from tests.server.conftest import Run
from tests.server.fake_core import FakeCore, FakeLive


@contextlib.contextmanager
def control_server(core: FakeCore, data_dir: Path) -> Iterator[None]:
    """A control socket in ``data_dir`` whose commands work on ``core``."""
    data_dir.mkdir(exist_ok=True)
    started = threading.Event()
    stop: list[Callable[[], None]] = []

    async def handle(command: str, arguments: dict[str, Any]) -> object:
        return execute(core, command, arguments)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_control, data_dir / SOCKET_NAME, handle))
            token = trio.lowlevel.current_trio_token()
            stop.append(partial(token.run_sync_soon, nursery.cancel_scope.cancel))
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        stop[0]()
        thread.join()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FakeCore]:
    """The core behind a control socket in the data directory."""
    core = FakeCore(FakeLive())
    with control_server(core, tmp_path / "data"):
        yield core


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCore:
    """The core that opening the files of the data directory gives; it counts commits."""
    core = FakeCore()
    (tmp_path / "data").mkdir()

    @contextlib.contextmanager
    def open_core(settings: Settings) -> Iterator[FakeCore]:
        assert settings.store.data_dir == str(tmp_path / "data")
        yield core

    module = types.ModuleType("amqpd.server.application")
    module.open_core = open_core  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return core


def test_user_is_added_in_the_running_broker_with_a_modern_hash(amqpd: Run, running: FakeCore) -> None:
    ran = amqpd("users", "add", "alice", "--password", "p\u00e4ss", "--tag", "monitoring", "--tag", "x")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("user 'alice' added")
    account = running.users.users["alice"]
    assert account.tags == ("monitoring", "x")
    assert account.hashing_algorithm == passwords.SCRYPT
    assert passwords.verify(account.password_hash, account.hashing_algorithm, "p\u00e4ss".encode())


def test_password_comes_from_standard_input(amqpd: Run, running: FakeCore) -> None:
    assert amqpd("users", "add", "alice", "--password-stdin", stdin=" two words \n").status == 0
    assert amqpd("users", "set-password", "alice", "--password-stdin", stdin="last\r\nignored").status == 0
    account = running.users.users["alice"]
    assert passwords.verify(account.password_hash, account.hashing_algorithm, b"last")


def test_every_command_works_against_the_running_broker(amqpd: Run, running: FakeCore) -> None:
    hashed = passwords.create_rabbitmq(b"secret", b"salt")
    for line in (
        f"users import-hash bob {hashed} --algorithm rabbit_password_hashing_sha256",
        "users set-tags bob administrator",
        "users limit bob max-connections 5",
        "users limit bob max-channels -1",
        "vhosts add new --description tests",
        "vhosts limit new max-queues 7",
        "permissions set bob --vhost new --configure ^c --write ^w --read ^r",
        "topic-permissions set bob amq.topic --vhost new --write ^w --read ^r",
    ):
        ran = amqpd(*line.split())
        assert (ran.status, ran.err) == (0, ""), line
    assert json.loads(amqpd("users", "list", "--json").out)[0]["limits"] == {"max-connections": 5}
    table = amqpd("permissions", "list").out.splitlines()
    assert table[0].split() == ["user", "vhost", "configure", "write", "read"]
    assert table[1].split() == ["bob", "new", "^c", "^w", "^r"]
    assert "amq.topic" in amqpd("topic-permissions", "list", "--user", "bob").out
    assert "max-queues=7" in amqpd("vhosts", "list").out
    for line in (
        "topic-permissions delete bob amq.topic --vhost new",
        "permissions delete bob --vhost new",
        "vhosts delete new",
        "users delete bob",
    ):
        assert amqpd(*line.split()).status == 0, line
    assert running.users.users == {}
    assert "connections" in amqpd("status").out
    assert "127.0.0.1:3 -> 127.0.0.1:5672" in amqpd("connections", "list").out
    assert amqpd("connections", "close", "--user", "alice").out == "connections closed: 2\n"


def test_every_command_of_the_table_is_on_the_command_line(amqpd: Run, running: FakeCore) -> None:
    for name in COMMANDS:
        assert amqpd(*name.split(), "--help").status == 0, name


@pytest.mark.parametrize("place", [0, 1, 2])
def test_common_options_stand_before_or_after_the_command(
    amqpd: Run, running: FakeCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setenv("AMQPD_STORE__DATA_DIR", str(tmp_path / "elsewhere"))
    words = ["users", "list"]
    words[place:place] = ["--data-dir", str(tmp_path / "data"), "--json"]
    ran = amqpd(*words)
    assert (ran.status, ran.out) == (0, "[]\n")


def test_refusal_is_one_line_and_status_one(amqpd: Run, running: FakeCore) -> None:
    ran = amqpd("users", "delete", "nobody")
    assert (ran.status, ran.out, ran.err) == (1, "", "amqpd: user 'nobody' does not exist\n")


def test_done_is_told_in_json(amqpd: Run, running: FakeCore) -> None:
    assert json.loads(amqpd("--json", "vhosts", "add", "x").out) == {"ok": True}


def test_offline_change_is_committed_and_a_refused_one_is_not(amqpd: Run, offline: FakeCore) -> None:
    assert amqpd("users", "add", "alice", "--password", "x").status == 0
    assert offline.commits == 1
    assert amqpd("users", "delete", "nobody").status == 1
    assert json.loads(amqpd("users", "list", "--json").out)[0]["name"] == "alice"
    assert offline.commits == 1


def test_offline_nothing_is_made_by_looking(amqpd: Run, tmp_path: Path) -> None:
    ran = amqpd("users", "list")
    assert (ran.status, ran.err) == (1, f"amqpd: {tmp_path}/data: there is no data directory\n")
    assert not (tmp_path / "data").exists()


def test_live_command_without_a_broker_says_so(amqpd: Run, tmp_path: Path) -> None:
    assert amqpd("status").err == f"amqpd: no broker runs with the data directory {tmp_path}/data\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fly", "No such command 'fly' (see 'amqpd --help')"),
        ("users add", "Missing argument 'NAME' (see 'amqpd users add --help')"),
        ("users add alice", "give either --password or --password-stdin"),
        ("users add alice --password x --password-stdin", "give either --password or --password-stdin"),
        ("users limit alice max-channels many", "not a valid integer"),
        ("permissions set alice --write x --read x", "Missing option '--configure'"),
        ("connections close", "NAME, --user or --vhost"),
        ("run --colour", "No such option"),
        ("run --listen nowhere", "option --listen: listeners.amqp"),
        ("--log-level loud", "option --log-level: log.level = 'loud'"),
        ("users list -c /nonexistent.toml", "/nonexistent.toml: cannot be read"),
    ],
)
def test_misuse_is_one_line_and_status_two(amqpd: Run, arguments: str, said: str) -> None:
    ran = amqpd(*arguments.split())
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_empty_password_is_refused(amqpd: Run, running: FakeCore) -> None:
    assert amqpd("users", "add", "alice", "--password", "").status == 1
    assert running.users.users == {}


def test_check_config_tells_good_from_bad(amqpd: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[connections]\nheartbeat = 5")
    ran = amqpd("check-config", str(file))
    assert (ran.status, ran.out) == (0, f"configuration is good ({file})\n")
    file.write_text("[connections]\nhartbeat = 5")
    ran = amqpd("check-config", str(file))
    assert ran.status == 2
    assert "did you mean 'heartbeat'?" in ran.err
    conf = tmp_path / "rabbitmq.conf"
    conf.write_text("management.tcp.port = 1")
    ran = amqpd("check-config", str(conf))
    assert ran.status == 0
    assert ran.err == f"warning: {conf}: management.tcp.port has no equal in amqpd and is ignored\n"


@pytest.mark.parametrize("words", [[], ["run"]])
def test_run_starts_the_broker_with_settings_and_their_source(
    amqpd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """The application is a recorder here; what it does is tested with it."""
    called: list[Any] = []

    async def serve(settings: Settings, source: Any) -> int:
        called.extend((settings, source))
        return 3

    module = types.ModuleType("amqpd.server.application")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    ran = amqpd(*words, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--log-level", "debug")
    assert ran.status == 3
    settings, source = called
    assert [str(one) for one in settings.listeners.amqp] == ["127.0.0.1:0", "[::1]:0"]
    assert settings.log.level == "debug"
    assert source.load().settings == settings


def test_warnings_are_logged_when_the_broker_starts(
    amqpd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(settings: Settings, source: Any) -> int:
        return 0

    module = types.ModuleType("amqpd.server.application")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("AMQPD_LOG_LEVEL", "debug")
    ran = amqpd("run")
    assert ran.status == 0
    assert "[warning] environment variable AMQPD_LOG_LEVEL is not used" in ran.err


def test_sample_config_is_printed(amqpd: Run) -> None:
    assert "[listeners]" in amqpd("sample-config").out


def test_version_names_the_form_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom amqpd.server.cli import main\n"
        "try:\n    main(['--version'])\nfinally:\n"
        "    print(sorted({'trio', 'structlog', 'rich', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    python = sys.version.split()[0]
    assert done.stdout in [f"amqpd {__version__} ({form}) python {python}\n[]\n" for form in ("pure", "compiled")]


def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "amqpd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == cli.version_line() + "\n"
