"""amqplib's own tests, as npm has them: the newest release whose package contains its tests, run by Node's test runner.

Their only dependency is a generator of random values. Nothing is changed but the port that the client takes when it
is given none: some of the tests connect to ``amqp://localhost``. One connects to ``amqp://[::1]``, and is skipped where
that cannot be.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from interop.broker import Broker, has_ipv6
from interop.own_tests.suite import own_tests
from interop.suite import install, junit
from interop.suite.family import Check, Family, Outcome, Run, Unavailable

CLIENT = "amqplib@2.2.0"  # from 2.2.1 on the package leaves the tests out
TOOLS = ("claire@0.4.1",)
TEST_MS = 60_000  # for a test, and for each file as a whole; its own is a second, on a machine that does nothing else
OPTIONS = (f"--test-timeout={TEST_MS}", "--test-reporter=junit")
SECONDS = 240.0
DEFAULT_PORT = "5672"
OF_IPV6 = "it('ipv6', "
CONNECT_SECONDS = 3.0


def family() -> Family:
    return own_tests("amqplib", "Node.js", observe)


def observe(run: Run) -> Outcome:
    """Raises ``Unavailable`` without Node.js, or one that is too old, and when the package cannot be had."""
    install.need_commands(("node", "npm"))
    _need_node()
    modules = install.node_modules((CLIENT, *TOOLS), run.cache)
    tree = run.scratch / "amqplib"
    shutil.copytree(modules / "amqplib", tree)
    (tree / "node_modules").symlink_to(modules)
    _set_default_port(tree / "lib" / "connect.js", urllib.parse.urlsplit(run.broker.url).port)
    if why := no_ipv6(run.broker, ours=run.ours):
        leave_out_ipv6(tree / "test" / "connect.test.js", why)
    report, status = _tested(tree, run.broker.url)
    checks = list(_results(report))
    if status != 0 and all(check.result != "failed" for check in checks):
        checks.append(Check("report: all tests are in it", "failed", f"the test runner ended with status {status}"))
    return Outcome(install.npm_version(modules, "amqplib"), checks)


def _need_node() -> None:
    asked = subprocess.run(["node", *OPTIONS, "--version"], capture_output=True, text=True)
    if asked.returncode != 0:
        raise Unavailable(f"this Node.js is too old for the tests: {asked.stderr.strip()}")


def _set_default_port(source: Path, port: int | None) -> None:
    text, count = re.subn(rf"\b{DEFAULT_PORT}\b", str(port or DEFAULT_PORT), source.read_text())
    if count == 0:
        raise RuntimeError(f"{source.name} does not name the default port {DEFAULT_PORT}")
    source.write_text(text)


def no_ipv6(broker: Broker, *, ours: bool) -> str:
    """Why nothing can be connected to on ::1; empty where an amqpd of ours has to be there, or another broker is."""
    if not has_ipv6():
        return "this machine has no address ::1"
    if ours:
        return ""
    try:
        port = urllib.parse.urlsplit(broker.url).port or int(DEFAULT_PORT)
        socket.create_connection(("::1", port), CONNECT_SECONDS).close()
    except OSError as error:
        return f"this broker does not listen on ::1: {error}"
    return ""


def leave_out_ipv6(tests: Path, why: str) -> None:
    """Mark the test as one to skip, with the reason. Raises RuntimeError when it is not there."""
    text = tests.read_text()
    if text.count(OF_IPV6) != 1:
        raise RuntimeError(f"{tests.name} does not have {OF_IPV6!r} once")
    tests.write_text(text.replace(OF_IPV6, f"{OF_IPV6}{{ skip: {json.dumps(why)} }}, "))


def _tested(tree: Path, url: str) -> tuple[ET.Element, int]:
    """The report of the test runner, JUnit's XML, and its exit status; raises RuntimeError when there is no report."""
    files = sorted(str(path.relative_to(tree)) for path in (tree / "test").glob("*.test.js"))
    if not files:
        raise Unavailable(f"the package {CLIENT} holds no tests")
    # Most of the tests ask this variable for the broker's URL.
    environment = {**os.environ, "URL": url}
    command = ["node", "--test", *OPTIONS, *files]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS)
    try:
        return ET.fromstring(done.stdout), done.returncode
    except ET.ParseError as error:
        raise RuntimeError(f"no report ({error}): {done.stdout[-300:]}{done.stderr[-300:]}") from error


def _results(element: ET.Element, above: tuple[str, ...] = ()) -> Iterator[Check]:
    """The tests below an element, named by the groups that they are in."""
    for child in element:
        name = " ".join((child.get("name") or "").split())
        if child.tag == "testsuite":
            yield from _results(child, (*above, name))
        elif child.tag == "testcase":
            yield junit.check(": ".join((*above, name)), child)
