"""Users, vhosts, permissions: entries taken in, and as an export shows them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from amqpd.auth.attempt import Account
from amqpd.auth.passwords import MD5, SCRYPT, SCRYPT_SALT_BYTES, SHA256, create
from amqpd.auth.users import USER_LIMITS, VHOST_LIMITS, Users
from amqpd.broker.vhost import VHost
from amqpd.server.definitions.document import Entry
from amqpd.server.definitions.fields import Fields, check_vhost_name
from amqpd.server.definitions.target import Target, Verdict

# RabbitMQ up to 3.5 hashed with MD5 and did not say so.
MD5_VERSIONS: Final = ("1.", "2.", "3.0.", "3.1.", "3.2.", "3.3.", "3.4.", "3.5.")


# Users


def take_user(target: Target, fields: Fields) -> Verdict:
    users, name = target.users, fields.name()
    limits = _limits(fields, USER_LIMITS, "user")
    existing = users.users.get(name)
    if "password" in fields:
        raise ValueError("has a plain password, which must be hashed before the broker sees it")
    account = _account(target, fields, existing)
    if existing != account:
        users.put_user(*account)
    changed = [limit for limit, value in limits.items() if users.user_limits.get((name, limit)) != value]
    for limit in changed:
        users.set_user_limit(name, limit, limits[limit])
    if existing is None:
        return Verdict.ADDED
    return Verdict.CHANGED if existing != account or changed else Verdict.SAME


def _account(target: Target, fields: Fields, existing: Account | None) -> Account:
    """The entry as an account; what it does not say stays as it is."""
    tags = tuple(dict.fromkeys(fields.tags(list(existing.tags) if existing is not None else [])))
    if "password_hash" not in fields and existing is not None:
        return existing._replace(tags=tags)
    written_by_old = target.version.startswith(MD5_VERSIONS)
    algorithm = fields.text("hashing_algorithm", MD5 if written_by_old else SHA256)
    return Account(fields.name(), _hash(fields.text("password_hash", ""), algorithm), algorithm, tags)


def _hash(text: str, algorithm: str) -> str:
    """A hash as this broker keeps it: scrypt's comes from an export in base64."""
    if algorithm != SCRYPT or "$" in text:
        return text
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except ValueError:
        raise ValueError("the password hash is not base64") from None


def hashed(password: str) -> dict[str, str]:
    """The fields that stand in the place of a plain password. Takes some 30 ms."""
    made = create(password.encode("utf-8", "replace"), os.urandom(SCRYPT_SALT_BYTES))
    return {"password_hash": made, "hashing_algorithm": SCRYPT}


def user_entry(users: Users, account: Account) -> Entry:
    """A user in RabbitMQ's schema.

    RabbitMQ refuses a whole file because of one hash that is not base64, so a scrypt hash goes out in base64: there
    the user arrives and cannot log in until its password is set.
    """
    password_hash = account.password_hash
    if account.hashing_algorithm == SCRYPT and password_hash:
        password_hash = base64.b64encode(password_hash.encode()).decode("ascii")
    return {
        "name": account.name,
        "password_hash": password_hash,
        "hashing_algorithm": account.hashing_algorithm,
        "tags": list(account.tags),
        "limits": limits_of(users.user_limits, account.name, USER_LIMITS),
    }


def _limits(fields: Fields, known: tuple[str, ...], whose: str, name: str = "limits") -> dict[str, int]:
    return _checked_limits(fields.table(name, {}), known, whose)


def _checked_limits(given: Mapping[str, object], known: tuple[str, ...], whose: str) -> dict[str, int]:
    """Raises ValueError for an unknown limit, or a value that is no number."""
    limits: dict[str, int] = {}
    for limit, value in given.items():
        if limit not in known:
            raise ValueError(f"unknown {whose} limit '{limit}', known are {', '.join(known)}")
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise ValueError(f"{whose} limit '{limit}' must be a whole number of 64 bits")
        limits[limit] = value
    return limits


def limits_of(table: Mapping[tuple[str, str], int], owner: str, known: tuple[str, ...]) -> dict[str, int]:
    """The limits of a user or a vhost, by name."""
    return {name: table[owner, name] for name in known if (owner, name) in table}


# Vhosts


def take_vhost(target: Target, fields: Fields) -> Verdict:
    """Add it, or give an existing one what the entry says of it. RabbitMQ says it twice: also in ``metadata``."""
    name = fields.text("name")
    check_vhost_name(name)
    limits = _limits(fields, VHOST_LIMITS, "vhost")
    existing = target.broker.vhosts.get(name)
    description, tags, metadata = _told(fields, existing)
    written = (description, json.dumps(tags) if tags else "", json.dumps(metadata, sort_keys=True))
    if existing is None:
        target.broker.create_vhost(name, *written)
        _set_vhost_limits(target, name, limits)
        return Verdict.ADDED
    changed = (existing.description, _tags(existing), _metadata(existing)) != (description, tags, metadata)
    if changed:
        target.broker.describe_vhost(existing, *written)
    changed |= _set_vhost_limits(target, name, limits)
    return Verdict.CHANGED if changed else Verdict.SAME


def _told(fields: Fields, existing: VHost | None) -> tuple[str, list[str], dict[str, Any]]:
    """Description, tags and the other metadata, as the entry says, and where it does not as they are."""
    inner = Fields(fields.table("metadata", {}))
    description = fields.text("description", inner.text("description", existing.description if existing else ""))
    tags = fields.tags(inner.tags(_tags(existing) if existing else []))
    metadata = _metadata(existing) if existing else {}
    metadata |= {name: value for name, value in inner.entry.items() if name not in ("description", "tags")}
    queue_type = fields.text("default_queue_type", inner.text("default_queue_type", ""))
    # RabbitMQ 3.11 writes the word where there is none.
    if queue_type and queue_type != "undefined":
        metadata["default_queue_type"] = queue_type
    return description, tags, metadata


def _set_vhost_limits(target: Target, vhost: str, limits: dict[str, int]) -> bool:
    users = target.users
    changed = [limit for limit, value in limits.items() if users.vhost_limits.get((vhost, limit)) != value]
    for limit in changed:
        users.set_vhost_limit(vhost, limit, limits[limit])
    return bool(changed)


def take_vhost_limits(target: Target, fields: Fields) -> Verdict:
    """A parameter of the component ``vhost-limits``."""
    vhost = target.vhost(fields.text("vhost"))
    before = limits_of(target.users.vhost_limits, vhost.name, VHOST_LIMITS)
    limits = _limits(fields, VHOST_LIMITS, "vhost", "value")
    if not _set_vhost_limits(target, vhost.name, limits):
        return Verdict.SAME
    return Verdict.CHANGED if before else Verdict.ADDED


def _tags(vhost: VHost) -> list[str]:
    tags: list[str] = json.loads(vhost.tags) if vhost.tags else []
    return tags


def _metadata(vhost: VHost) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(vhost.metadata or "{}")
    return metadata


def vhost_entry(vhost: VHost) -> Entry:
    """A vhost in RabbitMQ's schema; 3.10 reads the description and the tags, later versions ``metadata`` too."""
    description = {"description": vhost.description, "tags": _tags(vhost)}
    metadata = _metadata(vhost)
    entry: Entry = {"name": vhost.name, **description, "metadata": {**description, **metadata}}
    if "default_queue_type" in metadata:
        entry["default_queue_type"] = metadata["default_queue_type"]
    return entry


# Permissions


def take_permission(target: Target, fields: Fields) -> Verdict:
    users, user, vhost = target.users, fields.text("user"), target.vhost(fields.text("vhost"))
    patterns = (fields.text("configure"), fields.text("write"), fields.text("read"))
    existing = users.permissions.get((user, vhost.name))
    if existing == patterns:
        return Verdict.SAME
    users.set_permissions(user, vhost.name, *patterns)
    return Verdict.ADDED if existing is None else Verdict.CHANGED


def take_topic_permission(target: Target, fields: Fields) -> Verdict:
    users, user, vhost = target.users, fields.text("user"), target.vhost(fields.text("vhost"))
    exchange = fields.name("exchange")
    patterns = (fields.text("write"), fields.text("read"))
    existing = users.topic_permissions.get((user, vhost.name, exchange))
    if existing == patterns:
        return Verdict.SAME
    users.set_topic_permissions(user, vhost.name, exchange, *patterns)
    return Verdict.ADDED if existing is None else Verdict.CHANGED
