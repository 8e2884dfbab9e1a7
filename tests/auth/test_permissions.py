"""The questions a session asks: access to a vhost, to a name, to a routing key."""

from __future__ import annotations

import pytest

from amqpd.auth.backend import Backend
from amqpd.auth.permissions import CONFIGURE, READ, WRITE
from amqpd.auth.users import Users
from tests.auth.support import make_users


@pytest.fixture
def users() -> Users:
    users = make_users()
    users.add_user("u", "")
    users.set_permissions("u", "v", configure="^conf", write="p", read="")
    return users


def test_users_are_a_back_end(users: Users) -> None:
    backend: Backend = users
    assert backend.has_access("u", "v")


def test_each_kind_has_its_own_pattern(users: Users) -> None:
    assert users.may("u", "v", "conf1", CONFIGURE)
    assert not users.may("u", "v", "xconf1", CONFIGURE)
    assert users.may("u", "v", "pq", WRITE)
    assert not users.may("u", "v", "conf1", WRITE)


def test_empty_pattern_denies_everything(users: Users) -> None:
    for name in ("", "conf1", "p", "amq.default"):
        assert not users.may("u", "v", name, READ)


def test_without_a_row_there_is_no_access(users: Users) -> None:
    assert not users.has_access("u", "other")
    assert not users.has_access("other", "v")
    for kind in (CONFIGURE, WRITE, READ):
        assert not users.may("u", "other", "p", kind)
        assert not users.may("other", "v", "p", kind)


def test_row_of_empty_patterns_gives_access_to_the_vhost() -> None:
    users = make_users()
    users.add_user("u", "")
    users.set_permissions("u", "v", "", "", "")
    assert users.has_access("u", "v")
    assert not users.may("u", "v", "x", READ)


def test_default_exchange_is_a_name_like_others(users: Users) -> None:
    assert not users.may("u", "v", "amq.default", WRITE)
    users.set_permissions("u", "v", "", r"^amq\.default$", "")
    assert users.may("u", "v", "amq.default", WRITE)


def test_change_takes_effect_at_once_and_moves_the_revision(users: Users) -> None:
    assert users.may("u", "v", "pq", WRITE)
    before = users.revision
    users.set_permissions("u", "v", "", "^q", "")
    assert users.revision > before
    assert not users.may("u", "v", "pq", WRITE)
    assert users.may("u", "v", "qp", WRITE)
    before = users.revision
    users.clear_permissions("u", "v")
    assert users.revision > before
    assert not users.may("u", "v", "qp", WRITE)


def test_asking_does_not_move_the_revision(users: Users) -> None:
    before = users.revision
    users.may("u", "v", "pq", WRITE)
    users.may_topic("u", "v", "t", "a.b", WRITE)
    users.has_access("u", "v")
    assert users.revision == before


def test_topic_without_a_row_is_allowed(users: Users) -> None:
    users.set_topic_permissions("u", "v", "t", "^a", "^b")
    assert users.may_topic("u", "v", "other", "z", WRITE)
    assert users.may_topic("u", "w", "t", "z", WRITE)
    assert users.may_topic("x", "v", "t", "z", READ)


def test_topic_row_narrows_writing_and_reading(users: Users) -> None:
    users.set_topic_permissions("u", "v", "t", "^a", "")
    assert users.may_topic("u", "v", "t", "a.b", WRITE)
    assert not users.may_topic("u", "v", "t", "b.a", WRITE)
    assert not users.may_topic("u", "v", "t", "a.b", READ)
    assert users.may_topic("u", "v", "t", "b.a", CONFIGURE)


def test_topic_patterns_stand_for_the_names_literally() -> None:
    users = make_users()
    users.add_user("a.b", "")
    users.set_topic_permissions("a.b", "/", "t", "^{username}-{vhost}$", "^{client_id}$")
    assert users.may_topic("a.b", "/", "t", "a.b-/", WRITE)
    assert not users.may_topic("a.b", "/", "t", "axb-/", WRITE)
    assert users.may_topic("a.b", "/", "t", "{client_id}", READ)


def test_name_that_looks_like_a_variable_is_not_expanded() -> None:
    users = make_users()
    users.add_user("{vhost}", "")
    users.set_topic_permissions("{vhost}", "secret", "t", "^{username}$", "")
    assert users.may_topic("{vhost}", "secret", "t", "{vhost}", WRITE)
    assert not users.may_topic("{vhost}", "secret", "t", "secret", WRITE)


def test_name_that_looks_like_a_pattern_gives_nothing_away() -> None:
    users = make_users()
    users.add_user(".*", "")
    users.set_topic_permissions(".*", "v", "t", "^{username}$", "")
    assert not users.may_topic(".*", "v", "t", "anything", WRITE)
    assert users.may_topic(".*", "v", "t", ".*", WRITE)
