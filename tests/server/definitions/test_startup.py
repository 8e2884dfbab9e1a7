"""``definitions.load_definitions``: what a broker has when it begins to listen."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from amqpd.server import application
from amqpd.server.configuration import Source
from amqpd.server.core import Core, open_core
from amqpd.server.definitions import startup
from amqpd.server.logs import Log
from amqpd.server.settings import Definitions, Settings

Start = Callable[..., list[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "definitions.json"


@pytest.fixture
def settings(tmp_path: Path, path: Path) -> Settings:
    return replace(
        Settings(),
        store=replace(Settings().store, data_dir=str(tmp_path / "data")),
        definitions=Definitions(str(path)),
        auth=replace(Settings().auth, default_user="first", default_vhost="home"),
    )


def start(settings: Settings, look: Callable[[Core], Any] = lambda core: None) -> tuple[Any, list[str]]:
    """What ``look`` finds after the definitions were loaded, and the lines of the log."""
    source = startup.read_source(settings)
    stream = io.StringIO()
    with open_core(settings) as core:
        if source is not None:
            startup.load(core.broker, core.users, source, settings, Log("info", "text", stream))
            core.commit()
        return look(core), stream.getvalue().splitlines()


def names(core: Core) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    queues = [(vhost.name, name) for vhost in core.broker.vhosts.values() for name in vhost.queues]
    return sorted(core.broker.vhosts), sorted(core.users.users), sorted(queues)


def write(path: Path, **sections: Any) -> None:
    path.write_text(json.dumps(sections))


def test_nothing_is_loaded_without_the_setting(settings: Settings) -> None:
    found, log = start(replace(settings, definitions=Definitions()), names)
    assert found == (["home"], ["first"], [])
    assert log == []


def test_new_store_gets_its_first_user_and_vhost_from_the_file(settings: Settings, path: Path) -> None:
    write(path, users=[{"name": "u", "password": "pw"}], vhosts=[{"name": "v"}], queues=[{"name": "q", "vhost": "v"}])
    found, log = start(settings, names)
    assert found == (["v"], ["u"], [("v", "q")])
    assert "3 added, 0 changed, 0 there already, 0 refused" in log[-1]
    # They are on disk, and the next start finds them there.
    found, log = start(settings, names)
    assert found == (["v"], ["u"], [("v", "q")])
    assert start(replace(settings, definitions=Definitions()), names)[0] == found


def test_new_store_gets_from_the_settings_what_the_file_has_not(settings: Settings, path: Path) -> None:
    write(path, queues=[{"name": "q"}])
    found, _ = start(settings, lambda core: (*names(core), core.users.has_access("first", "home")))
    assert found == (["home"], ["first"], [("home", "q")], True)


def test_file_with_vhosts_and_no_users_leaves_the_first_user(settings: Settings, path: Path) -> None:
    write(path, vhosts=[{"name": "v"}])
    assert start(settings, names)[0] == (["v"], ["first"], [])


def test_plain_password_logs_in(settings: Settings, path: Path) -> None:
    write(path, users=[{"name": "u", "password": "pw", "tags": []}])
    account, _ = start(settings, lambda core: core.users.users["u"])
    assert account.hashing_algorithm == "scrypt"


def test_refused_entries_are_logged_and_the_rest_is_there(settings: Settings, path: Path) -> None:
    write(path, queues=[{"name": "q"}, {"name": "bad", "arguments": {"x-max-length": -1}}, 5])
    found, log = start(settings, names)
    assert found[2] == [("home", "q")]
    assert any("queue 'bad' in vhost 'home'" in line and "value_negative" in line for line in log)
    assert "2 refused" in log[-1]


def test_more_refusals_than_anybody_reads_are_summed_up(settings: Settings, path: Path) -> None:
    write(path, exchanges=[{"name": f"e{number}", "type": "odd"} for number in range(startup.LINES_MAX + 7)])
    _, log = start(settings)
    assert len(log) == startup.LINES_MAX + 2
    assert "7 more entries are refused" in log[-2]


def test_unchanged_file_is_skipped_if_the_settings_say_so(settings: Settings, path: Path) -> None:
    skipping = replace(settings, definitions=Definitions(str(path), True))
    write(path, queues=[{"name": "q", "vhost": "home"}])
    start(skipping)

    def delete(core: Core) -> None:
        vhost = core.broker.vhosts["home"]
        vhost.delete_queue(vhost.queues["q"])
        core.commit()

    start(replace(settings, definitions=Definitions()), delete)
    found, log = start(skipping, names)
    assert found[2] == []
    assert "unchanged" in log[-1]
    write(path, queues=[{"name": "q", "vhost": "home"}, {"name": "r", "vhost": "home"}])
    assert start(skipping, names)[0][2] == [("home", "q"), ("home", "r")]


def test_file_with_refused_entries_is_tried_again(settings: Settings, path: Path) -> None:
    skipping = replace(settings, definitions=Definitions(str(path), True))
    write(path, exchanges=[{"name": "e", "type": "odd"}])
    start(skipping)
    assert any("unknown exchange type" in line for line in start(skipping)[1])


def test_directory_is_loaded_in_the_order_of_names(settings: Settings, path: Path) -> None:
    path.mkdir()
    write(path / "2.json", queues=[{"name": "q", "vhost": "v"}])
    write(path / "1.json", vhosts=[{"name": "v"}])
    (path / "readme.txt").write_text("no JSON")
    assert start(settings, names)[0] == (["v"], ["first"], [("v", "q")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "not JSON"),
        ("[]", "not definitions"),
        ('{"queues": 5}', "'queues' is no list"),
    ],
)
def test_broker_does_not_start_without_definitions_it_can_read(
    settings: Settings, path: Path, content: str | None, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        path.write_text(content)
    assert trio.run(application.serve, settings, Source(None)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert str(path) in line
    assert said in line
    assert not Path(settings.store.data_dir).exists()


def test_empty_directory_is_a_mistake(settings: Settings, path: Path) -> None:
    path.mkdir()
    with pytest.raises(startup.CannotLoad, match=r"no \*.json file"):
        startup.read_source(settings)
