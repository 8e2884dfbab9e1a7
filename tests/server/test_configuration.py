"""Reading the configuration: which source wins, error lines, reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from amqpd.server.configuration import FILE_BYTES_MAX, ConfigurationError, Source, reload
from amqpd.server.setting_kinds import Address
from amqpd.server.settings import Settings

Environ = dict[str, str]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def source(file: Path | None = None, environ: Environ | None = None, *options: tuple[str, str, str, object]) -> Source:
    return Source(file, environ or {}, options, default_file=Path("/nonexistent/amqpd.toml"))


def error_of(chosen: Source) -> str:
    with pytest.raises(ConfigurationError) as caught:
        chosen.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_means_all_defaults() -> None:
    loaded = source().load()
    assert loaded.settings == Settings()
    assert (loaded.files, loaded.warnings) == ((), ())


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(
        tmp_path / "amqpd.toml",
        '[connections]\nheartbeat = 1\nframe_max = 8192\nchannel_max = 1\nconnection_max = 1\n[log]\nlevel = "error"',
    )
    write(tmp_path / "conf.d" / "10.toml", "[connections]\nheartbeat = 2\nchannel_max = 2\nconnection_max = 2")
    write(tmp_path / "conf.d" / "20.toml", "[connections]\nheartbeat = 3\nchannel_max = 3")
    environ = {"AMQPD_CONNECTIONS__HEARTBEAT": "4", "AMQPD_LOG__LEVEL": "warning"}
    loaded = source(file, environ, ("--log-level", "log", "level", "debug")).load()
    found = loaded.settings.connections
    assert (found.heartbeat, found.channel_max, found.connection_max, found.frame_max) == (4, 3, 2, 8192)
    assert loaded.settings.log.level == "debug"
    assert [path.name for path in loaded.files] == ["amqpd.toml", "10.toml", "20.toml"]


def test_file_is_named_by_the_environment_or_found_at_its_place(tmp_path: Path) -> None:
    named = write(tmp_path / "named.toml", "[connections]\nheartbeat = 7")
    usual = write(tmp_path / "usual" / "amqpd.toml", "[connections]\nheartbeat = 8")
    assert source(None, {"AMQPD_CONFIG_FILE": str(named)}).load().settings.connections.heartbeat == 7
    assert Source(default_file=usual).load().settings.connections.heartbeat == 8


def test_environment_reads_lists_flags_and_sizes() -> None:
    environ = {
        "AMQPD_LISTENERS__AMQP": "127.0.0.1:1, [::1]:2",
        "AMQPD_LISTENERS__PROXY_PROTOCOL": "true",
        "AMQPD_CONNECTIONS__MAX_MESSAGE_SIZE": "1MiB",
        "AMQPD_AUTH__LOOPBACK_USERS": "",
        "AMQPD_LISTENERS__HANDSHAKE_TIMEOUT": "250ms",
        "UNRELATED__KEY": "x",
    }
    settings = source(None, environ).load().settings
    assert settings.listeners.amqp == (Address("127.0.0.1", 1), Address("::1", 2))
    assert settings.listeners.proxy_protocol is True
    assert settings.connections.max_message_size == 1024**2
    assert settings.auth.loopback_users == ()
    assert settings.listeners.handshake_timeout == 0.25


def test_variable_with_one_underscore_too_few_is_warned_about() -> None:
    environ = {"AMQPD_LOG_LEVEL": "debug", "AMQPD_SERVICE_HOST": "10.0.0.1", "AMQPD_PURE": "1"}
    loaded = source(None, environ).load()
    assert loaded.settings.log.level == "info"
    assert loaded.warnings == ("environment variable AMQPD_LOG_LEVEL is not used; did you mean AMQPD_LOG__LEVEL?",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[connections]\nhartbeat = 1",
            ["'connections.hartbeat'", "has heartbeat,", "did you mean 'heartbeat'?"],
        ),
        ("[conections]\nheartbeat = 1", ["[conections]", "listeners,", "did you mean 'connections'?"]),
        ("[conections]", ["[conections]"]),
        ("[listeners]\nheartbeat = 1", ["did you mean 'connections.heartbeat'?"]),
        ("heartbeat = 1", ["outside of a section", "connections.heartbeat"]),
        ("[connections]\nheartbeat = 'x'", ["connections.heartbeat = 'x'", "a whole number from 0 to 65535"]),
        ("[connections]\nheartbeat = 65536", ["= 65536", "from 0 to 65535"]),
        ("[log]\nlevel = 'warn'", ["log.level = 'warn'", "debug, info, warning", "did you mean 'warning'?"]),
        ("[log]\nlevel = 'a\\nb'", ["log.level"]),
        ("[tls]\nverify = 'peer'", ["tls.ca"]),
        ("[log]\nlevel = = 1", ["not TOML", "line 2"]),
        ("[auth]\ndefault_pass = 5", ["auth.default_pass = ***"]),
    ],
)
def test_mistake_in_a_file_is_one_line_that_names_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    file = write(tmp_path / "amqpd.toml", text)
    line = error_of(source(file))
    assert line.startswith(f"{file}: ")
    for part in said:
        assert part in line


def test_mistake_in_environment_or_option_names_it() -> None:
    assert error_of(source(None, {"AMQPD_LOG__LEVL": "x"})).startswith(
        "environment variable AMQPD_LOG__LEVL: unknown key"
    )
    assert error_of(source(None, {"AMQPD_CONNECTIONS__HEARTBEAT": "x"})).startswith(
        "environment variable AMQPD_CONNECTIONS__HEARTBEAT: connections.heartbeat = 'x'"
    )
    assert error_of(source(None, {}, ("--listen", "listeners", "amqp", ("nowhere",)))).startswith("option --listen: ")


def test_mistake_is_told_though_a_later_source_replaces_it(tmp_path: Path) -> None:
    file = write(tmp_path / "amqpd.toml", "[connections]\nheartbeat = -1")
    assert "heartbeat = -1" in error_of(source(file, {"AMQPD_CONNECTIONS__HEARTBEAT": "1"}))


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "No such file" in error_of(source(tmp_path / "none.toml"))
    assert "directory" in error_of(source(tmp_path)).lower()
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    assert "not UTF-8" in error_of(source(tmp_path / "latin.toml"))
    large = write(tmp_path / "large.toml", "#" * (FILE_BYTES_MAX + 1))
    assert "larger than" in error_of(source(large))


def test_rabbitmq_file_lies_below_ours_and_its_environment_above(tmp_path: Path) -> None:
    write(tmp_path / "rabbitmq.conf", "heartbeat = 5\nchannel_max = 5\ndefault_user = file\nweird.key = 1\n")
    ours = write(tmp_path / "amqpd.toml", "[connections]\nheartbeat = 6\n")
    environ = {
        "RABBITMQ_CONFIG_FILE": str(tmp_path / "rabbitmq"),
        "RABBITMQ_DEFAULT_USER": "app",
        "RABBITMQ_DEFAULT_PASS": "secret",
        "RABBITMQ_DEFAULT_VHOST": "orders",
    }
    loaded = source(ours, environ).load()
    assert (loaded.settings.connections.heartbeat, loaded.settings.connections.channel_max) == (6, 5)
    auth = loaded.settings.auth
    assert (auth.default_user, auth.default_pass, auth.default_vhost) == ("app", "secret", "orders")
    assert loaded.warnings == (f"{tmp_path}/rabbitmq.conf: weird.key has no equal in amqpd and is ignored",)
    ours_on_top = source(ours, environ | {"AMQPD_AUTH__DEFAULT_USER": "top"}).load()
    assert ours_on_top.settings.auth.default_user == "top"


def test_rabbitmq_file_may_be_the_configuration(tmp_path: Path) -> None:
    file = write(tmp_path / "rabbitmq.conf", "heartbeat = 5")
    write(tmp_path / "conf.d" / "10-more.conf", "channel_max = 9")
    write(tmp_path / "conf.d" / "20.toml", "[connections]\nchannel_max = 10")
    found = source(file).load().settings.connections
    assert (found.heartbeat, found.channel_max) == (5, 9)


def test_bad_value_in_a_rabbitmq_file_names_its_key(tmp_path: Path) -> None:
    file = write(tmp_path / "rabbitmq.conf", "heartbeat = often")
    assert error_of(source(file)).startswith(f"{file}: heartbeat: connections.heartbeat = 'often'")
    assert "line 1" in error_of(source(write(tmp_path / "bad.conf", "heartbeat 60")))


def test_reload_takes_live_keys_and_names_those_that_wait(tmp_path: Path) -> None:
    file = write(tmp_path / "amqpd.toml", "")
    chosen = source(file)
    current = chosen.load().settings
    write(file, '[log]\nlevel = "debug"\n[listeners]\namqp = [":1"]\n[limits]\ndisk_free_limit = "1GB"')
    done = reload(current, chosen)
    assert done.error is None
    assert done.changed == ("limits.disk_free_limit", "log.level")
    assert done.waiting == ("listeners.amqp",)
    assert done.settings.log.level == "debug"
    assert done.settings.listeners == current.listeners
    again = reload(done.settings, chosen)
    assert (again.changed, again.waiting) == ((), ("listeners.amqp",))


def test_reload_of_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "amqpd.toml", '[log]\nlevel = "error"')
    chosen = source(file)
    current = chosen.load().settings
    write(file, '[log]\nlevel = "debug"\n[connections]\nheartbeat = "x"')
    done = reload(current, chosen)
    assert done.settings is current
    assert done.error is not None
    assert "connections.heartbeat" in done.error


def test_reload_that_takes_the_certificate_from_a_listener_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "amqpd.toml", '[listeners]\ntls = [":5671"]\n[tls]\ncertificate = "c"\nkey = "k"')
    chosen = source(file)
    current = chosen.load().settings
    write(file, "")
    done = reload(current, chosen)
    assert done.settings is current
    assert "needs a restart" in str(done.error)


def test_options_hold_through_a_reload(tmp_path: Path) -> None:
    file = write(tmp_path / "amqpd.toml", "")
    chosen = source(file, {}, ("--log-level", "log", "level", "debug"))
    current = chosen.load().settings
    write(file, '[log]\nlevel = "error"')
    assert reload(current, chosen).settings.log.level == "debug"
