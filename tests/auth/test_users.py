"""The tables: changes, what they report, and what a restart reads back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amqpd.auth.attempt import Account
from amqpd.auth.passwords import SCRYPT, SHA256
from amqpd.auth.permissions import WRITE, Permission, TopicPermission
from amqpd.auth.users import NO_LIMIT, NoSuchUser, UserExists, Users
from amqpd.broker.batch import Definition
from tests.auth.support import Journal, make_users, sha256_of


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def users(journal: Journal) -> Users:
    users = make_users(journal)
    users.add_user("u", sha256_of("secret"), SHA256, ["management", "mine"])
    users.set_permissions("u", "v", "a", "b", "c")
    users.set_permissions("u", "w", "", "", ".*")
    users.set_topic_permissions("u", "v", "t", "^a", "^b")
    users.set_topic_permissions("u", "v", "t2", "x", "y")
    users.set_user_limit("u", "max-connections", 3)
    users.set_user_limit("u", "max-channels", 0)
    users.set_vhost_limit("v", "max-queues", 7)
    users.set_vhost_limit("v", "max-connections", 1)
    return users


def tables(users: Users) -> list[object]:
    return [
        users.users,
        users.permissions,
        users.topic_permissions,
        users.user_limits,
        users.vhost_limits,
    ]


CHANGES: list[Callable[[Users], None]] = [
    lambda users: users.add_user("n", "", SCRYPT),
    lambda users: users.put_user("n", sha256_of("x"), SHA256),
    lambda users: users.put_user("u", "", SHA256, ["other"]),
    lambda users: users.set_password("u", sha256_of("new"), SHA256),
    lambda users: users.set_tags("u", []),
    lambda users: users.delete_user("u"),
    lambda users: users.set_permissions("u", "v", "x", "y", "z"),
    lambda users: users.set_permissions("u", "new", "x", "y", "z"),
    lambda users: users.clear_permissions("u", "v"),
    lambda users: users.set_topic_permissions("u", "v", "t", "", ""),
    lambda users: users.clear_topic_permissions("u", "v", "t"),
    lambda users: users.clear_topic_permissions("u", "v"),
    lambda users: users.set_user_limit("u", "max-channels", -1),
    lambda users: users.clear_user_limits("u", "max-channels"),
    lambda users: users.clear_user_limits("u"),
    lambda users: users.set_vhost_limit("w", "max-queues", 1),
    lambda users: users.clear_vhost_limits("v", "max-queues"),
    lambda users: users.clear_vhost_limits("v"),
    lambda users: users.vhost_deleted("v"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_reported_moves_the_revision_and_survives_a_restart(
    change: Callable[[Users], None], users: Users, journal: Journal
) -> None:
    revision, reported = users.revision, len(journal.definitions)
    before = [table.copy() for table in tables(users) if isinstance(table, dict)]
    change(users)
    assert users.revision > revision
    assert len(journal.definitions) > reported
    assert tables(users) != before
    assert tables(journal.replayed()) == tables(users)


REFUSALS: list[tuple[Callable[[Users], None], type[Exception], str]] = [
    (lambda users: users.add_user("u", ""), UserExists, "user 'u' exists already"),
    (lambda users: users.add_user("", ""), ValueError, "must not be empty"),
    (lambda users: users.add_user("a\0b", ""), ValueError, "NUL"),
    (lambda users: users.add_user("é" * 128, ""), ValueError, "255 bytes"),
    (lambda users: users.add_user("\ud800", ""), ValueError, "surrogates"),
    (lambda users: users.add_user("n", "junk", SHA256), ValueError, "not base64|holds 36"),
    (lambda users: users.add_user("n", "", "plain"), ValueError, "unknown password hashing"),
    (lambda users: users.add_user("n", "", SCRYPT, ["a,b"]), ValueError, "tag"),
    (lambda users: users.set_password("u", "junk"), ValueError, "scrypt hash"),
    (lambda users: users.set_password("x", ""), NoSuchUser, "user 'x' does not exist"),
    (lambda users: users.set_tags("x", []), NoSuchUser, "'x'"),
    (lambda users: users.set_tags("u", [""]), ValueError, "tag"),
    (lambda users: users.set_tags("u", [" a"]), ValueError, "tag"),
    (lambda users: users.delete_user("x"), NoSuchUser, "'x'"),
    (lambda users: users.set_permissions("x", "v", "", "", ""), NoSuchUser, "'x'"),
    (lambda users: users.set_permissions("u", "v", "(", "", ""), ValueError, r"expression '\('"),
    (lambda users: users.set_permissions("u", "v", "", "(", ""), ValueError, r"expression '\('"),
    (lambda users: users.set_permissions("u", "v", "", "", "("), ValueError, r"expression '\('"),
    (lambda users: users.clear_permissions("x", "v"), NoSuchUser, "'x'"),
    (lambda users: users.set_topic_permissions("x", "v", "t", "", ""), NoSuchUser, "'x'"),
    (lambda users: users.set_topic_permissions("u", "v", "t", "", "*"), ValueError, "'\\*'"),
    (lambda users: users.clear_topic_permissions("x", "v"), NoSuchUser, "'x'"),
    (lambda users: users.set_user_limit("x", "max-channels", 1), NoSuchUser, "'x'"),
    (lambda users: users.set_user_limit("u", "max-queues", 1), ValueError, "unknown user limit"),
    (lambda users: users.clear_user_limits("x"), NoSuchUser, "'x'"),
    (lambda users: users.set_vhost_limit("v", "max-channels", 1), ValueError, "unknown vhost limit"),
]


@pytest.mark.parametrize(("change", "error", "says"), REFUSALS)
def test_refused_change_changes_and_reports_nothing(
    change: Callable[[Users], None], error: type[Exception], says: str, users: Users, journal: Journal
) -> None:
    revision, reported = users.revision, len(journal.definitions)
    with pytest.raises(error, match=says):
        change(users)
    assert users.revision == revision
    assert len(journal.definitions) == reported
    assert tables(journal.replayed()) == tables(users)


def test_clearing_what_is_not_there_reports_nothing(users: Users, journal: Journal) -> None:
    revision, reported = users.revision, len(journal.definitions)
    users.clear_permissions("u", "nowhere")
    users.clear_topic_permissions("u", "v", "nothing")
    users.clear_user_limits("u", "nonsense")
    users.clear_vhost_limits("nowhere")
    users.vhost_deleted("nowhere")
    assert (users.revision, len(journal.definitions)) == (revision, reported)


def test_user_is_kept_with_hash_algorithm_and_tags(users: Users) -> None:
    assert users.users["u"] == Account("u", sha256_of("secret"), SHA256, ("management", "mine"))
    users.set_password("u", "", SCRYPT)
    assert users.users["u"] == Account("u", "", SCRYPT, ("management", "mine"))
    users.set_tags("u", ["b", "a", "b"])
    assert users.users["u"].tags == ("b", "a")


def test_deleted_user_leaves_nothing_to_a_new_one_of_that_name(users: Users) -> None:
    users.add_user("other", "")
    users.set_permissions("other", "v", "", "", "")
    users.delete_user("u")
    assert set(users.users) == {"other"}
    assert users.permissions == {("other", "v"): Permission("", "", "")}
    assert not users.topic_permissions
    assert not users.user_limits
    users.add_user("u", "")
    assert not users.has_access("u", "v")
    assert users.user_limit("u", "max-channels") == NO_LIMIT


def test_deleted_vhost_leaves_nothing_to_a_new_one_of_that_name(users: Users) -> None:
    users.set_topic_permissions("u", "w", "t", "a", "b")
    users.set_vhost_limit("w", "max-queues", 5)
    users.vhost_deleted("v")
    assert users.permissions == {("u", "w"): Permission("", "", ".*")}
    assert users.topic_permissions == {("u", "w", "t"): TopicPermission("a", "b")}
    assert users.vhost_limits == {("w", "max-queues"): 5}
    assert users.user_limit("u", "max-connections") == 3


def test_one_topic_row_is_cleared_and_the_other_stays(users: Users) -> None:
    users.clear_topic_permissions("u", "v", "t")
    assert set(users.topic_permissions) == {("u", "v", "t2")}


def test_limits_are_zero_positive_or_none(users: Users) -> None:
    assert users.user_limit("u", "max-connections") == 3
    assert users.user_limit("u", "max-channels") == 0
    assert users.user_limit("x", "max-channels") == NO_LIMIT
    assert users.vhost_limit("v", "max-queues") == 7
    assert users.vhost_limit("w", "max-queues") == NO_LIMIT
    users.set_user_limit("u", "max-channels", -5)
    assert users.user_limit("u", "max-channels") < 0


def test_stored_row_with_an_invalid_pattern_denies_and_does_not_raise() -> None:
    users = make_users()
    row = {"user": "u", "vhost": "v", "configure": "(", "write": "(", "read": ".*"}
    assert users.apply(Definition("permission", False, dict(row)))
    assert users.has_access("u", "v")
    assert not users.may("u", "v", "(", WRITE)


def test_rows_may_come_before_their_user() -> None:
    users = make_users()
    row = {"user": "u", "vhost": "v", "configure": "", "write": "p", "read": ""}
    users.apply(Definition("permission", False, dict(row)))
    stored = {"name": "u", "password_hash": "", "hashing_algorithm": SCRYPT, "tags": '["a"]'}
    users.apply(Definition("user", False, dict(stored)))
    assert users.may("u", "v", "p", WRITE)


def test_definitions_of_other_kinds_are_left_to_others() -> None:
    users = make_users()
    assert not users.apply(Definition("vhost", True, {"name": "v"}))
    assert not users.apply(Definition("queue", True, {"id": 1}))
    assert users.revision == 0


def test_applying_a_definition_moves_the_revision_and_reports_nothing() -> None:
    journal = Journal()
    users = make_users(journal)
    users.apply(Definition("vhost_limit", False, {"vhost": "v", "name": "max-queues", "value": 1}))
    assert users.revision == 1
    assert not journal.definitions
