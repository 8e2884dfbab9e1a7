"""RabbitMQ's configuration file: what is taken over and what is warned about."""

from __future__ import annotations

from pathlib import Path

import pytest

from amqpd.server.configuration import Source
from amqpd.server.rabbitmq_conf import PLAIN, entries, translate
from amqpd.server.setting_kinds import Address, Amount
from amqpd.server.settings import SETTINGS, Settings

FULL = r"""
# listeners
listeners.tcp.default = 5672
listeners.tcp.other = ::1:5673
listeners.ssl.1 = 0.0.0.0:5671
ssl_options.certfile = /c.pem
ssl_options.keyfile = /k.pem
ssl_options.cacertfile = /ca.pem   # the authority
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = subject_alternative_name
ssl_cert_login_san_type = email
handshake_timeout = 20000
proxy_protocol = true
heartbeat = 30
frame_max=65536
channel_max = 100
consumer_timeout = 31622400000
max_message_size = 1000
connection_max = infinity
default_user = app
default_pass = 'sec#ret\'s'
default_user_tags.administrator = false
default_user_tags.monitoring = true
default_permissions.read = ^q
loopback_users = none
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
vm_memory_high_watermark.relative = 1
disk_free_limit.absolute = 2GB
log.console.level = notice
log.console.formatter = json
cluster_name = mine
"""


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "rabbitmq.conf"
    file.write_text(text)
    loaded = Source(file).load()
    assert loaded.warnings == ()
    return loaded.settings


def test_keys_with_an_equal_are_taken_over(tmp_path: Path) -> None:
    found = load(tmp_path, FULL)
    assert found.listeners.amqp == (Address("", 5672), Address("::1", 5673))
    assert found.listeners.tls == (Address("0.0.0.0", 5671),)
    assert (found.listeners.handshake_timeout, found.listeners.proxy_protocol) == (20.0, True)
    assert (found.tls.certificate, found.tls.key, found.tls.ca) == ("/c.pem", "/k.pem", "/ca.pem")
    assert (found.tls.verify, found.tls.fail_if_no_peer_cert) == ("peer", True)
    assert (found.tls.login_from, found.tls.login_san_type) == ("subject_alternative_name", "email")
    assert (found.connections.heartbeat, found.connections.frame_max) == (30, 65536)
    assert (found.connections.channel_max, found.connections.max_message_size) == (100, 1000)
    assert found.connections.connection_max == -1
    assert (found.connections.consumer_timeout, found.connections.consumer_timeout_action) == (31_622_400, "cancel")
    assert (found.auth.default_user, found.auth.default_pass) == ("app", "sec#ret's")
    assert found.auth.default_user_tags == ("monitoring",)
    assert found.auth.default_permissions == (".*", ".*", "^q")
    assert found.auth.loopback_users == ()
    assert found.auth.mechanisms == ("PLAIN", "EXTERNAL")
    assert found.limits.memory_high_watermark == Amount(share=1.0)
    assert found.limits.disk_free_limit == Amount(size_bytes=2_000_000_000)
    assert (found.log.level, found.log.format) == ("info", "json")
    assert found.server.cluster_name == "mine"


def test_every_other_key_is_warned_about_and_does_no_harm() -> None:
    made = translate("management.tcp.port = 15672\ndisk_monitor = no\nlisteners.tcp = some\nheartbeat = 1")
    assert made.warnings == [
        f"{name} has no equal in amqpd and is ignored"
        for name in ("management.tcp.port", "disk_monitor", "listeners.tcp")
    ]
    assert [name for name, *_ in made.given] == ["heartbeat"]


@pytest.mark.parametrize("name", ["load_definitions", "definitions.local.path", "management.load_definitions"])
def test_definitions_to_load_have_three_names(tmp_path: Path, name: str) -> None:
    text = f"definitions.import_backend = local_filesystem\n{name} = /d.json\ndefinitions.skip_if_unchanged = true"
    found = load(tmp_path, text).definitions
    assert (found.load_definitions, found.skip_if_unchanged) == ("/d.json", True)


def test_definitions_from_elsewhere_are_warned_about() -> None:
    made = translate("definitions.import_backend = https")
    assert made.warnings == [
        "definitions.import_backend = https has no equal in amqpd, which loads from local_filesystem only"
    ]
    assert made.given == []


@pytest.mark.parametrize(
    ("text", "users"), [("guest = false", ()), ("guest = true", ("guest",)), ("1 = app", ("app",))]
)
def test_loopback_users_are_read_in_both_ways(tmp_path: Path, text: str, users: tuple[str, ...]) -> None:
    assert load(tmp_path, f"loopback_users.{text}").auth.loopback_users == users


def test_no_listener_is_possible(tmp_path: Path) -> None:
    assert load(tmp_path, "listeners.tcp = none").listeners.amqp == ()


def test_last_of_two_equal_keys_counts() -> None:
    assert entries("a = 1\nb = 2\n a=3 # note\n") == [("b", "2"), ("a", "3")]


@pytest.mark.parametrize("text", ["heartbeat", "= 5", "a = 1\n[rabbit]\n"])
def test_line_of_another_form_is_told_with_its_number(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        translate(text)


def test_encrypted_password_is_not_taken_for_a_password() -> None:
    with pytest.raises(ValueError, match="encrypted"):
        translate("default_pass = encrypted:abc")


def test_every_translation_leads_to_a_setting() -> None:
    assert {(section, key) for section, key, _ in PLAIN.values()} <= set(SETTINGS)
