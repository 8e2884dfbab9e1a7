"""Users, vhosts and permissions, taken in and shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from amqpd.auth import passwords
from amqpd.server.definitions.access import hashed
from tests.server.definitions.support import ADDED, CHANGED, SAME, export, into, refused, restarted, taken
from tests.support.linked import Linked

HASH = passwords.create_rabbitmq(b"secret", b"salt")
USER = {
    "name": "alice",
    "password_hash": HASH,
    "hashing_algorithm": passwords.SHA256,
    "tags": ["monitoring", "a"],
    "limits": {"max-channels": 50},
}


@pytest.fixture
def linked() -> Linked:
    return Linked()


def shown(linked: Linked, section: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in export(linked)[section] if one["name"] == name]
    assert isinstance(found, dict)
    return found


def test_user_is_taken_in_shown_and_kept(linked: Linked) -> None:
    assert into(linked, "users", **USER) is ADDED
    assert into(linked, "users", **USER) is SAME
    linked.commit()
    assert shown(restarted(linked), "users", "alice") == USER


@pytest.mark.parametrize("algorithm", passwords.RABBITMQ_ALGORITHMS)
def test_user_logs_in_with_the_password_of_its_hash(linked: Linked, algorithm: str) -> None:
    made = passwords.create_rabbitmq(b"pw", b"salt", algorithm)
    into(linked, "users", name="bob", password_hash=made, hashing_algorithm=algorithm, tags=[])
    into(linked, "permissions", user="bob", vhost="/", configure=".*", write=".*", read=".*")
    linked.dial().connect(user="bob", password="pw")


def test_hash_without_its_algorithm_is_what_that_version_made(linked: Linked) -> None:
    old = passwords.create_rabbitmq(b"pw", b"salt", passwords.MD5)
    for name, version, made in (("old", "3.5.7", old), ("new", "3.6.0", HASH), ("unknown", "", HASH)):
        assert taken(linked, "users", {"name": name, "password_hash": made, "tags": ""}, version).verdict is ADDED
    assert shown(linked, "users", "old")["hashing_algorithm"] == passwords.MD5
    assert shown(linked, "users", "new")["hashing_algorithm"] == passwords.SHA256
    assert shown(linked, "users", "unknown")["hashing_algorithm"] == passwords.SHA256


def test_tags_may_be_one_text(linked: Linked) -> None:
    into(linked, "users", name="bob", password_hash=HASH, tags="administrator, x ,,")
    assert shown(linked, "users", "bob")["tags"] == ["administrator", "x"]


def test_user_without_a_hash_cannot_log_in_and_an_existing_one_keeps_its_own(linked: Linked) -> None:
    into(linked, "users", name="bob", tags=[])
    assert linked.users.users["bob"].password_hash == ""
    before = linked.users.users["guest"]
    assert into(linked, "users", name="guest", tags=["x"]) is CHANGED
    assert linked.users.users["guest"] == before._replace(tags=("x",))


def test_known_user_gets_the_hash_the_tags_and_the_limits(linked: Linked) -> None:
    into(linked, "users", **USER)
    other = passwords.create_rabbitmq(b"other", b"salt")
    assert into(linked, "users", **USER | {"password_hash": other}) is CHANGED
    assert into(linked, "users", **USER | {"password_hash": other, "limits": {"max-connections": 2}}) is CHANGED
    assert shown(linked, "users", "alice")["limits"] == {"max-connections": 2, "max-channels": 50}


def test_scrypt_goes_out_as_base64_and_comes_back(linked: Linked) -> None:
    made = hashed("pw")
    into(linked, "users", name="new", tags=[], **made)
    entry = shown(linked, "users", "new")
    # RabbitMQ 3.10.8 refuses the whole file when a hash is not base64.
    assert base64.b64decode(entry["password_hash"], validate=True).decode() == made["password_hash"]
    assert into(linked, "users", **entry) is SAME
    assert passwords.verify(linked.users.users["new"].password_hash, passwords.SCRYPT, b"pw")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, "'name' is missing"),
        ({"name": ""}, "must not be empty"),
        ({"name": 5}, "'name' must be text"),
        ({"name": "ü" * 128}, "longer than 255 bytes"),
        ({"name": "\udc80"}, "surrogate"),
        ({"password_hash": "x"}, "not base64"),
        ({"password_hash": "AAAA"}, "holds 36 bytes, this one holds 3"),
        ({"hashing_algorithm": "rot13"}, "unknown password hashing algorithm 'rot13'"),
        ({"hashing_algorithm": "scrypt", "password_hash": "?"}, "not base64"),
        ({"tags": {"a": 1}}, "'tags' must be a list of texts"),
        ({"tags": [1]}, "'tags' must be a list of texts"),
        ({"limits": {"max-foo": 1}}, "unknown user limit 'max-foo'"),
        ({"limits": {"max-channels": "5"}}, "whole number"),
        ({"limits": {"max-channels": 2**63}}, "whole number of 64 bits"),
        ({"limits": 5}, "'limits' must be an object"),
        ({"password": "plain"}, "plain password"),
    ],
)
def test_bad_user_is_refused_whole(linked: Linked, change: dict[str, Any], reason: str) -> None:
    assert reason in refused(linked, "users", USER | change)


def test_what_is_no_object_is_refused(linked: Linked) -> None:
    for section in ("users", "queues", "policies"):
        assert refused(linked, section, ["name"]) == "is no object"


def test_vhost_is_taken_in_shown_and_kept(linked: Linked) -> None:
    entry = {
        "name": "orders",
        "description": "For orders",
        "tags": ["a", "b"],
        "metadata": {"description": "For orders", "tags": ["a", "b"], "default_queue_type": "quorum", "owner": "x"},
        "default_queue_type": "quorum",
    }
    assert into(linked, "vhosts", **entry) is ADDED
    assert into(linked, "vhosts", **entry) is SAME
    linked.commit()
    linked = restarted(linked)
    assert shown(linked, "vhosts", "orders") == entry
    assert into(linked, "vhosts", **entry) is SAME


def test_vhost_may_say_things_once_only(linked: Linked) -> None:
    """RabbitMQ 3.10 has them at the top or not at all, later versions in the metadata too."""
    into(linked, "vhosts", name="a", description="top", tags="x,y")
    into(linked, "vhosts", name="b", metadata={"description": "inner", "tags": ["z"]}, default_queue_type="undefined")
    assert shown(linked, "vhosts", "a") == {
        "name": "a",
        "description": "top",
        "tags": ["x", "y"],
        "metadata": {"description": "top", "tags": ["x", "y"]},
    }
    assert shown(linked, "vhosts", "b") == {
        "name": "b",
        "description": "inner",
        "tags": ["z"],
        "metadata": {"description": "inner", "tags": ["z"]},
    }


def test_known_vhost_keeps_what_the_entry_does_not_say(linked: Linked) -> None:
    into(linked, "vhosts", name="a", description="d", tags=["x"])
    assert into(linked, "vhosts", name="a") is SAME
    assert into(linked, "vhosts", name="a", tags=["y"]) is CHANGED
    linked.commit()
    linked = restarted(linked)
    assert shown(linked, "vhosts", "a")["description"] == "d"
    assert shown(linked, "vhosts", "a")["tags"] == ["y"]


def test_limits_of_a_vhost_are_a_parameter(linked: Linked) -> None:
    entry = {"component": "vhost-limits", "name": "limits", "vhost": "/", "value": {"max-queues": 3}}
    assert into(linked, "parameters", **entry) is ADDED
    assert into(linked, "parameters", **entry) is SAME
    assert into(linked, "parameters", **entry | {"value": {"max-connections": 7}}) is CHANGED
    linked.commit()
    linked = restarted(linked)
    assert export(linked)["parameters"] == [entry | {"value": {"max-connections": 7, "max-queues": 3}}]
    assert "unknown vhost limit 'x'" in refused(linked, "parameters", entry | {"value": {"x": 1}})
    assert "does not exist" in refused(linked, "parameters", entry | {"vhost": "nope"})


def test_limits_of_a_vhost_may_stand_in_it(linked: Linked) -> None:
    assert into(linked, "vhosts", name="/", limits={"max-queues": 3}) is CHANGED
    assert into(linked, "vhosts", name="/", limits=[]) is SAME
    # As rabbitmqctl 3.10.8 writes them.
    assert into(linked, "vhosts", name="/", limits=[["max-queues", 3]]) is SAME
    assert linked.users.vhost_limit("/", "max-queues") == 3


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "'name' is missing"),
        ({"name": ""}, "1 to 255 bytes"),
        ({"name": "a\0"}, "no NUL"),
        ({"name": "x" * 256}, "1 to 255 bytes"),
        ({"name": "v", "limits": {"x": 1}}, "unknown vhost limit"),
        ({"name": "v", "tags": 5}, "'tags'"),
        ({"name": "v", "metadata": 5}, "'metadata' must be an object"),
        ({"name": "v", "metadata": {"tags": 5}}, "'tags'"),
        ({"name": "v", "description": 5}, "'description' must be text"),
        ({"name": "v", "default_queue_type": 5}, "'default_queue_type' must be text"),
    ],
)
def test_bad_vhost_is_refused_whole(linked: Linked, entry: dict[str, Any], reason: str) -> None:
    assert reason in refused(linked, "vhosts", entry)


PERMISSION = {"user": "guest", "vhost": "/", "configure": "^a", "write": "", "read": ".*"}
TOPIC = {"user": "guest", "vhost": "/", "exchange": "orders", "write": r"^order\.", "read": ".*"}


@pytest.mark.parametrize(("section", "entry"), [("permissions", PERMISSION), ("topic_permissions", TOPIC)])
def test_permissions_are_taken_in_shown_and_kept(linked: Linked, section: str, entry: dict[str, Any]) -> None:
    linked.users.clear_permissions("guest", "/")
    assert into(linked, section, **entry) is ADDED
    assert into(linked, section, **entry) is SAME
    assert into(linked, section, **entry | {"read": "x"}) is CHANGED
    assert into(linked, section, **entry) is CHANGED
    linked.commit()
    assert export(restarted(linked))[section] == [entry]
    assert "invalid regular expression '('" in refused(linked, section, entry | {"write": "("})
    assert refused(linked, section, entry | {"user": "nobody"}) == "user 'nobody' does not exist"
    assert refused(linked, section, entry | {"vhost": "nope"}) == "vhost 'nope' does not exist"
    assert refused(linked, section, entry | {"read": None}) == "'read' is missing"
