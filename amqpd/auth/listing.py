"""What the command line and the HTTP API show of the tables: plain dictionaries, sorted by their keys."""

from __future__ import annotations

from amqpd.auth.users import Users

Row = dict[str, object]


def list_users(users: Users) -> list[Row]:
    """name, tags (a list), hashing_algorithm, has_password; never the hash."""
    return [
        {
            "name": account.name,
            "tags": list(account.tags),
            "hashing_algorithm": account.hashing_algorithm,
            "has_password": bool(account.password_hash),
        }
        for _, account in sorted(users.users.items())
    ]


def list_permissions(users: Users, user: str | None = None, vhost: str | None = None) -> list[Row]:
    """user, vhost, configure, write, read; of one user or one vhost if asked."""
    return [
        {"user": key[0], "vhost": key[1], "configure": row.configure, "write": row.write, "read": row.read}
        for key, row in sorted(users.permissions.items())
        if user in (None, key[0]) and vhost in (None, key[1])
    ]


def list_topic_permissions(users: Users, user: str | None = None, vhost: str | None = None) -> list[Row]:
    """user, vhost, exchange, write, read; of one user or one vhost if asked."""
    return [
        {"user": key[0], "vhost": key[1], "exchange": key[2], "write": row.write, "read": row.read}
        for key, row in sorted(users.topic_permissions.items())
        if user in (None, key[0]) and vhost in (None, key[1])
    ]


def list_user_limits(users: Users, user: str | None = None) -> list[Row]:
    """user, limits (name to value); users without limits are left out."""
    return _limits(users.user_limits, "user", user)


def list_vhost_limits(users: Users, vhost: str | None = None) -> list[Row]:
    """vhost, limits (name to value); vhosts without limits are left out."""
    return _limits(users.vhost_limits, "vhost", vhost)


def _limits(table: dict[tuple[str, str], int], column: str, only: str | None) -> list[Row]:
    owners: dict[str, dict[str, int]] = {}
    for (owner, name), value in sorted(table.items()):
        if only in (None, owner):
            owners.setdefault(owner, {})[name] = value
    return [{column: owner, "limits": limits} for owner, limits in owners.items()]
