"""The clients' own test suites: lists of failures, sources, a small suite from its archive to its checks."""

import socket
import sys
import tarfile
from pathlib import Path

import pytest

from interop.broker import Broker, Tls, has_ipv6
from interop.own_tests import amqplib, families
from interop.own_tests.inside import docker_client
from interop.own_tests.sources import DebianSource, Sdist, replaced
from interop.own_tests.suite import NO_TLS, SECOND_TRY, Place, Suite, expected, version_of
from interop.suite.family import Check, Known, Run, explained

BROKER = Broker("amqp://guest:guest@127.0.0.1:1234/other")

TESTS = """
import os
import pytest

def test_is_told_the_port():
    assert os.environ["PORT"] == "1234"

@pytest.mark.parametrize("way", ["plain", "tls"])
def test_connects(way):
    assert way == "plain"

def test_fails():
    assert "PYTHONHOME" in os.environ

def test_is_left_out():
    assert False

@pytest.mark.parametrize("number", [5672])
def test_is_prepared(number):
    assert number == 1234
"""


def prepared(tree: Path, place: Place) -> None:
    tests = tree / "tests" / "test_it.py"
    tests.write_text(tests.read_text().replace("5672", str(place.port)))


SUITE = Suite(
    client="it",
    source=Sdist("it", "1.0"),
    tests=("tests",),
    pip=(),
    environment=lambda place: {"PORT": str(place.port)},
    prepare=prepared,
    left_out={"*::test_is_left_out": "it is far away"},
    tls=("*[[]tls*",),
)


def archive_of(tests: str, directory: Path) -> Path:
    (directory / "it-1.0" / "tests").mkdir(parents=True)
    (directory / "it-1.0" / "tests" / "test_it.py").write_text(tests)
    archive = directory / "it-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(directory / "it-1.0", "it-1.0")
    return archive


def checks_of(tests: str, directory: Path, broker: Broker = BROKER) -> dict[str, Check]:
    (scratch := directory / "scratch").mkdir()
    outcome = SUITE.tested(Path(sys.executable), archive_of(tests, directory), Run(broker, directory, scratch))
    assert outcome.version == "1.0"
    return {check.name.removeprefix("tests.test_it."): check for check in outcome.checks}


def test_a_suite_is_told_where_the_broker_is_and_read(tmp_path: Path) -> None:
    checks = checks_of(TESTS, tmp_path)
    assert {name: check.result for name, check in checks.items()} == {
        "test_is_told_the_port": "passed",
        "test_connects[plain]": "passed",
        "test_connects[tls]": "skipped",
        "test_fails": "failed",
        "test_is_left_out": "skipped",
        "test_is_prepared[1234]": "passed",
    }
    assert checks["test_is_left_out"].explanation == "it is far away"
    assert checks["test_connects[tls]"].explanation == NO_TLS


def test_tests_of_tls_run_where_the_broker_has_it(tmp_path: Path) -> None:
    broker = Broker(BROKER.url, tls=Tls(1235, tmp_path / "authority.pem"))
    assert checks_of(TESTS, tmp_path, broker)["test_connects[tls]"].result == "failed"


def test_what_fails_is_run_once_more_and_what_passes_then_says_so(tmp_path: Path) -> None:
    marks = f"from pathlib import Path\n\nMARK = Path({str(tmp_path / 'mark')!r})\n"
    late = "def test_late():\n    seen = MARK.exists()\n    MARK.touch()\n    assert seen\n"
    (check, other) = checks_of(f"{marks}\n{late}\ndef test_broken():\n    assert False\n", tmp_path).values()
    assert (check.result, other.result) == ("passed", "failed")
    assert check.explanation.startswith(SECOND_TRY)


def test_a_suite_that_cannot_be_collected_fails(tmp_path: Path) -> None:
    assert [check.result for check in checks_of("import nothing_of_this_name", tmp_path).values()] == ["failed"]


def test_a_suite_without_tests_fails(tmp_path: Path) -> None:
    (check,) = checks_of("", tmp_path).values()
    assert (check.name, check.result) == ("report: pytest ends in order", "failed")


# ---- lists of failures


def listed(text: str, directory: Path) -> list[Known]:
    (directory / "it.expected").write_text(text)
    return list(expected(directory / "it.expected"))


def test_a_list_has_a_pattern_and_a_reason_on_each_line(tmp_path: Path) -> None:
    text = "# what may fail\n\nt.test_a* | it is late\nt.test_b[x|y] | it is | broken\n"
    assert listed(text, tmp_path) == [Known("t.test_a*", "it is late"), Known("t.test_b[[]x|y]", "it is | broken")]


def test_a_list_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(expected(tmp_path / "it.expected")) == []


@pytest.mark.parametrize("line", ["t.test_a", "t.test_a |", " | it is late"])
def test_a_line_without_a_reason_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it\.expected, line 2"):
        listed(f"# what may fail\n{line}\n", tmp_path)


def test_brackets_of_a_pattern_are_those_of_the_name(tmp_path: Path) -> None:
    known = listed("t.test_a[plain-*] | it is late", tmp_path)
    rest, failures = explained([Check("t.test_a[plain-1]", "failed"), Check("t.test_ap", "failed")], known)
    assert list(failures) == ["t.test_a[plain-1]"]
    assert [check.name for check in rest] == ["t.test_ap"]


def test_every_client_has_one_family_and_its_lists_can_be_read() -> None:
    names = [family.name for family in families()]
    assert sorted(set(names)) == sorted(names)
    assert all(family.name.endswith("-own-tests") and "own-tests" in family.tags for family in families())


# ---- sources


@pytest.mark.parametrize(
    ("name", "version"),
    [("python-pika_1.4.4.orig.tar.xz", "1.4.4"), ("aio_pika-10.2.1.tar.gz", "10.2.1"), ("x-1.0rc1.tar.gz", "1.0rc1")],
)
def test_the_version_is_that_of_the_archive(name: str, version: str) -> None:
    assert version_of(Path(name)) == version


def test_the_version_that_is_wanted_comes_before_newer_ones() -> None:
    assert DebianSource("x", "1.3.2").in_order(["1.2.0-1", "1.3.2-1", "1.4.4-1"]) == ["1.3.2-1", "1.4.4-1", "1.2.0-1"]


def test_an_archive_in_the_cache_is_not_fetched(tmp_path: Path) -> None:
    (kept := tmp_path / "sources" / "it-1.0").mkdir(parents=True)
    (kept / "it-1.0.tar.gz").touch()
    assert SUITE.source.archive(tmp_path) == kept / "it-1.0.tar.gz"


def test_a_file_that_is_to_be_replaced_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="built otherwise"):
        replaced(tmp_path / "tests" / "docker_client.py", Path(__file__))


# ---- amqplib's test of ::1


def listening(host: str) -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def no_ipv6_at(listener: socket.socket) -> str:
    """Of a broker that is not ours and listens there."""
    with listener:
        return amqplib.no_ipv6(Broker(f"amqp://127.0.0.1:{listener.getsockname()[1]}/"), ours=False)


@pytest.mark.parametrize("ours", [True, False])
def test_a_machine_without_ipv6_is_a_reason(monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    monkeypatch.setattr(amqplib, "has_ipv6", lambda: False)
    assert amqplib.no_ipv6(BROKER, ours=ours) == "this machine has no address ::1"


def test_a_broker_of_ours_has_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqplib, "has_ipv6", lambda: True)
    assert amqplib.no_ipv6(BROKER, ours=True) == ""


def test_a_broker_elsewhere_that_does_not_listen_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqplib, "has_ipv6", lambda: True)
    assert no_ipv6_at(listening("127.0.0.1")).startswith("this broker does not listen on ::1: ")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address ::1")
def test_a_broker_elsewhere_that_listens_there_is_tested() -> None:
    assert no_ipv6_at(listening("::1")) == ""


def test_the_test_is_marked_with_the_reason(tmp_path: Path) -> None:
    (tests := tmp_path / "connect.test.js").write_text("it('ipv4', go);\nit('ipv6', (_t, done) => {\n});\n")
    amqplib.leave_out_ipv6(tests, 'no "way"')
    assert tests.read_text() == "it('ipv4', go);\nit('ipv6', { skip: \"no \\\"way\\\"\" }, (_t, done) => {\n});\n"


@pytest.mark.parametrize("text", ["it('ipv4', go);", "it('ipv6', go);\nit('ipv6', go);"])
def test_a_source_without_that_test_is_not_guessed_at(text: str, tmp_path: Path) -> None:
    (tests := tmp_path / "connect.test.js").write_text(text)
    with pytest.raises(RuntimeError, match=r"connect\.test\.js does not have"):
        amqplib.leave_out_ipv6(tests, "no way")


# ---- what stands in for Docker


def test_the_container_that_all_tests_share_is_the_broker_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_PORT", "1234")
    monkeypatch.setenv("AMQPS_PORT", "1235")
    container = docker_client.DockerClient().run("image", ["5672/tcp", "5671/tcp"])
    assert container.ports == {"5672/tcp": 1234, "5671/tcp": 1235}


def test_a_container_of_a_test_is_skipped_where_no_broker_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_COMMAND", "")
    with pytest.raises(pytest.skip.Exception, match="second time"):
        docker_client.DockerClient().run("image", ["5672/tcp"])


def test_a_container_of_a_test_stops_and_starts_on_its_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print(1, flush=True); signal.pause()"
    (script := tmp_path / "broker").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{ended}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROKER_COMMAND", str(script))
    client, other = docker_client.DockerClient(), docker_client.DockerClient()
    container = client.run("image", ["5672/tcp"])
    client.kill(container.id)
    other.start(container.id)
    assert other._parse_ports(other.inspect(container.id)) == container.ports
    for action in ("stop_app", "start_app"):
        job = other._request("POST", f"/containers/{container.id}/exec", {"Cmd": ["rabbitmqctl", action]})["Id"]
        other._request("POST", f"/exec/{job}/start", {"Detach": True})
        assert not other._request("GET", f"/exec/{job}/json")["Running"]
    other.kill(container.id)
    other.remove(container.id)
