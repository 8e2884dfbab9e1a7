"""pika's own acceptance tests: fetch its source, run them against a broker, compare with a list.

The source is the first of these that contains the tests: PIKA_SOURCE (a tar file), the source distribution of
the installed pika, Debian's source packages from the newest suite on. The tests run with the pika they belong
to, in a virtual environment of their own, all kept in a cache directory. Only the port is changed in them: it
is written out as 5672 there.
"""

import argparse
import fnmatch
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.broker import running_amqpd

HERE = Path(__file__).parent
EXPECTED = HERE / "pika_acceptance_expected.txt"
DEBIAN_SUITES = ("sid", "forky", "trixie", "bookworm")
# What the adapters under test need; twisted's tests talk to no broker and need nose.
TOOLS = ("pytest", "pytest-timeout", "gevent", "tornado", "twisted")
TESTS = "tests/acceptance"
PORT_IN_TESTS = "5672"
TEST_SECONDS = 60


@dataclass(frozen=True)
class Result:
    """One test: its dotted name and ``passed``, ``failed`` or ``skipped``."""

    name: str
    outcome: str
    message: str


def main() -> int:
    """Exit status 0 when every test passed or is listed as an expected failure, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", help="a broker that runs on loopback, with guest:guest; without it amqpd is started")
    url = parser.parse_args().url
    cache = cache_directory()
    source = find_source(cache)
    python = make_environment(cache)
    with tempfile.TemporaryDirectory() as scratch, broker_port(url, Path(scratch)) as port:
        tree = unpack(source, Path(scratch), port)
        results = run_tests(python, tree)
    print(f"\n{source.name} on port {port}")
    return report(results, expected_failures())


def cache_directory() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or HERE.parent / ".cache")
    directory = base / "pika-acceptance"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def broker_port(url: str | None, scratch: Path) -> Iterator[int]:
    if url is None:
        (scratch / "amqpd").mkdir()
        with running_amqpd(scratch / "amqpd") as broker:
            yield urllib.parse.urlsplit(broker.url).port or 5672
        return
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost"):
        sys.exit("pika's tests connect to localhost only")
    yield parts.port or 5672


# ---- the source


def find_source(cache: Path) -> Path:
    if given := os.environ.get("PIKA_SOURCE"):
        return Path(given)
    cached = sorted(cache.glob("*.tar.*"))
    usable = [path for path in cached if has_tests(path)]
    if usable:
        return usable[-1]
    for fetch in (fetch_from_package_index, fetch_from_debian):
        fetched = fetch(cache)
        if fetched and has_tests(fetched):
            return fetched
        print(f"{fetch.__name__}: {fetched.name + ' has no tests' if fetched else 'nothing'}")
    sys.exit("no source of pika with its tests was found; give one with PIKA_SOURCE")


def has_tests(source: Path) -> bool:
    with tarfile.open(source) as archive:
        return any(f"/{TESTS}/" in name for name in archive.getnames())


def fetch_from_package_index(cache: Path) -> Path | None:
    wanted = f"pika=={importlib.metadata.version('pika')}"
    with tempfile.TemporaryDirectory() as directory:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-binary",
            ":all:",
            "--no-deps",
            wanted,
            "-d",
        ]
        subprocess.run([*pip, directory], check=False)
        return kept(directory, "*.tar.gz", cache)


def fetch_from_debian(cache: Path) -> Path | None:
    """Ask apt for python-pika's upstream archive, with lists of its own: nothing on the machine changes."""
    if not shutil.which("apt-get"):
        return None
    with tempfile.TemporaryDirectory() as directory:
        apt = private_apt(Path(directory))
        subprocess.run(["apt-get", *apt, "-qq", "update"], check=False, capture_output=True)
        listing = subprocess.run(["apt-cache", *apt, "showsrc", "python-pika"], capture_output=True, text=True)
        for version in re.findall(r"^Version: (.+)$", listing.stdout, re.MULTILINE):
            source = f"python-pika={version}"
            get = ["apt-get", *apt, "-qq", "--only-source", "--download-only", "--tar-only", "source", source]
            subprocess.run(get, cwd=directory, check=False, capture_output=True)
            if fetched := kept(directory, "*.orig.tar.*", cache):
                return fetched
    return None


def private_apt(directory: Path) -> list[str]:
    """Options that make apt use lists, state and cache in ``directory``, from the machine's own mirror."""
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True)
    sites = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)"], capture_output=True, text=True
    )
    mirrors = [line.split()[0] for line in sites.stdout.splitlines() if line.endswith(" Debian")]
    mirror = next((uri for uri in mirrors if "security" not in uri), "")
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    lines = [f"deb-src {signed}{mirror} {suite} main\n" for suite in DEBIAN_SUITES]
    (directory / "sources.list").write_text("".join(lines))
    (directory / "status").touch()
    options = {
        "Dir::Etc::SourceList": "sources.list",
        "Dir::Etc::SourceParts": "none",
        "Dir::State": "",
        "Dir::State::status": "status",
        "Dir::Cache": "",
    }
    arguments = [f"{name}={directory / value}" for name, value in options.items()] + ["APT::Sandbox::User=root"]
    return [word for argument in arguments for word in ("-o", argument)]


def kept(directory: str, pattern: str, cache: Path) -> Path | None:
    found = sorted(Path(directory).glob(pattern))
    return Path(shutil.copy(found[-1], cache)) if found else None


# ---- the run


def make_environment(cache: Path) -> Path:
    """The Python of a virtual environment with what the tests import, made once."""
    environment = cache / f"venv-{sys.version_info.major}.{sys.version_info.minor}"
    python = environment / "bin" / "python"
    ready = environment / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *TOOLS], check=True)
        ready.touch()
    return python


def unpack(source: Path, directory: Path, port: int) -> Path:
    """Unpack the source and write the broker's port into the tests that connect to it."""
    with tarfile.open(source) as archive:
        archive.extractall(directory / "source", filter="data")
    (tree,) = (directory / "source").iterdir()
    for path in [*(tree / TESTS).rglob("*.py"), *(tree / "tests" / "base").rglob("*.py")]:
        path.write_text(re.sub(rf"\b{PORT_IN_TESTS}\b", str(port), path.read_text()))
    return tree


def run_tests(python: Path, tree: Path) -> list[Result]:
    report_file = tree / "results.xml"
    command = [python, "-m", "pytest", TESTS, "-q", "-p", "no:cacheprovider", "--tb=short"]
    command += ["-o", "python_files=*_test.py *_tests.py", f"--timeout={TEST_SECONDS}", "--show-capture=no"]
    command += ["--continue-on-collection-errors", "-o", "junit_family=xunit2", f"--junitxml={report_file}"]
    # Otherwise the pika of this environment could be tested in place of the one the tests belong to.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([str(word) for word in command], cwd=tree, env=environment, check=False)
    return [result_of(case) for case in ET.parse(report_file).iter("testcase")]


def result_of(case: ET.Element) -> Result:
    name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if (child := case.find(tag)) is not None:
            return Result(name, outcome, (child.get("message") or "").splitlines()[0])
    return Result(name, "passed", "")


# ---- the comparison


def expected_failures() -> dict[str, str]:
    """Pattern of test names -> reason, from lines ``pattern | reason``."""
    lines = [line.strip() for line in EXPECTED.read_text().splitlines()]
    rows = [line.partition("|") for line in lines if line and not line.startswith("#")]
    return {pattern.strip(): reason.strip() for pattern, _bar, reason in rows}


def report(results: list[Result], expected: dict[str, str]) -> int:
    modules: dict[str, Counter[str]] = {}
    for result in results:
        module = result.name.removeprefix("tests.acceptance.").split(".")[0]
        modules.setdefault(module, Counter())[result.outcome] += 1
    print(f"{'':32}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for module, counts in sorted(modules.items()):
        print(f"{module:32}{counts['passed']:8}{counts['failed']:8}{counts['skipped']:8}")
    unexpected = 0
    for result in results:
        if result.outcome == "failed":
            reason = next((why for pattern, why in expected.items() if fnmatch.fnmatch(result.name, pattern)), None)
            unexpected += reason is None
            print(f"{'expected' if reason else 'FAILED'}: {result.name}: {reason or result.message}")
    if not any(result.outcome == "passed" for result in results):
        print("no test passed")
        return 1
    print(f"{unexpected} unexpected failures")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
