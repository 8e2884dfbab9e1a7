"""Listings: plain dictionaries in order, and never a hash."""

from __future__ import annotations

import json

import pytest

from amqpd.auth import listing
from amqpd.auth.passwords import SHA256
from amqpd.auth.users import Users
from tests.auth.support import make_users, sha256_of


@pytest.fixture
def users() -> Users:
    users = make_users()
    users.add_user("b", sha256_of("x"), SHA256, ["management"])
    users.add_user("a", "")
    for user, vhost in (("b", "w"), ("a", "v"), ("b", "v")):
        users.set_permissions(user, vhost, "c", "w", "r")
        users.set_topic_permissions(user, vhost, "t", "x", "y")
    users.set_user_limit("b", "max-connections", 2)
    users.set_user_limit("b", "max-channels", 1)
    users.set_vhost_limit("v", "max-queues", 0)
    return users


def test_users_are_listed_without_their_hashes(users: Users) -> None:
    rows = listing.list_users(users)
    assert rows == [
        {"name": "a", "tags": [], "hashing_algorithm": "scrypt", "has_password": False},
        {"name": "b", "tags": ["management"], "hashing_algorithm": SHA256, "has_password": True},
    ]
    assert sha256_of("x") not in json.dumps(rows)


def test_permissions_are_listed_by_user_and_vhost(users: Users) -> None:
    row = {"configure": "c", "write": "w", "read": "r"}
    a_v, b_v, b_w = ({"user": u, "vhost": v, **row} for u, v in (("a", "v"), ("b", "v"), ("b", "w")))
    assert listing.list_permissions(users) == [a_v, b_v, b_w]
    assert listing.list_permissions(users, user="b") == [b_v, b_w]
    assert listing.list_permissions(users, vhost="v") == [a_v, b_v]
    assert listing.list_permissions(users, "b", "w") == [b_w]
    assert listing.list_permissions(users, "nobody") == []


def test_topic_permissions_are_listed_by_user_and_vhost(users: Users) -> None:
    assert listing.list_topic_permissions(users, "b", "w") == [
        {"user": "b", "vhost": "w", "exchange": "t", "write": "x", "read": "y"}
    ]
    assert len(listing.list_topic_permissions(users)) == 3


def test_limits_are_listed_by_owner(users: Users) -> None:
    assert listing.list_user_limits(users) == [{"user": "b", "limits": {"max-channels": 1, "max-connections": 2}}]
    assert listing.list_user_limits(users, "a") == []
    assert listing.list_vhost_limits(users) == [{"vhost": "v", "limits": {"max-queues": 0}}]
    assert listing.list_vhost_limits(users, "w") == []
