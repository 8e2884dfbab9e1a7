"""php-amqplib's own functional tests, from Debian's source package, run by Debian's PHP and PHPUnit."""

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import replace
from pathlib import Path

from interop.own_tests.sources import DebianSource, unpacked
from interop.own_tests.suite import INSIDE, NO_TLS, Place, own_tests, ran, version_of
from interop.suite import install, junit
from interop.suite.family import Check, Family, Outcome, Run

SOURCE = DebianSource("php-amqplib", "3.7.3")
PACKAGES = ("phpunit", "php8.2-cli", "php8.2-common", "php8.2-mbstring", "php8.2-xml", "php-phpseclib3")
# In this order: an extension finds those that it builds on.
EXTENSIONS = ("ctype", "tokenizer", "mbstring", "dom", "xml", "xmlwriter", "sockets", "posix")
TLS = "tests/Functional/Connection/SSLConnectionTest.php"
SECONDS = 240.0
TOLD_CHARACTERS = 1500


def family() -> Family:
    return own_tests("php-amqplib", "PHP", observe)


def observe(run: Run) -> Outcome:
    """Raises ``Unavailable`` when the source or Debian's PHP cannot be had."""
    root = install.debian_root(PACKAGES, run.cache)
    archive = SOURCE.archive(run.cache)
    tree = unpacked(archive, run.scratch / "source")
    (tree / "vendor").mkdir()
    shutil.copy(INSIDE / "php" / "autoload.php", tree / "vendor")
    place = Place.of(run.broker)
    environment = _environment(tree, root, place)
    _set_ports(tree, place)
    skips = []
    if place.authority is None:
        (tree / TLS).unlink()
        skips.append(Check(Path(TLS).stem, "skipped", NO_TLS))
    else:
        _trust(place.authority, tree / "tests" / "certs", environment)
    return Outcome(version_of(archive), [*_tested(tree, root, environment), *skips])


def _set_ports(tree: Path, place: Place) -> None:
    """The tests have ports written out."""
    for path in (tree / "tests" / "Functional").rglob("*.php"):
        text = re.sub(r"\b5672\b", str(place.port), path.read_text())
        path.write_text(re.sub(r"\b5671\b", str(place.tls_port), text))


def _trust(authority: Path, certificates: Path, environment: dict[str, str]) -> None:
    """Put the broker's authority in the place of the tests' own, also under the name that OpenSSL looks for."""
    (certificates / "ca_certificate.pem").write_bytes(authority.read_bytes())
    script = 'echo openssl_x509_parse(file_get_contents($argv[1]))["hash"];'
    command = [environment["PHP_BINARY"], "-r", script, str(authority)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (certificates / "hashed" / f"{done.stdout.strip()}.0").write_bytes(authority.read_bytes())


def _environment(tree: Path, root: Path, place: Place) -> dict[str, str]:
    """PHP that is unpacked, not installed, is told where its parts are, and so is each PHP that a test starts."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    (folder := tree / "bin").mkdir()
    (folder / "php").symlink_to(root / "usr/bin/php8.2")
    settings = [
        f"include_path={root / 'usr/share/php'}",
        f"extension_dir={root / 'usr/lib/php/20220829'}",
        "memory_limit=-1",  # as Debian has it
        *(f"extension={extension}" for extension in EXTENSIONS),
    ]
    (folder / "php.ini").write_text("\n".join(settings) + "\n")
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ.get('PATH', '')}",
        "PHP_BINARY": str(folder / "php"),
        "PHPRC": str(folder),
        "PHP_INI_SCAN_DIR": "",
        "LD_LIBRARY_PATH": str(root / "usr/lib" / multiarch),
        "TEST_RABBITMQ_HOST": place.host,
        "TEST_RABBITMQ_PORT": str(place.port),
    }


def _tested(tree: Path, root: Path, environment: dict[str, str]) -> list[Check]:
    results = tree / "results.xml"
    command = [environment["PHP_BINARY"], str(root / "usr/bin/phpunit"), "--no-configuration"]
    command += ["--bootstrap", str(tree / "tests/bootstrap.php")]
    command += ["--verbose", "--colors=never", f"--log-junit={results}", "tests/Functional"]
    said, status = ran(command, tree, environment, SECONDS)
    checks = [_with_reason(check, said) for check in junit.read(results)]
    if status not in (0, 1, 2) or not results.exists():  # 1, 2: some failed, as the results say
        told = f"exit status {status}\n{said[-TOLD_CHARACTERS:]}"
        checks.append(Check("report: phpunit ends in order", "failed", told))
    return checks


def _with_reason(check: Check, said: str) -> Check:
    """PHPUnit writes the reason of a skip only where people read it."""
    if check.result != "skipped" or check.explanation:
        return check
    name = check.name.rpartition(".")[2]
    match = re.search(rf"^\d+\) \S+::{re.escape(name)}\b.*\n+(.+)$", said, re.MULTILINE)
    return replace(check, explanation=match[1].strip() if match else "no reason given")
