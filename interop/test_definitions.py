"""Definitions go from RabbitMQ to amqpd and back, and are the same at the end.

A vhost with everything in it is made on the RabbitMQ at RABBITMQ_URL, over AMQP and its management API, and
exported there. Names hold a token of this run: nothing else on that broker is looked at, and all of it is deleted.
"""

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest

from interop.broker import AmqpdProcess, Management
from interop.topology import ALGORITHMS, account, declare
from interop.transcript import Json

pytestmark = [pytest.mark.interop, pytest.mark.rabbitmq]

Definitions = dict[str, Any]

LISTS = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "parameters",
    "global_parameters",
    "policies",
    "queues",
    "exchanges",
    "bindings",
)


@dataclass(frozen=True)
class Peer:
    """The RabbitMQ, and the names of one copy of everything in it."""

    host: str
    port: int
    management: Management
    token: str

    @property
    def vhost(self) -> str:
        return f"vhost-{self.token}"

    def user(self, algorithm: str) -> str:
        return f"{algorithm}-{self.token}"

    def export(self) -> Definitions:
        """What of this copy is there."""
        return own(self.management.call("GET", "definitions"), self.token)

    def refuse(self, **sections: Any) -> str:
        """Why it does not import these: the reason inside its answer."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.management.call("POST", "definitions", body=sections)
        with caught.value as error:
            reason: Any = json.loads(error.read())["reason"]
        return bytes(reason[2]).decode() if isinstance(reason, list) else str(reason)

    def remove(self) -> None:
        for path in (
            ("vhosts", self.vhost),
            *(("users", self.user(algorithm)) for algorithm in ALGORITHMS),
            ("global-parameters", f"note-{self.token}"),
        ):
            with suppress(urllib.error.HTTPError):
                self.management.call("DELETE", *path)


def own(definitions: Any, token: str) -> Definitions:
    """The entries that hold the token, in an order that can be compared."""
    found = {name: [one for one in definitions[name] if token in json.dumps(one)] for name in LISTS}
    return {name: sorted(entries, key=lambda one: json.dumps(one, sort_keys=True)) for name, entries in found.items()}


def comparable(definitions: Definitions) -> Definitions:
    """Without what amqpd tells of a vhost and RabbitMQ 3.10 does not."""
    return definitions | {"vhosts": [{"name": one["name"]} for one in definitions["vhosts"]]}


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    url = os.environ.get("RABBITMQ_URL")
    if not url:
        pytest.skip("not compared: RABBITMQ_URL is not given")
    parts = urllib.parse.urlsplit(url)
    guess = f"http://guest:guest@{parts.hostname}:{(parts.port or 5672) + 10000}"
    management = Management(os.environ.get("RABBITMQ_MANAGEMENT_URL", guess))
    if not management.reachable():
        pytest.skip("RABBITMQ_MANAGEMENT_URL is needed to export definitions")
    made = Peer(parts.hostname or "127.0.0.1", parts.port or 5672, management, secrets.token_hex(4))
    try:
        fill(made)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def amqpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmqpdProcess]:
    process = AmqpdProcess(tmp_path_factory.mktemp("definitions"))
    process.start()
    yield process
    process.stop()


def command(amqpd: AmqpdProcess, *words: str, stdin: Definitions | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "amqpd", "--data-dir", str(amqpd.directory / "data"), "definitions", *words],
        input=json.dumps(stdin) if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fill(peer: Peer) -> None:
    """Make everything there is to export."""
    call, vhost = peer.management.call, peer.vhost
    call("PUT", "vhosts", vhost)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    call("PUT", "permissions", vhost, "guest", body=dict(everything))
    for algorithm in ALGORITHMS:
        user = peer.user(algorithm)
        call("PUT", "users", user, body=account(algorithm))
        call("PUT", "permissions", vhost, user, body=dict(everything))
    call("PUT", "user-limits", peer.user("md5"), "max-channels", body={"value": 50})
    topic = {"exchange": "elsewhere", "write": "^order\\.eu\\.", "read": "{username}"}
    call("PUT", "topic-permissions", vhost, peer.user("sha512"), body=topic)
    call("PUT", "vhost-limits", vhost, "max-queues", body={"value": 1000})
    call("PUT", "global-parameters", f"note-{peer.token}", body={"value": {"team": ["a", 1, None]}})
    put_policies(peer)
    with connection(peer, "guest", "guest") as channel:
        declare(channel)


def put_policies(peer: Peer) -> None:
    call, vhost = peer.management.call, peer.vhost
    policy: dict[str, Json] = {
        "pattern": "^limited$",
        "apply-to": "queues",
        "priority": 3,
        "definition": {"max-length": 50, "overflow": "drop-head"},
    }
    call("PUT", "policies", vhost, "short", body=policy)
    policy = {"pattern": ".*", "apply-to": "exchanges", "priority": 0, "definition": {"alternate-exchange": "unrouted"}}
    call("PUT", "policies", vhost, "alternate", body=policy)
    policy = {"pattern": "^plain", "apply-to": "queues", "priority": 0, "definition": {"message-ttl": 1000000}}
    call("PUT", "operator-policies", vhost, "cap", body=policy)


@contextmanager
def connection(where: Peer, user: str, password: str, port: int = 0) -> Iterator[Any]:
    """A channel on RabbitMQ, or on this port."""
    credentials = pika.PlainCredentials(user, password)
    opened = pika.BlockingConnection(
        pika.ConnectionParameters(where.host, port or where.port, where.vhost, credentials)
    )
    yield opened.channel()
    opened.close()


def renamed(definitions: Definitions, token: str, other: str) -> Definitions:
    made: Definitions = json.loads(json.dumps(definitions).replace(token, other))
    return made


def test_export_of_rabbitmq_goes_into_amqpd_and_back(peer: Peer, amqpd: AmqpdProcess) -> None:
    exported = peer.export()
    assert {name: len(entries) > 0 for name, entries in exported.items()} == dict.fromkeys(LISTS, True)

    done = command(amqpd, "import", stdin={"rabbit_version": "3.10.8", **exported})
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 refused" in done.stdout

    for algorithm in ALGORITHMS:
        with connection(peer, peer.user(algorithm), algorithm, amqpd.port) as channel:
            declare(channel)

    # The types of numbers are lost in JSON, so a client's binding with a number in it is another one: count it once.
    back = json.loads(command(amqpd, "export").stdout)
    ours = own(back, peer.token)
    ours["bindings"] = [one for at, one in enumerate(ours["bindings"]) if one not in ours["bindings"][:at]]
    assert comparable(ours) == comparable(exported)

    other = Peer(peer.host, peer.port, peer.management, secrets.token_hex(4))
    try:
        whole = {name: value for name, value in back.items() if name not in LISTS}
        peer.management.call("POST", "definitions", body=renamed(whole | ours, peer.token, other.token))
        assert comparable(other.export()) == own(comparable(renamed(exported, peer.token, other.token)), other.token)
        for algorithm in ALGORITHMS:
            with connection(other, other.user(algorithm), algorithm) as channel:
                declare(channel)
    finally:
        other.remove()


def test_export_of_one_vhost_goes_into_another(peer: Peer, amqpd: AmqpdProcess) -> None:
    exported = peer.management.call("GET", "definitions", peer.vhost)
    assert isinstance(exported, dict)
    copy = f"copy-{peer.token}"
    assert command(amqpd, "import", stdin={"vhosts": [{"name": copy}]}).returncode == 0
    done = command(amqpd, "import", "--vhost", copy, stdin=dict(exported))
    assert (done.returncode, done.stderr) == (0, "")
    done = command(amqpd, "diff", "--vhost", copy, stdin=dict(exported))
    assert (done.returncode, done.stdout) == (0, "")


def test_scrypt_hash_does_not_keep_rabbitmq_from_the_rest(peer: Peer, amqpd: AmqpdProcess) -> None:
    name = f"scrypt-{peer.token}"
    user = {"name": name, "password": "secret", "tags": []}
    assert command(amqpd, "import", stdin={"users": [user]}).returncode == 0
    back = json.loads(command(amqpd, "export").stdout)
    (exported,) = [one for one in back["users"] if one["name"] == name]
    try:
        peer.management.call("POST", "definitions", body={"users": [exported]})
        found = peer.management.call("GET", "users", name)
        assert isinstance(found, dict)
        assert found["hashing_algorithm"] == "scrypt"
    finally:
        peer.management.call("DELETE", "users", name)


def queue(name: str, **arguments: Any) -> Definitions:
    return {"name": name, "durable": True, "auto_delete": False, "arguments": arguments}


BAD: list[tuple[str, Definitions]] = [
    ("queues", queue("bad", **{"x-max-length": -1})),
    ("queues", queue("bad", **{"x-max-length": "x"})),
    ("queues", queue("bad", **{"x-expires": 0})),
    ("queues", queue("bad", **{"x-queue-type": "nope"})),
    ("queues", queue("bad", **{"x-overflow": "nope"})),
    ("queues", queue("bad", **{"x-dead-letter-routing-key": "k"})),
    (
        "exchanges",
        {"name": "bad", "type": "x-nope", "durable": True, "auto_delete": False, "internal": False, "arguments": {}},
    ),
    ("policies", {"name": "bad", "pattern": "a", "definition": {"nope": 1}, "priority": 0}),
    ("policies", {"name": "bad", "pattern": "a", "definition": {}}),
    ("policies", {"name": "bad", "pattern": "a", "definition": {"max-length": -1}}),
    ("policies", {"name": "bad", "pattern": "a", "definition": {"max-length": 1}, "priority": "x"}),
    ("policies", {"name": "bad", "pattern": "a", "definition": {"overflow": "x"}}),
    ("parameters", {"name": "bad", "component": "nope", "value": {}}),
]


@pytest.mark.parametrize(("section", "entry"), BAD, ids=[f"{one[0]}-{at}" for at, one in enumerate(BAD)])
def test_entry_is_refused_for_the_reason_rabbitmq_gives(
    peer: Peer, amqpd: AmqpdProcess, section: str, entry: Definitions
) -> None:
    vhosts = [{"name": peer.vhost}]
    assert command(amqpd, "import", stdin={"vhosts": vhosts}).returncode == 0
    entry = entry | {"vhost": peer.vhost}
    reason = peer.refuse(**{section: [entry]})
    # The API escapes HTML, and puts a heading before and the name behind.
    reason = reason.replace("&lt;", "<").replace("&gt;", ">").removeprefix("Validation failed\n\n").split("\n (")[0]
    done = command(amqpd, "import", stdin={section: [entry]})
    assert done.returncode == 1
    assert " ".join(reason.split()) in done.stderr


def test_file_that_is_no_definitions_is_refused_by_both(peer: Peer, amqpd: AmqpdProcess, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        peer.management.call("POST", "definitions", body=[1])
    with caught.value as error:
        assert error.code == 400
    file = tmp_path / "list.json"
    file.write_text("[1]")
    assert command(amqpd, "import", str(file)).returncode == 2
