"""``amqpd definitions`` on the files of a broker that does not run; tests/process has one that does."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amqpd.server import cli, control, definitions_commands


@dataclass
class Ran:
    """What a command left: its exit status and its two outputs."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]

QUEUE = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"x-max-length": 5}}


@pytest.fixture
def definitions(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``amqpd definitions`` in this process, with ``tmp_path/data`` as the data directory."""
    monkeypatch.setenv("AMQPD_STORE__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMQPD_CONFIG_FILE", str(tmp_path / "amqpd.toml"))
    (tmp_path / "amqpd.toml").write_text("")

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            cli.main(["definitions", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, out, err)

    return run


def text(**sections: Any) -> bytes:
    return json.dumps(sections).encode()


def test_import_takes_in_what_it_can_and_names_the_rest(definitions: Run) -> None:
    bad = QUEUE | {"name": "bad", "arguments": {"x-max-length": -1}}
    ran = definitions("import", "-", stdin=text(queues=[QUEUE, bad, QUEUE]))
    assert ran.status == 1
    assert ran.out == "1 added, 0 changed, 1 there already, 1 refused\n"
    (line,) = ran.err.splitlines()
    assert line.startswith("refused: queue 'bad' in vhost '/': invalid arg 'x-max-length'")
    exported = json.loads(definitions("export").out)
    assert exported["queues"] == [QUEUE]


def test_import_of_good_definitions_has_status_0(definitions: Run, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(text(queues=[QUEUE], users=[{"name": "u", "password": "pw", "tags": []}]))
    assert definitions("import", str(file)).status == 0
    (user,) = [one for one in json.loads(definitions("export").out)["users"] if one["name"] == "u"]
    assert user["hashing_algorithm"] == "scrypt"


def test_result_is_json_if_asked(definitions: Run) -> None:
    ran = definitions("import", "--json", stdin=text(queues=[QUEUE, 5]))
    assert json.loads(ran.out) == {
        "added": 1,
        "changed": 0,
        "same": 0,
        "skipped": 0,
        "refused": ["an entry of queues: is no object"],
    }


def test_export_has_the_head_rabbitmq_writes(definitions: Run) -> None:
    definitions("import", stdin=text(vhosts=[]))
    exported = json.loads(definitions("export").out)
    assert exported["rabbit_version"] == exported["rabbitmq_version"] == exported["product_version"] == "3.13.7"
    assert exported["product_name"] == "RabbitMQ"
    single = json.loads(definitions("export", "--vhost", "/").out)
    assert list(single) == [
        "rabbit_version",
        "amqpd_version",
        "parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    ]


def test_export_writes_a_file_for_its_owner_only(definitions: Run, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text("old")
    definitions("import", stdin=text(queues=[QUEUE | {"name": "ü"}]))
    ran = definitions("export", str(file))
    assert (ran.status, ran.out) == (0, "")
    assert json.loads(file.read_bytes())["queues"][0]["name"] == "ü"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert definitions("import", str(file)).out.startswith("0 added, 0 changed")
    assert [one.name for one in tmp_path.iterdir() if "file.json" in one.name] == ["file.json"]


def test_export_of_one_vhost_goes_into_another(definitions: Run) -> None:
    definitions("import", stdin=text(queues=[QUEUE], vhosts=[{"name": "other"}]))
    exported = definitions("export", "--vhost", "/").out.encode()
    assert "vhost" not in json.loads(exported)["queues"][0]
    assert definitions("import", "-", "--vhost", "other", stdin=exported).out.startswith("1 added")
    assert json.loads(definitions("export", "--vhost", "other").out)["queues"] == json.loads(exported)["queues"]


def test_diff_says_what_an_import_would_do(definitions: Run) -> None:
    definitions("import", stdin=text(queues=[QUEUE]))
    exported = definitions("export").out.encode()
    same = definitions("diff", stdin=exported)
    assert (same.status, same.out) == (0, "")
    wanted = text(queues=[QUEUE | {"name": "r"}, QUEUE | {"durable": False}])
    ran = definitions("diff", stdin=wanted)
    assert ran.status == 1
    assert [line[:3] for line in ran.out.splitlines()] == ["+ q", "! q"]
    assert json.loads(definitions("diff", "--json", stdin=wanted).out)[0] == {
        "sign": "+",
        "section": "queues",
        "name": "queue 'r' in vhost '/'",
        "reason": "",
    }
    assert definitions("export").out.encode() == exported


@pytest.mark.parametrize("command", ["import", "diff"])
@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"", (), "standard input: not JSON"),
        (b"[]", (), "standard input: not definitions"),
        (text(queues=[{"name": "q"}]), (), "say with --vhost where it goes"),
    ],
)
def test_what_is_no_definitions_has_status_2(
    definitions: Run, tmp_path: Path, command: str, content: bytes, options: tuple[str, ...], said: str
) -> None:
    ran = definitions(command, "-", *options, stdin=content)
    assert ran.status == 2
    (line,) = ran.err.splitlines()
    assert said in line
    assert not (tmp_path / "data").exists()


def test_missing_file_and_vhost_are_said(definitions: Run, tmp_path: Path) -> None:
    assert "No such file" in definitions("import", str(tmp_path / "none.json")).err
    definitions("import", stdin=text(vhosts=[]))
    for command, status in (("import", 1), ("diff", 2)):
        ran = definitions(command, "--vhost", "none", stdin=text(queues=[]))
        assert (ran.status, ran.err) == (status, "amqpd: vhost 'none' does not exist\n")
    assert definitions("export", "--vhost", "none").err == "amqpd: vhost 'none' does not exist\n"
    ran = definitions("export", str(tmp_path / "none" / "file"))
    assert (ran.status, "No such file" in ran.err) == (1, True)


def test_there_is_nothing_to_export_without_a_data_directory(definitions: Run) -> None:
    for command, status in (("export", 1), ("diff", 2)):
        ran = definitions(command, stdin=text(queues=[]))
        assert (ran.status, "there is no data directory" in ran.err) == (status, True)


def test_entry_that_does_not_fit_in_a_request_is_refused(definitions: Run) -> None:
    large = QUEUE | {"name": "large", "arguments": {"x": "y" * control.REQUEST_BYTES_MAX}}
    ran = definitions("import", stdin=text(queues=[large, QUEUE]))
    assert ran.status == 1
    assert ran.out.startswith("1 added")
    assert f"queue 'large' in vhost '/': is larger than {definitions_commands.ENTRY_BYTES_MAX} bytes" in ran.err
