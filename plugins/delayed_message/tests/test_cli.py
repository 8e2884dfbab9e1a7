"""``amqpd delayed``: beside a broker that runs, and on the files of one that does not."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import click
import pika
import pytest
from click.testing import CliRunner

from amqpd.server.cli import main
from amqpd_delayed_message import search
from amqpd_delayed_message.cli import Duration, Page, Pair, Time, delayed
from interop.blocking import connect, drain, ready_count, wait_until
from interop.broker import AmqpdProcess

HOUR_MS = 3_600_000


class Done(NamedTuple):
    status: object
    stdout: str
    stderr: str


def amqpd(data: Path, *arguments: str) -> Done:
    """The command line, in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
        main(["--data-dir", str(data), "delayed", *arguments])
    return Done(ended.value.code, stdout.getvalue(), stderr.getvalue())


class Site:
    """A broker with the exchange ``x``, bound to the queue ``q``, and the messages a, b and c that wait for hours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = AmqpdProcess(directory)
        self.process.start()
        with connect(self.process.url) as connection:
            channel = connection.channel()
            arguments = {"x-delayed-type": "direct"}
            channel.exchange_declare("x", "x-delayed-message", durable=True, arguments=arguments)
            channel.queue_declare("q", durable=True)
            channel.queue_bind("q", "x", "key")
            channel.confirm_delivery()
            for hours, name in enumerate("abc", start=1):
                headers = {"x-delay": hours * HOUR_MS, "kind": "vowel" if name == "a" else "consonant"}
                properties = pika.BasicProperties(message_id=name, headers=headers, delivery_mode=2)
                channel.basic_publish("x", "key", f"body of {name}".encode(), properties)

    def amqpd(self, *arguments: str) -> Done:
        return amqpd(self.directory / "data", *arguments)

    def says(self, *arguments: str) -> str:
        done = self.amqpd(*arguments)
        assert done.status == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.says("--json", *arguments))

    def names(self, *arguments: str) -> str:
        return "".join(row["message_id"] for row in self.json("list", *arguments)["messages"])

    def drained(self, count: int) -> list[str]:
        with connect(self.process.url) as connection:
            channel = connection.channel()
            wait_until(connection, lambda: ready_count(channel, "q") >= count)
            return drain(channel, "q")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.process.stop()


def test_messages_are_listed_shown_moved_fired_and_cancelled(site: Site) -> None:
    table = site.says("list")
    assert [word in table for word in ("message id", "due at", "key", "x")] == [True] * 4
    assert len(table.splitlines()) == 4
    assert site.names("--header", "kind=consonant") == "bc"
    assert site.names("--message-id", "b", "--exchange", "x", "--vhost", "/") == "b"
    a, b, c = [row["id"] for row in site.json("list")["messages"]]

    assert "body of b" in site.says("show", str(b))
    assert site.json("show", "--message-id", "a")["headers"]["kind"] == "vowel"

    assert site.says("reschedule", str(c), "--in", "30m") == "messages rescheduled: 1\n"
    assert site.names() == "cab"
    soon = time.time() + 1200
    assert site.json("list", "--before", str(round(soon * 1000))) == {"messages": [], "next": None}
    assert site.names("--after", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon + 1200))) == "ab"

    assert site.says("fire", str(c)) == "messages fired: 1\n"
    assert site.drained(1) == ["body of c"]
    assert site.json("cancel", str(a), "999999") == {"count": 1}
    assert site.names() == "b"
    stats = site.json("stats")[0]
    assert (stats["waiting"], stats["published"], stats["cancelled"]) == (1, 1, 1)
    assert site.says("cancel", "--all") == "messages cancelled: 1\n"
    assert site.names() == ""


def test_commands_work_on_the_files_of_a_broker_that_does_not_run(site: Site) -> None:
    site.process.stop()
    assert site.names() == "abc"
    assert site.says("cancel", "--message-id", "a") == "messages cancelled: 1\n"
    assert site.says("reschedule", "--message-id", "b", "--in", "0s") == "messages rescheduled: 1\n"
    assert site.json("stats")[0]["waiting"] == 2
    site.process.start()
    assert site.drained(1) == ["body of b"]
    assert site.names() == "c"


def test_pages_follow_each_other(site: Site) -> None:
    first = site.amqpd("list", "--limit", "2")
    hint = first.stderr.split()
    assert hint[:-1] == ["there", "may", "be", "more:", "--page"]
    assert site.names("--limit", "2", "--page", hint[-1]) == "c"


def test_list_is_filled_though_what_is_wanted_is_rare(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SCAN_MESSAGES_MAX", 1)
    monkeypatch.setattr(search, "READ_MESSAGES", 1)
    site.process.stop()  # so that this process reads the files
    assert site.names("--header", "kind=consonant") == "bc"
    assert site.names("--header", "kind=consonant", "--limit", "1") == "b"
    assert site.says("cancel", "--header", "kind=consonant") == "messages cancelled: 2\n"
    assert site.names() == "a"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["cancel"], 1, "say which messages"),
        (["show", "77"], 1, "no such message waits"),
        (["list", "--exchange", "y"], 1, "no delayed exchange 'y'"),
        (["reschedule", "--all"], 2, "say when: either --at or --in"),
        (["list", "--after", "tomorrow"], 2, "a time is"),
        (["reschedule", "--all", "--in", "5"], 2, "a duration is"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: list[str], status: int, text: str) -> None:
    (tmp_path / "data").mkdir()
    done = amqpd(tmp_path / "data", *arguments)
    assert done.status == status
    assert done.stdout == ""
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_command_is_found_by_the_program_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amqpd", "delayed", "stats", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Time(), "2027-01-15T08:00:00Z", 1_800_000_000_000),
        (Time(), "1800000000000", 1_800_000_000_000),
        (Duration(), "90s", 90_000),
        (Duration(), "15ms", 15),
        (Duration(), "2w", 1_209_600_000),
        (Pair(), "a=b=c", ("a", "b=c")),
        (Pair(), "a=", ("a", "")),
        (Page(), "12:5", [12, 5]),
    ],
)
def test_option_is_understood(kind: click.ParamType[Any], text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Time(), "2027-01-15T08:00:00"),
        (Time(), ""),
        (Duration(), "5"),
        (Duration(), "m"),
        (Duration(), "-5s"),
        (Pair(), "a"),
        (Pair(), "=b"),
        (Page(), "12"),
        (Page(), "a:b"),
    ],
)
def test_option_is_not_understood(kind: click.ParamType[Any], text: str) -> None:
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


@pytest.mark.parametrize("words", [[], ["list"], ["show"], ["cancel"], ["reschedule"], ["fire"], ["stats"]])
def test_every_command_has_help(words: Sequence[str]) -> None:
    shown = CliRunner().invoke(delayed, [*words, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage:")
