"""bunny's own specs, from Debian's source package, run by Debian's Ruby and RSpec."""

import json
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from interop.own_tests.provision import NOTHING, Access, provided
from interop.own_tests.sources import DebianSource, unpacked
from interop.own_tests.suite import INSIDE, NO_TLS, Place, own_tests, ran, version_of
from interop.suite import install
from interop.suite.family import Check, Family, Outcome, Result, Run

SOURCE = DebianSource("ruby-bunny", "2.23.0")
PACKAGES = (
    "ruby-amq-protocol",
    "ruby-sorted-set",
    "ruby-rbtree",
    "ruby3.1",
    "libruby3.1",
    "ruby-rubygems",
    "ruby-rspec",
)
FOLDERS = ("spec/higher_level_api", "spec/lower_level_api", "spec/issues")
TLS = "tls_connection_spec.rb"
NO_GEM = "closes connections by the gem rabbitmq_http_api_client, which Debian does not have"
LEFT_OUT = {
    "connection_recovery_spec.rb": NO_GEM,
    "connection_stop_spec.rb": NO_GEM,
    "toxiproxy_spec.rb": "needs the program toxiproxy, which Debian does not have",
}
BUNNY = ("bunny_gem", "bunny_password")
ACCESSES = (
    Access(*BUNNY, "bunny_testbed"),
    Access(*BUNNY, "bunny_dqt_classic"),
    Access(*BUNNY, "bunny_dqt_quorum"),
    Access(*BUNNY, "bunny_dqt_stream"),
    Access("bunny_reader", "reader_password", "bunny_testbed", configure=NOTHING, write=NOTHING),
)
SECONDS = 600.0
TOLD_CHARACTERS = 1500
RESULTS: Mapping[str, Result] = {"passed": "passed", "failed": "failed", "pending": "skipped"}


def family() -> Family:
    return own_tests("bunny", "Ruby", observe)


def observe(run: Run) -> Outcome:
    """Raises ``Unavailable`` when the source or Debian's Ruby cannot be had."""
    root = install.debian_root(PACKAGES, run.cache)
    archive = SOURCE.archive(run.cache)
    tree = unpacked(archive, run.scratch / "source")
    place = Place.of(run.broker)
    _set_port(tree, place)
    left_out = dict(LEFT_OUT)
    if place.authority is None:
        left_out[TLS] = NO_TLS
    else:
        (tree / "spec/tls/ca_certificate.pem").write_bytes(place.authority.read_bytes())
    skips = [Check(name, "skipped", reason) for name, reason in left_out.items()]
    with provided(run.broker, ACCESSES):
        checks = list(_tested(tree, root, place, left_out))
    return Outcome(_version(tree) or version_of(archive), [*checks, *skips])


def _version(tree: Path) -> str:
    match = re.search(r'VERSION = "(.+)"', (tree / "lib/bunny/version.rb").read_text())
    return match[1] if match else ""


def _set_port(tree: Path, place: Place) -> None:
    """The specs have the port written out."""
    for path in (tree / "spec").rglob("*.rb"):
        path.write_text(re.sub(r"\b5672\b", str(place.port), path.read_text()))


def _tested(tree: Path, root: Path, place: Place, left_out: Mapping[str, str]) -> Iterator[Check]:
    results = tree / "results.json"
    files = [path for folder in FOLDERS for path in sorted((tree / folder).rglob("*_spec.rb"))]
    names = [str(path.relative_to(tree)) for path in files if path.name not in left_out]
    command = [str(root / "usr/bin/ruby3.1"), str(root / "usr/bin/rspec"), "--format", "json", "--out", str(results)]
    environment = _environment(root, place)
    said, status = ran([*command, *names], tree, environment, SECONDS)
    if results.exists() and (text := results.read_text()):
        report = json.loads(text)
        for example in report["examples"]:
            yield _check(example)
        if report["summary"]["errors_outside_of_examples_count"] == 0 and status in (0, 1):
            return
    yield Check("report: rspec ends in order", "failed", f"exit status {status}\n{said[-TOLD_CHARACTERS:]}")


def _check(example: Mapping[str, object]) -> Check:
    """Named by its file and the words of the groups it is in: two files may say the same."""
    path = Path(str(example["file_path"])).name
    name = f"{path}: {' '.join(str(example['full_description']).split())}"
    result = RESULTS[str(example["status"])]
    exception = example.get("exception")
    told = str(exception["message"]).strip() if isinstance(exception, dict) else example.get("pending_message")
    return Check(name, result, "" if result == "passed" else str(told or "no reason given")[:TOLD_CHARACTERS])


def _environment(root: Path, place: Place) -> dict[str, str]:
    """A Ruby that is unpacked, not installed, is told where its library, its gems and its shared objects are."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    library, ruby = root / "usr/lib", root / "usr/lib/ruby"
    load_path = [INSIDE / "ruby", ruby / "vendor_ruby", ruby / "3.1.0", library / multiarch / "ruby/3.1.0"]
    gems = [root / "usr/share/rubygems-integration/all", library / multiarch / "rubygems-integration/3.1.0"]
    environment = {key: value for key, value in os.environ.items() if key != "CI"}  # there, specs leave much out
    return {
        **environment,
        "LD_LIBRARY_PATH": str(library / multiarch),
        "RUBYLIB": ":".join(map(str, load_path)),
        "GEM_PATH": ":".join(map(str, gems)),
        "LANG": "C.UTF-8",
        "AMQP_PORT": str(place.port),
        "AMQPS_PORT": str(place.tls_port),
        "RABBITMQ_PORT": str(place.port),
    }
