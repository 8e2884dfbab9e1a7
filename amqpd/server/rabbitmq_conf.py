"""RabbitMQ's ``rabbitmq.conf``: keys with an equal here are taken over, each of the others gets a warning."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

# Environment variables of RabbitMQ's container image -> key in [auth].
ENVIRONMENT = {
    "RABBITMQ_DEFAULT_USER": "default_user",
    "RABBITMQ_DEFAULT_PASS": "default_pass",
    "RABBITMQ_DEFAULT_VHOST": "default_vhost",
}


@dataclass
class Translated:
    """What a file gave: values as (their name, our section, our key, raw value), and warnings of one line."""

    given: list[tuple[str, str, str, object]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def translate(text: str) -> Translated:
    """Read the sysctl-style format. Raises ValueError, with its line number, for a line that is not in it."""
    made = Translated()
    lists: dict[tuple[str, str], list[object]] = {}
    for name, value in entries(text):
        if name in PLAIN:
            section, key, convert = PLAIN[name]
            made.given.append((name, section, key, convert(name, value)))
        elif (listed := _listed(name, value, lists)) is not None:
            made.given.append((name, *listed))
        elif name == "definitions.import_backend":
            # The one that is there needs no word; another one would have fetched what is now missing.
            if value != "local_filesystem":
                made.warnings.append(f"{name} = {value} has no equal in amqpd, which loads from local_filesystem only")
        else:
            made.warnings.append(f"{name} has no equal in amqpd and is ignored")
    return made


def entries(text: str) -> list[tuple[str, str]]:
    """Keys and values in order; a key given twice keeps its last value and place, as in RabbitMQ."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equal, value = line.partition("=")
        if not equal or not name.strip():
            raise ValueError(f"line {number}: not of the form key = value")
        found.pop(name.strip(), None)
        found[name.strip()] = _value(value.strip())
    return list(found.items())


def _value(text: str) -> str:
    if match := re.fullmatch(r"'((?:[^'\\]|\\.)*)'\s*(?:#.*)?", text):
        return re.sub(r"\\(.)", r"\1", match[1])
    return text.partition("#")[0].strip()


def _text(name: str, value: str) -> object:
    if value.startswith("encrypted:"):
        raise ValueError(f"{name}: encrypted values are not supported")
    return value


def _number(name: str, value: str) -> object:
    return int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else value


def _flag(name: str, value: str) -> object:
    return {"true": True, "false": False, "on": True, "off": False}.get(value, value)


def _milliseconds(name: str, value: str) -> object:
    return int(value) / 1000 if re.fullmatch(r"[0-9]{1,12}", value) else value


def _unless_infinite(name: str, value: str) -> object:
    return -1 if value == "infinity" else _number(name, value)


def _share(name: str, value: str) -> object:
    # A relative limit of 1 is a share too, not one byte.
    return float(value) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", value) else value


def _verify(name: str, value: str) -> object:
    return value.removeprefix("verify_")


def _login_from(name: str, value: str) -> object:
    return {"subject_alt_name": "subject_alternative_name"}.get(value, value)


def _level(name: str, value: str) -> object:
    # RabbitMQ's levels "notice" and "none" have no name here; the nearest louder one loses nothing.
    return {"notice": "info", "none": "critical", "alert": "critical", "emergency": "critical"}.get(value, value)


def _format(name: str, value: str) -> object:
    return {"plaintext": "text"}.get(value, value)


Convert = Callable[[str, str], object]

PLAIN: dict[str, tuple[str, str, Convert]] = {
    "tcp_listen_options.backlog": ("listeners", "backlog", _number),
    "proxy_protocol": ("listeners", "proxy_protocol", _flag),
    "handshake_timeout": ("listeners", "handshake_timeout", _milliseconds),
    "ssl_handshake_timeout": ("listeners", "tls_handshake_timeout", _milliseconds),
    "ssl_options.certfile": ("tls", "certificate", _text),
    "ssl_options.keyfile": ("tls", "key", _text),
    "ssl_options.cacertfile": ("tls", "ca", _text),
    "ssl_options.verify": ("tls", "verify", _verify),
    "ssl_options.fail_if_no_peer_cert": ("tls", "fail_if_no_peer_cert", _flag),
    "ssl_cert_login_from": ("tls", "login_from", _login_from),
    "ssl_cert_login_san_type": ("tls", "login_san_type", _text),
    "ssl_cert_login_san_index": ("tls", "login_san_index", _number),
    "heartbeat": ("connections", "heartbeat", _number),
    "frame_max": ("connections", "frame_max", _number),
    "consumer_timeout": ("connections", "consumer_timeout", _milliseconds),
    "default_queue_type": ("queues", "default_type", _text),
    "channel_max": ("connections", "channel_max", _number),
    "max_channels_per_connection": ("connections", "channel_max", _number),
    "max_message_size": ("connections", "max_message_size", _number),
    "connection_max": ("connections", "connection_max", _unless_infinite),
    "consumer_max_per_channel": ("connections", "consumer_max_per_channel", _unless_infinite),
    "default_user": ("auth", "default_user", _text),
    "default_pass": ("auth", "default_pass", _text),
    "default_vhost": ("auth", "default_vhost", _text),
    "load_definitions": ("definitions", "load_definitions", _text),
    "definitions.local.path": ("definitions", "load_definitions", _text),
    "management.load_definitions": ("definitions", "load_definitions", _text),
    "definitions.skip_if_unchanged": ("definitions", "skip_if_unchanged", _flag),
    "vm_memory_high_watermark.relative": ("limits", "memory_high_watermark", _share),
    "vm_memory_high_watermark.absolute": ("limits", "memory_high_watermark", _number),
    "disk_free_limit.relative": ("limits", "disk_free_limit", _share),
    "disk_free_limit.absolute": ("limits", "disk_free_limit", _number),
    "log.level": ("log", "level", _level),
    "log.console.level": ("log", "level", _level),
    "log.console.formatter": ("log", "format", _format),
    "cluster_name": ("server", "cluster_name", _text),
    "product.name": ("server", "product", _text),
    "product.version": ("server", "version", _text),
}

_PERMISSIONS = ("configure", "write", "read")


def _listed(name: str, value: str, lists: dict[tuple[str, str], list[object]]) -> tuple[str, str, object] | None:
    """Keys that make up a list together; the list so far replaces the one before."""
    head, _, last = name.rpartition(".")
    if name in ("listeners.tcp", "listeners.ssl"):
        return ("listeners", "amqp" if last == "tcp" else "tls", []) if value == "none" else None
    if head in ("listeners.tcp", "listeners.ssl"):
        return _grown(lists, "listeners", "amqp" if head == "listeners.tcp" else "tls", _address(value))
    if head == "auth_mechanisms":
        return _grown(lists, "auth", "mechanisms", value)
    if head == "default_user_tags":
        return _grown(lists, "auth", "default_user_tags", *([last] if value == "true" else []))
    if name == "loopback_users":
        return ("auth", "loopback_users", []) if value == "none" else None
    if head == "loopback_users":
        return _grown(lists, "auth", "loopback_users", *_loopback_user(last, value))
    if head == "default_permissions" and last in _PERMISSIONS:
        patterns = lists.setdefault(("auth", "default_permissions"), [".*", ".*", ".*"])
        patterns[_PERMISSIONS.index(last)] = value
        return ("auth", "default_permissions", list(patterns))
    return None


def _grown(
    lists: dict[tuple[str, str], list[object]], section: str, key: str, *more: object
) -> tuple[str, str, object]:
    so_far = lists.setdefault((section, key), [])
    so_far += more
    return (section, key, list(so_far))


def _address(value: str) -> str:
    # "::1:5672" is how RabbitMQ writes an IPv6 address and a port.
    host, colon, port = value.rpartition(":")
    return f"[{host}]:{port}" if colon and ":" in host and not host.startswith("[") else value


def _loopback_user(last: str, value: str) -> list[object]:
    """``loopback_users.guest = true`` names the user in the key, ``loopback_users.1 = guest`` beside it."""
    if value in ("true", "false"):
        return [last] if value == "true" else []
    return [value]
