"""The table of operators' commands, over a core without a broker."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from amqpd.auth import passwords
from amqpd.broker.broker import Broker
from amqpd.broker.policies import make_policy
from amqpd.server.administration import COMMANDS, execute
from amqpd.server.control import CommandRefused
from amqpd.server.core import make_registry
from tests.server.fake_core import FakeCore, FakeLive

SHA256 = passwords.SHA256
HASH = passwords.create_rabbitmq(b"secret", b"salt", SHA256)


@pytest.fixture
def core() -> FakeCore:
    made = FakeCore(FakeLive())
    for name in ("alice", "bob"):
        made.users.add_user(name, HASH, SHA256)
    made.defined.clear()
    return made


def do(core: FakeCore, command: str, **arguments: Any) -> Any:
    return execute(core, command, arguments)


def refused(core: FakeCore, command: str, **arguments: Any) -> str:
    """The line of a refusal, which must have changed nothing."""
    with pytest.raises(CommandRefused) as caught:
        execute(core, command, arguments)
    assert core.defined == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_user_is_added_listed_and_deleted(core: FakeCore) -> None:
    do(core, "users add", name="carol", password_hash=HASH, hashing_algorithm=SHA256, tags=["monitoring"])
    do(core, "users limit", name="carol", limit="max-channels", value=5)
    assert do(core, "users list")[-1] == {
        "name": "carol",
        "tags": ["monitoring"],
        "hashing_algorithm": SHA256,
        "has_password": True,
        "limits": {"max-channels": 5},
    }
    do(core, "users delete", name="carol")
    assert [row["name"] for row in do(core, "users list")] == ["alice", "bob"]


def test_password_hash_never_leaves(core: FakeCore) -> None:
    assert HASH not in str(do(core, "users list"))


def test_deleted_user_loses_its_connections(core: FakeCore) -> None:
    do(core, "users delete", name="alice")
    assert core.live is not None
    assert core.live.closed == [
        ("127.0.0.1:1 -> 127.0.0.1:5672", "user 'alice' is deleted"),
        ("127.0.0.1:2 -> 127.0.0.1:5672", "user 'alice' is deleted"),
    ]


def test_user_is_deleted_without_a_running_broker() -> None:
    core = FakeCore()
    core.users.add_user("alice", HASH, SHA256)
    do(core, "users delete", name="alice")
    assert core.users.users == {}


def test_hash_is_imported_for_new_and_known_users(core: FakeCore) -> None:
    other = passwords.create_rabbitmq(b"other", b"salt", SHA256)
    do(core, "users import-hash", name="alice", password_hash=other, hashing_algorithm=SHA256)
    do(core, "users import-hash", name="dave", password_hash=HASH, hashing_algorithm=SHA256, tags=["a"])
    assert core.users.users["alice"].password_hash == other
    assert core.users.users["dave"].tags == ("a",)


def test_password_and_tags_are_replaced(core: FakeCore) -> None:
    do(core, "users set-password", name="bob", password_hash="", hashing_algorithm=SHA256)
    do(core, "users set-tags", name="bob", tags=["administrator", "x"])
    account = core.users.users["bob"]
    assert (account.password_hash, account.tags) == ("", ("administrator", "x"))


def test_negative_limit_removes_it(core: FakeCore) -> None:
    do(core, "users limit", name="alice", limit="max-connections", value=3)
    do(core, "vhosts limit", name="orders", limit="max-queues", value=4)
    assert do(core, "vhosts list")[1] == {
        "name": "orders",
        "description": "",
        "limits": {"max-queues": 4},
        "default_queue_type": "",
    }
    do(core, "users limit", name="alice", limit="max-connections", value=-1)
    do(core, "vhosts limit", name="orders", limit="max-queues", value=-1)
    assert core.users.user_limits == core.users.vhost_limits == {}


def test_vhost_is_added_and_deleted_with_what_hangs_on_it(core: FakeCore) -> None:
    do(core, "vhosts add", name="new", description="for tests")
    do(core, "permissions set", user="bob", vhost="new", configure="", write=".*", read=".*")
    do(core, "topic-permissions set", user="bob", vhost="new", exchange="amq.topic", write="^b", read="^b")
    do(core, "vhosts limit", name="new", limit="max-queues", value=1)
    do(core, "vhosts delete", name="new")
    assert [row["name"] for row in do(core, "vhosts list")] == ["/", "orders"]
    assert do(core, "permissions list") == do(core, "topic-permissions list") == []
    assert core.users.vhost_limits == {}


def test_permissions_are_set_listed_and_deleted(core: FakeCore) -> None:
    do(core, "permissions set", user="bob", vhost="/", configure="", write="^b", read=".*")
    do(core, "permissions set", user="alice", vhost="orders", configure=".*", write=".*", read=".*")
    row = {"user": "bob", "vhost": "/", "configure": "", "write": "^b", "read": ".*"}
    assert do(core, "permissions list", user="bob") == [row]
    assert do(core, "permissions list", vhost="/", user=None) == [row]
    assert len(do(core, "permissions list")) == 2
    do(core, "permissions delete", user="bob", vhost="/")
    assert do(core, "permissions list", user="bob") == []


def test_topic_permissions_are_set_and_deleted_one_or_all(core: FakeCore) -> None:
    for exchange in ("a", "b", "c"):
        do(core, "topic-permissions set", user="bob", vhost="/", exchange=exchange, write="^w", read="^r")
    do(core, "topic-permissions delete", user="bob", vhost="/", exchange="b")
    assert [row["exchange"] for row in do(core, "topic-permissions list")] == ["a", "c"]
    do(core, "topic-permissions delete", user="bob", vhost="/", exchange=None)
    assert do(core, "topic-permissions list") == []


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("users fly", {}, "unknown command 'users fly'"),
        (
            "users add",
            {"name": "alice", "password_hash": HASH, "hashing_algorithm": SHA256},
            "exists already",
        ),
        ("users add", {"name": "x", "password_hash": "!", "hashing_algorithm": SHA256}, "base64"),
        ("users add", {"name": "x", "password_hash": HASH, "hashing_algorithm": "rot13"}, "rot13"),
        ("users add", {"name": "", "password_hash": HASH, "hashing_algorithm": SHA256}, "must not be empty"),
        ("users add", {"name": 5}, "'name' must be text"),
        ("users add", {}, "'name' must be text"),
        ("users set-tags", {"name": "alice", "tags": "x"}, "'tags' must be a list"),
        ("users set-tags", {"name": "nobody", "tags": []}, "'nobody' does not exist"),
        ("users delete", {"name": "nobody"}, "'nobody' does not exist"),
        ("users limit", {"name": "alice", "limit": "max-hats", "value": 1}, "max-connections"),
        ("users limit", {"name": "alice", "limit": "max-hats", "value": -1}, "max-connections"),
        ("users limit", {"name": "alice", "limit": "max-channels", "value": 2**63}, "whole number"),
        ("users limit", {"name": "alice", "limit": "max-channels", "value": True}, "whole number"),
        ("vhosts add", {"name": "orders"}, "exists already"),
        ("vhosts add", {"name": "v" * 256}, "255"),
        ("vhosts add", {"name": ""}, "1 to 255"),
        ("vhosts delete", {"name": "nope"}, "vhost 'nope' does not exist"),
        ("vhosts limit", {"name": "nope", "limit": "max-queues", "value": 1}, "vhost 'nope' does not exist"),
        (
            "permissions set",
            {"user": "alice", "vhost": "nope", "configure": "", "write": "", "read": ""},
            "'nope'",
        ),
        (
            "permissions set",
            {"user": "nobody", "vhost": "/", "configure": "", "write": "", "read": ""},
            "'nobody'",
        ),
        ("permissions set", {"user": "alice", "vhost": "/", "configure": "(", "write": "", "read": ""}, "("),
        ("permissions set", {"user": "alice", "vhost": "/", "configure": ""}, "'write' must be text"),
        ("connections close", {}, "which connections"),
        ("connections close", {"name": "nobody"}, "no connection is named 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    core: FakeCore, command: str, arguments: dict[str, Any], said: str
) -> None:
    assert said in refused(core, command, **arguments)


def test_connections_are_closed_by_name_user_and_vhost(core: FakeCore) -> None:
    live = core.live
    assert live is not None
    assert do(core, "connections close", name="127.0.0.1:3 -> 127.0.0.1:5672", reason="tidy up") == 1
    assert live.closed == [("127.0.0.1:3 -> 127.0.0.1:5672", "tidy up")]
    assert do(core, "connections close", user="alice", vhost="/", name=None) == 1
    assert live.closed[-1] == ("127.0.0.1:1 -> 127.0.0.1:5672", "closed by an operator")
    assert do(core, "connections close", vhost="/") == 2
    assert do(core, "connections close", user="nobody") == 0


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.live])
def test_live_commands_need_a_running_broker(command: str) -> None:
    assert "needs a running broker" in refused(FakeCore(), command)


def test_status_and_connections_come_from_the_broker(core: FakeCore) -> None:
    assert do(core, "status") == {"version": "0.0", "connections": 3}
    assert len(do(core, "connections list")) == 3


CHANGES: dict[str, dict[str, Any]] = {
    "users add": {"name": "new", "password_hash": HASH, "hashing_algorithm": SHA256},
    "users delete": {"name": "alice"},
    "users set-password": {"name": "alice", "password_hash": HASH, "hashing_algorithm": SHA256},
    "users set-tags": {"name": "alice", "tags": ["t"]},
    "users limit": {"name": "alice", "limit": "max-channels", "value": 1},
    "users import-hash": {"name": "alice", "password_hash": HASH, "hashing_algorithm": SHA256},
    "vhosts limit": {"name": "/", "limit": "max-queues", "value": 1},
    "definitions import": {"sections": {"users": [{"name": "new", "tags": []}]}},
    "permissions set": {"user": "alice", "vhost": "/", "configure": "", "write": "", "read": ""},
    "topic-permissions set": {"user": "alice", "vhost": "/", "exchange": "e", "write": "", "read": ""},
    "vhosts default-queue-type": {"vhost": "/", "type": "quorum"},
    "policies set": {"vhost": "/", "name": "p", "pattern": "a", "definition": {"expires": 1}},
    "policies clear": {"vhost": "/", "name": "old"},
    "parameters set": {"name": "g", "value": 1},
    "parameters clear": {"name": "old"},
}
# Commands that need more of the broker than its vhosts.
WHOLE = ("definitions", "policies", "parameters", "tracing", "vhosts default")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_define_something_are_marked_as_changes(core: FakeCore, command: str) -> None:
    """Offline, only what is marked is committed."""
    broker = Broker(make_registry(), 1, 0)
    if command.startswith(WHOLE):
        core = FakeCore(FakeLive(), broker)
        policy = make_policy("old", "a", {"max-length": 1}, 0, "queues", False)
        broker.create_vhost("/").put_policy(policy, False)
        broker.put_global_parameter("old", "1")
        broker.journal.definitions = []
    if command in CHANGES:
        do(core, command, **CHANGES[command])
        assert core.defined or broker.journal.definitions
    elif not COMMANDS[command].changes:
        arguments = {"vhost": "/"} if command.startswith("tracing") else {}
        with pytest.raises(CommandRefused) if command == "connections close" else nullcontext():
            do(core, command, **arguments)
        assert not core.defined
        assert not broker.journal.definitions
    assert COMMANDS[command].changes == (command in CHANGES or command.split()[1:] in (["add"], ["delete"]))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sections": []},
        {"sections": {"queues": {}}},
        {"sections": {"nope": []}},
        {"sections": {}, "version": 3},
    ],
)
def test_import_of_what_is_no_piece_of_definitions_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(CommandRefused, match="sections"):
        execute(FakeCore(broker=Broker(make_registry(), 1, 0)), "definitions import", arguments)


def test_definitions_of_a_vhost_that_is_not_there_are_not_exported() -> None:
    with pytest.raises(CommandRefused, match="vhost 'nope' does not exist"):
        execute(FakeCore(broker=Broker(make_registry(), 1, 0)), "definitions export", {"vhost": "nope"})
