"""The internal user database: accounts, permissions and limits in memory, changes reported as definitions.

One way in: ``apply`` puts a definition into the tables, at start-up and for every change. A change checks
its arguments, hands the definition to the journal (``define``) and applies it, so that what is in memory is
what the next start will read. All of it runs on the broker's thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final, final

from amqpd.auth.attempt import Account, PasswordAttempt, VerifiedPasswords, Verify
from amqpd.auth.backend import Credentials
from amqpd.auth.passwords import SCRYPT, check_hash, verify
from amqpd.auth.permissions import Permission, PermissionTables, TopicPermission
from amqpd.broker.batch import Definition, Scalar
from amqpd.broker.events import Events, Fields
from amqpd.spec.patterns import compile_pattern

LOOPBACK_USERS: Final = frozenset({"guest"})
USER_LIMITS: Final = ("max-connections", "max-channels")
VHOST_LIMITS: Final = ("max-connections", "max-queues")
NO_LIMIT: Final = -1

USERNAME_BYTES_MAX: Final = 255  # the user-id property is a short string


class UserExists(ValueError):
    """A user of this name is there already."""


class NoSuchUser(LookupError):
    """There is no user of this name."""


@final
class Users(PermissionTables):
    """The back end that is built in.

    ``define`` is told of each change. ``loopback_users`` may log in from this machine only; empty lifts that.
    ``verified`` lets a password that was verified before pass without its hash; None checks it each time.
    ``check_password`` verifies hashes. ``revision`` grows with each change. ``events``: where changes are told.
    """

    def __init__(
        self,
        define: Callable[[Definition], None],
        loopback_users: Iterable[str] = LOOPBACK_USERS,
        verified: VerifiedPasswords | None = None,
        check_password: Verify = verify,
        events: Events | None = None,
    ) -> None:
        super().__init__()
        self.users: dict[str, Account] = {}
        self.user_limits: dict[tuple[str, str], int] = {}  # by user, name
        self.vhost_limits: dict[tuple[str, str], int] = {}  # by vhost, name
        self.loopback_users: frozenset[str] = frozenset(loopback_users)
        self._define: Final = define
        self._verified: Final = verified
        self._check_password: Final = check_password
        self._events: Final = events

    # Logging in

    def authenticate(self, credentials: Credentials) -> PasswordAttempt:
        """Begin a login (``backend.Backend``)."""
        account = self.users.get(credentials.username)
        return PasswordAttempt(
            account,
            self._refusal(account, credentials),
            credentials.password,
            self._check_password,
            self._verified,
            self.users.get,
        )

    def _refusal(self, account: Account | None, credentials: Credentials) -> str:
        """Why nobody can log in with these, whatever the hash says; '' if somebody can."""
        name = credentials.username[:USERNAME_BYTES_MAX]
        if account is None:
            return f"user '{name}' - invalid credentials"
        if not credentials.loopback and account.name in self.loopback_users:
            return f"user '{name}' can only connect via localhost"
        if credentials.password is not None and not credentials.password:
            return f"user '{name}' attempted to log in with a blank password"
        if credentials.password is not None and not account.password_hash:
            return f"user '{name}' has no password and cannot log in with one"
        return ""

    # Definitions

    def apply(self, definition: Definition) -> bool:
        """Put a stored definition into the tables, or drop it; False if its kind is none of ours.

        Rows are taken as they are: one for a user who is not known (yet) waits, an invalid pattern denies.
        """
        kind, drop, values = definition
        if kind == "user":
            self._apply_user(values, drop)
        elif kind == "permission":
            key = (_text(values, "user"), _text(values, "vhost"))
            if drop:
                self.permissions.pop(key, None)
            else:
                patterns = (_text(values, "configure"), _text(values, "write"), _text(values, "read"))
                self.permissions[key] = Permission(*patterns)
        elif kind == "topic_permission":
            topic = (_text(values, "user"), _text(values, "vhost"), _text(values, "exchange"))
            if drop:
                self.topic_permissions.pop(topic, None)
            else:
                self.topic_permissions[topic] = TopicPermission(_text(values, "write"), _text(values, "read"))
        elif kind == "user_limit":
            _apply_limit(self.user_limits, (_text(values, "user"), _text(values, "name")), values, drop)
        elif kind == "vhost_limit":
            _apply_limit(self.vhost_limits, (_text(values, "vhost"), _text(values, "name")), values, drop)
        else:
            return False
        self.revision += 1
        return True

    def _apply_user(self, values: dict[str, Scalar], drop: bool) -> None:
        name = _text(values, "name")
        if drop:
            self.users.pop(name, None)
            if self._verified is not None:
                self._verified.forget(name)
            return
        tags = json.loads(_text(values, "tags") or "[]")
        password_hash, algorithm = _text(values, "password_hash"), _text(values, "hashing_algorithm")
        self.users[name] = Account(name, password_hash, algorithm, tuple(str(tag) for tag in tags))

    def _change(self, kind: str, drop: bool, **values: Scalar) -> None:
        definition = Definition(kind, drop, values)
        self._define(definition)
        self.apply(definition)

    def _tell(self, name: str, fields: Fields) -> None:
        """That something changed, where somebody listens."""
        if self._events is not None and self._events.listening:
            self._events.acted(name, fields)

    # Users

    def add_user(
        self, name: str, password_hash: str, hashing_algorithm: str = SCRYPT, tags: Iterable[str] = ()
    ) -> None:
        """Add a user; '' as the hash makes one who cannot log in with a password.

        Raises UserExists, or ValueError for a bad name, hash, algorithm or tag.
        """
        if name in self.users:
            raise UserExists(f"user '{name}' exists already")
        self.put_user(name, password_hash, hashing_algorithm, tags)

    def put_user(
        self, name: str, password_hash: str, hashing_algorithm: str = SCRYPT, tags: Iterable[str] = ()
    ) -> None:
        """Add a user or replace hash and tags of the one who is there. Raises ValueError as ``add_user``."""
        _check_name(name)
        check_hash(password_hash, hashing_algorithm)
        known = name in self.users
        account = Account(name, password_hash, hashing_algorithm, _checked_tags(tags))
        self._put_account(account)
        self._tell("user.password.changed" if known else "user.created", {"name": name})
        if known or account.tags:
            self._tell("user.tags.set", {"tags": list(account.tags), "name": name})

    def set_password(self, name: str, password_hash: str, hashing_algorithm: str = SCRYPT) -> None:
        """Replace a user's hash; '' takes the password away. Raises NoSuchUser or ValueError."""
        account = self._account(name)
        check_hash(password_hash, hashing_algorithm)
        self._put_account(account._replace(password_hash=password_hash, hashing_algorithm=hashing_algorithm))
        self._tell("user.password.changed" if password_hash else "user.password.cleared", {"name": name})

    def set_tags(self, name: str, tags: Iterable[str]) -> None:
        """Replace a user's tags. Raises NoSuchUser or ValueError."""
        account = self._account(name)
        account = account._replace(tags=_checked_tags(tags))
        self._put_account(account)
        self._tell("user.tags.set", {"tags": list(account.tags), "name": name})

    def delete_user(self, name: str) -> None:
        """Delete a user with all permissions and limits. Raises NoSuchUser."""
        self._account(name)
        for user, vhost in [key for key in self.permissions if key[0] == name]:
            self._change("permission", True, user=user, vhost=vhost)
        for _, limit in [key for key in self.user_limits if key[0] == name]:
            self._change("user_limit", True, user=name, name=limit)
        for user, vhost, exchange in [key for key in self.topic_permissions if key[0] == name]:
            self._change("topic_permission", True, user=user, vhost=vhost, exchange=exchange)
        self._change("user", True, name=name)
        self._tell("user.deleted", {"name": name})

    def _put_account(self, account: Account) -> None:
        self._change(
            "user",
            False,
            name=account.name,
            password_hash=account.password_hash,
            hashing_algorithm=account.hashing_algorithm,
            tags=json.dumps(account.tags),
        )

    def _account(self, name: str) -> Account:
        account = self.users.get(name)
        if account is None:
            raise NoSuchUser(f"user '{name}' does not exist")
        return account

    # Permissions

    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str) -> None:
        """Give a user access to a vhost (whose existence the caller has checked).

        '' allows nothing of its kind. Raises NoSuchUser, or ValueError for an invalid pattern; nothing is
        changed then.
        """
        self._account(user)
        for pattern in (configure, write, read):
            compile_pattern(pattern)
        self._change("permission", False, user=user, vhost=vhost, configure=configure, write=write, read=read)
        fields: Fields = {"read": read, "write": write, "configure": configure, "vhost": vhost, "user": user}
        self._tell("permission.created", fields)

    def clear_permissions(self, user: str, vhost: str) -> None:
        """Take a user's access to a vhost away; topic permissions stay. Raises NoSuchUser."""
        self._account(user)
        if (user, vhost) in self.permissions:
            self._drop_permissions(user, vhost)

    def _drop_permissions(self, user: str, vhost: str) -> None:
        self._change("permission", True, user=user, vhost=vhost)
        self._tell("permission.deleted", {"vhost": vhost, "user": user})

    def set_topic_permissions(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None:
        """Narrow what a user may write to and read from a topic exchange. Raises as ``set_permissions``."""
        self._account(user)
        for pattern in (write, read):
            compile_pattern(pattern)
        self._change("topic_permission", False, user=user, vhost=vhost, exchange=exchange, write=write, read=read)
        fields: Fields = {"read": read, "write": write, "exchange": exchange, "vhost": vhost, "user": user}
        self._tell("topic.permission.created", fields)

    def clear_topic_permissions(self, user: str, vhost: str, exchange: str | None = None) -> None:
        """Clear the row of one exchange, or with None those of all in the vhost. Raises NoSuchUser."""
        self._account(user)
        rows = [key for key in self.topic_permissions if key[:2] == (user, vhost)]
        cleared = [name for _, _, name in rows if exchange in (None, name)]
        for name in cleared:
            self._change("topic_permission", True, user=user, vhost=vhost, exchange=name)
        if cleared:
            fields: Fields = {"vhost": vhost, "user": user}
            self._tell("topic.permission.deleted", fields if exchange is None else {"exchange": exchange, **fields})

    # Limits

    def user_limit(self, user: str, name: str) -> int:
        """The user's limit of this name; 0 allows none, NO_LIMIT (-1) or another negative number any."""
        return self.user_limits.get((user, name), NO_LIMIT)

    def vhost_limit(self, vhost: str, name: str) -> int:
        """The vhost's limit of this name; 0 allows none, NO_LIMIT (-1) or another negative number any."""
        return self.vhost_limits.get((vhost, name), NO_LIMIT)

    def set_user_limit(self, user: str, name: str, value: int) -> None:
        """Set one of ``USER_LIMITS``; negative is no limit. Raises NoSuchUser or ValueError."""
        self._account(user)
        _check_limit(name, USER_LIMITS, "user")
        self._change("user_limit", False, user=user, name=name, value=value)
        self._tell("user.limits.set", {name: value, "username": user, "name": "limits"})

    def set_vhost_limit(self, vhost: str, name: str, value: int) -> None:
        """Set one of ``VHOST_LIMITS`` on a vhost that the caller knows to exist. Raises ValueError."""
        _check_limit(name, VHOST_LIMITS, "vhost")
        self._change("vhost_limit", False, vhost=vhost, name=name, value=value)
        self._tell_vhost_limits(vhost)

    def clear_user_limits(self, user: str, name: str | None = None) -> None:
        """Clear one limit of a user, or with None all of them. Raises NoSuchUser."""
        self._account(user)
        for _, limit in [key for key in self.user_limits if key[0] == user]:
            if name is None or limit == name:
                self._change("user_limit", True, user=user, name=limit)
                self._tell("user.limits.cleared", {"username": user, "name": "limits"})

    def clear_vhost_limits(self, vhost: str, name: str | None = None) -> None:
        """Clear one limit of a vhost, or with None all of them."""
        cleared = [limit for of, limit in self.vhost_limits if of == vhost and name in (None, limit)]
        for limit in cleared:
            self._change("vhost_limit", True, vhost=vhost, name=limit)
        if cleared:
            self._tell_vhost_limits(vhost)

    def _tell_vhost_limits(self, vhost: str) -> None:
        """All that are set now. To RabbitMQ they are a parameter, and only that event says which vhost it is."""
        if self._events is None or not self._events.listening:
            return
        limits: Fields = {name: value for (of, name), value in self.vhost_limits.items() if of == vhost}
        if limits:
            self._events.parameter_set(vhost, "vhost-limits", "limits", limits)
            self._events.acted("vhost.limits.set", {**limits, "name": "limits"})
        else:
            self._events.parameter_cleared(vhost, "vhost-limits", "limits")
            self._events.acted("vhost.limits.cleared", {"name": "limits"})

    def vhost_deleted(self, vhost: str) -> None:
        """A vhost is gone: so are its permissions and limits, lest a new one of that name inherit them."""
        for user, _ in [key for key in self.permissions if key[1] == vhost]:
            self._drop_permissions(user, vhost)
        for user, _, exchange in [key for key in self.topic_permissions if key[1] == vhost]:
            self._change("topic_permission", True, user=user, vhost=vhost, exchange=exchange)
        self.clear_vhost_limits(vhost)


def _text(values: dict[str, Scalar], name: str) -> str:
    value = values[name]
    assert isinstance(value, str), f"{name} must be text"
    return value


def _apply_limit(
    limits: dict[tuple[str, str], int], key: tuple[str, str], values: dict[str, Scalar], drop: bool
) -> None:
    if drop:
        limits.pop(key, None)
        return
    value = values["value"]
    assert isinstance(value, int), "a limit must be a whole number"
    limits[key] = value


def _check_name(name: str) -> None:
    if not name or "\0" in name:
        raise ValueError("a user name must not be empty or contain NUL")
    if len(name.encode()) > USERNAME_BYTES_MAX:
        raise ValueError(f"a user name may have {USERNAME_BYTES_MAX} bytes")


def _checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, each once, in their order."""
    unique = tuple(dict.fromkeys(tags))
    for tag in unique:
        if not tag or tag != tag.strip() or "," in tag:
            raise ValueError(f"a user tag must be a word without comma or blanks around it, not '{tag}'")
    return unique


def _check_limit(name: str, known: tuple[str, ...], whose: str) -> None:
    if name not in known:
        raise ValueError(f"unknown {whose} limit '{name}', known are {', '.join(known)}")
