"""Virtual hosts and users that clients' own tests take for granted, in the broker for the time of a block."""

import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from interop.broker import Broker, CannotDo, Management
from interop.own_tests.management import management_port

NOTHING, EVERYTHING = "^$", ".*"


@dataclass(frozen=True)
class Access:
    """What a user may do in a virtual host, as regular expressions of names."""

    user: str
    password: str
    vhost: str
    configure: str = EVERYTHING
    write: str = EVERYTHING
    read: str = EVERYTHING


@contextmanager
def provided(broker: Broker, accesses: Iterable[Access]) -> Iterator[None]:
    """Make the virtual hosts and users, with guest having access; a broker that runs elsewhere is cleaned up."""
    accesses = list(accesses)
    vhosts = list(dict.fromkeys(access.vhost for access in accesses))
    passwords = {access.user: access.password for access in accesses}
    everyone = [*accesses, *(Access("guest", "guest", vhost) for vhost in vhosts)]
    if broker.data_dir is not None:
        _by_command(broker, vhosts, passwords, everyone)
        yield
        return
    with management_port(broker) as port:
        url = urllib.parse.urlsplit(broker.url)
        management = Management(f"http://{url.username}:{url.password}@{url.hostname}:{port}")
        if not management.reachable():
            raise CannotDo("no way to make users in this broker: set its management URL")
        try:
            _by_management(management, vhosts, passwords, everyone)
            yield
        finally:
            for vhost in vhosts:
                management.call("DELETE", "vhosts", vhost)
            for user in passwords:
                management.call("DELETE", "users", user)


def _by_command(broker: Broker, vhosts: list[str], passwords: dict[str, str], accesses: list[Access]) -> None:
    def run(*words: str) -> None:
        subprocess.run([*broker.tool, *words], check=True, capture_output=True)

    for vhost in vhosts:
        run("vhosts", "add", vhost)
    for user, password in passwords.items():
        run("users", "add", user, "--password", password)
    for one in accesses:
        patterns = ("--configure", one.configure, "--write", one.write, "--read", one.read)
        run("permissions", "set", one.user, "--vhost", one.vhost, *patterns)


def _by_management(
    management: Management, vhosts: list[str], passwords: dict[str, str], accesses: list[Access]
) -> None:
    for vhost in vhosts:
        management.call("PUT", "vhosts", vhost)
    for user, password in passwords.items():
        management.call("PUT", "users", user, body={"password": password, "tags": ""})
    for one in accesses:
        patterns = {"configure": one.configure, "write": one.write, "read": one.read}
        management.call("PUT", "permissions", one.vhost, one.user, body=dict(patterns))
