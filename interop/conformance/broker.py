"""The broker under test: where it is, and how users, vhosts and permissions are set up in it.

Two administrators speak the same language: ``RabbitAdmin`` over RabbitMQ's HTTP API, ``AmqpdAdmin`` through
the command line of amqpd. All amqpd command lines stand in this file.
"""

import base64
import html
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from .client import Target

NO_HEADERS: Mapping[str, str] = {}


class Admin(Protocol):
    """What the tests need to set up. A limit of -1 means none; changes hold from the next channel on."""

    def add_user(self, name: str, password: str, tag: str = "") -> None: ...
    def delete_user(self, name: str) -> None: ...
    def add_vhost(self, name: str) -> None: ...
    def delete_vhost(self, name: str) -> None: ...
    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str) -> None: ...
    def set_topic_permissions(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None: ...
    def set_vhost_limit(self, vhost: str, limit: str, value: int) -> None: ...
    def set_user_limit(self, user: str, limit: str, value: int) -> None: ...
    def close_connections(self, user: str, reason: str) -> None: ...
    def set_policy(self, vhost: str, name: str, policy: "Policy") -> str:
        """Returns the broker's words when it refuses; empty when it is set."""
        ...

    def clear_policy(self, vhost: str, name: str, operator: bool = False) -> None: ...
    def set_password(self, name: str, password: str, tag: str = "") -> None: ...
    def set_global_parameter(self, name: str, value: object) -> None: ...
    def clear_global_parameter(self, name: str) -> None: ...
    def trace(self, vhost: str, on: bool) -> None: ...


@dataclass(frozen=True)
class Policy:
    pattern: str
    definition: Mapping[str, Any]
    priority: int = 0
    apply_to: str = "queues"
    operator: bool = False


class RabbitAdmin:
    """RabbitMQ's management HTTP API at ``base`` (http://host:port)."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base = base
        self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def _request(
        self,
        verb: str,
        *path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        url = self.base + "/api/" + "/".join(quote(part, safe="") for part in path)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, method=verb)
        request.add_header("Authorization", self.authorization)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=20):
            pass

    def add_user(self, name: str, password: str, tag: str = "") -> None:
        self._request("PUT", "users", name, body={"password": password, "tags": tag})

    def delete_user(self, name: str) -> None:
        self._request("DELETE", "users", name)

    def add_vhost(self, name: str) -> None:
        self._request("PUT", "vhosts", name, body={})

    def delete_vhost(self, name: str) -> None:
        self._request("DELETE", "vhosts", name)

    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str) -> None:
        body = {"configure": configure, "write": write, "read": read}
        self._request("PUT", "permissions", vhost, user, body=body)

    def set_topic_permissions(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None:
        body = {"exchange": exchange, "write": write, "read": read}
        self._request("PUT", "topic-permissions", vhost, user, body=body)

    def set_vhost_limit(self, vhost: str, limit: str, value: int) -> None:
        self._request("PUT", "vhost-limits", vhost, limit, body={"value": value})

    def set_user_limit(self, user: str, limit: str, value: int) -> None:
        self._request("PUT", "user-limits", user, limit, body={"value": value})

    def close_connections(self, user: str, reason: str) -> None:
        self._request("DELETE", "connections", "username", user, headers={"X-Reason": reason})

    def set_policy(self, vhost: str, name: str, policy: Policy) -> str:
        body = {
            "pattern": policy.pattern,
            "definition": dict(policy.definition),
            "priority": policy.priority,
            "apply-to": policy.apply_to,
        }
        try:
            self._request("PUT", self._policies(policy.operator), vhost, name, body=body)
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            reason = str(json.load(error)["reason"])
            return html.unescape(reason.removeprefix("Validation failed")).strip()
        return ""

    def clear_policy(self, vhost: str, name: str, operator: bool = False) -> None:
        self._request("DELETE", self._policies(operator), vhost, name)

    def set_password(self, name: str, password: str, tag: str = "") -> None:
        self.add_user(name, password, tag)

    def set_global_parameter(self, name: str, value: object) -> None:
        self._request("PUT", "global-parameters", name, body={"value": value})

    def clear_global_parameter(self, name: str) -> None:
        self._request("DELETE", "global-parameters", name)

    def trace(self, vhost: str, on: bool) -> None:
        self._request("PUT", "vhosts", vhost, body={"tracing": on})

    @staticmethod
    def _policies(operator: bool) -> str:
        return "operator-policies" if operator else "policies"


class AmqpdAdmin:
    """The command line of amqpd, spoken to the running broker through its data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.command = [sys.executable, "-m", "amqpd", "--data-dir", str(data_dir)]

    def _started(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=30, check=False)

    def _run(self, *arguments: str) -> None:
        done = self._started(*arguments)
        assert done.returncode == 0, f"amqpd {' '.join(arguments)}: {done.stdout}{done.stderr}"

    def add_user(self, name: str, password: str, tag: str = "") -> None:
        self._run("users", "add", name, "--password", password, *(["--tag", tag] if tag else []))

    def delete_user(self, name: str) -> None:
        self._run("users", "delete", name)

    def add_vhost(self, name: str) -> None:
        self._run("vhosts", "add", name)

    def delete_vhost(self, name: str) -> None:
        self._run("vhosts", "delete", name)

    def set_permissions(self, user: str, vhost: str, configure: str, write: str, read: str) -> None:
        patterns = [f"--configure={configure}", f"--write={write}", f"--read={read}"]
        self._run("permissions", "set", user, "--vhost", vhost, *patterns)

    def set_topic_permissions(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None:
        patterns = [f"--write={write}", f"--read={read}"]
        self._run("topic-permissions", "set", user, exchange, "--vhost", vhost, *patterns)

    def set_vhost_limit(self, vhost: str, limit: str, value: int) -> None:
        self._run("vhosts", "limit", vhost, limit, "--", str(value))

    def set_user_limit(self, user: str, limit: str, value: int) -> None:
        self._run("users", "limit", user, limit, "--", str(value))

    def close_connections(self, user: str, reason: str) -> None:
        self._run("connections", "close", "--user", user, "--reason", reason)

    def set_policy(self, vhost: str, name: str, policy: Policy) -> str:
        options = ["--vhost", vhost, "--priority", str(policy.priority), "--apply-to", policy.apply_to]
        options += ["--operator"] if policy.operator else []
        done = self._started("policies", "set", *options, name, policy.pattern, json.dumps(dict(policy.definition)))
        assert bool(done.returncode) == bool(done.stderr), done
        return done.stderr.removeprefix("amqpd:").strip()

    def clear_policy(self, vhost: str, name: str, operator: bool = False) -> None:
        self._run("policies", "clear", name, "--vhost", vhost, *(["--operator"] if operator else []))

    def set_password(self, name: str, password: str, tag: str = "") -> None:
        self._run("users", "set-password", name, "--password", password)
        self._run("users", "set-tags", name, *([tag] if tag else []))

    def set_global_parameter(self, name: str, value: object) -> None:
        self._run("parameters", "set", "-", name, json.dumps(value))

    def clear_global_parameter(self, name: str) -> None:
        self._run("parameters", "clear", "-", name)

    def trace(self, vhost: str, on: bool) -> None:
        self._run("tracing", "on" if on else "off", "--vhost", vhost)


def target_from_url(url: str) -> Target:
    """amqp://user:password@host:port/ with RabbitMQ's defaults for what is missing; the path is not used."""
    parts = urlsplit(url)
    return Target(
        parts.hostname or "127.0.0.1",
        parts.port or 5672,
        parts.username or "guest",
        parts.password or "guest",
    )


def rabbitmq_url() -> str | None:
    """CONFORMANCE_URL: a RabbitMQ to run against, e.g. amqp://guest:guest@127.0.0.1:5672/."""
    return os.environ.get("CONFORMANCE_URL")


def rabbitmq_admin(target: Target) -> RabbitAdmin:
    """The HTTP API at CONFORMANCE_MANAGEMENT_URL, by default 10000 above the AMQP port."""
    base = os.environ.get("CONFORMANCE_MANAGEMENT_URL", f"http://{target.host}:{target.port + 10000}")
    return RabbitAdmin(base.rstrip("/"), target.user, target.password)


def rabbitmqctl(*arguments: str) -> None:
    """Run the command in CONFORMANCE_RABBITMQCTL, for what the HTTP API cannot do."""
    command = os.environ["CONFORMANCE_RABBITMQCTL"].split()
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=60)
