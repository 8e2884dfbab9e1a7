"""Every setting of the broker: its name, type, default, what is allowed, and its manual.

The tree below is the only list of settings. Reading files, error lines, the sample ``etc/amqpd.toml`` and the
RabbitMQ names all go by it. A section is a TOML table; a field's metadata holds its ``Setting``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from amqpd.server.setting_kinds import (
    Address,
    Addresses,
    Amount,
    Choice,
    Duration,
    Flag,
    Integer,
    Kind,
    Size,
    SizeOrShare,
    Texts,
)

T = TypeVar("T")

COUNT_MAX = 1_000_000_000
GIB = 1024**3
MEMORY_HIGH_WATERMARK = Amount(share=0.6)  # both as in RabbitMQ 3.13
DISK_FREE_LIMIT = Amount(size_bytes=50_000_000)
PLUGIN_GROUP = "amqpd.plugins"  # the entry points that [plugins] orders and turns off


class Setting(NamedTuple):
    """What is known of one key. ``live``: SIGHUP changes it in a running broker; else it needs a restart."""

    section: str
    key: str
    kind: Kind
    default: object
    doc: str
    live: bool

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def setting(default: T, kind: Kind, doc: str, live: bool = False) -> T:
    """A dataclass field that carries its kind and its manual."""
    made: Any = field(default=default, metadata={"kind": kind, "doc": doc, "live": live})
    return made  # type: ignore[no-any-return]  # a Field now; dataclass() turns it into a T


@dataclass(frozen=True)
class Listeners:
    """Where the broker listens."""

    amqp: tuple[Address, ...] = setting(
        (Address("127.0.0.1", 5672),),
        Addresses(),
        'Addresses for plain AMQP. ":5672" listens on every interface; an empty list listens nowhere.',
    )
    tls: tuple[Address, ...] = setting(
        (), Addresses(), 'Addresses for AMQP over TLS, usually ":5671". Needs tls.certificate and tls.key.'
    )
    backlog: int = setting(
        1024, Integer(1, 65535), "Connections the kernel keeps waiting for the broker to accept them."
    )
    proxy_protocol: bool = setting(
        False,
        Flag(),
        "Expect a PROXY protocol header (version 1 or 2) in front of each connection, and believe the client"
        " address in it. Only behind a proxy that sends it: a connection without the header is refused.",
    )
    handshake_timeout: float = setting(
        10.0,
        Duration(0.1, 3600.0),
        "Time from accepting a connection to connection.open; a client that is slower is cut off.",
    )
    tls_handshake_timeout: float = setting(5.0, Duration(0.1, 3600.0), "Time for the TLS handshake alone.")


@dataclass(frozen=True)
class Tls:
    """Certificates for listeners.tls. SIGHUP reads the files again; open connections keep what they have."""

    certificate: str = setting("", Kind(), "PEM file with the broker's certificate and its chain.", live=True)
    key: str = setting("", Kind(), "PEM file with the private key of the certificate.", live=True)
    ca: str = setting(
        "", Kind(), "PEM file with the authorities that client certificates are checked against.", live=True
    )
    verify: str = setting(
        "none",
        Choice("none", "peer"),
        '"peer" asks clients for a certificate and checks it; "none" does not ask.',
        live=True,
    )
    fail_if_no_peer_cert: bool = setting(
        False, Flag(), 'With verify = "peer": refuse a client that shows no certificate.', live=True
    )
    login_from: str = setting(
        "distinguished_name",
        Choice("common_name", "distinguished_name", "subject_alternative_name"),
        "What in a client certificate is the user name for the EXTERNAL mechanism.",
        live=True,
    )
    login_san_type: str = setting(
        "dns",
        Choice("dns", "email", "ip", "uri"),
        'With login_from = "subject_alternative_name": the type of name that counts.',
        live=True,
    )
    login_san_index: int = setting(
        0,
        Integer(0, 1000),
        "Which of the names of that type, when there are several; the first is 0.",
        live=True,
    )


@dataclass(frozen=True)
class Connections:
    """What is offered to clients and asked of them. A reload changes connections opened after it."""

    heartbeat: int = setting(
        60,
        Integer(0, 65535, "seconds"),
        "Heartbeat offered to clients, in seconds. 0 offers none.",
        live=True,
    )
    frame_max: int = setting(
        131072, Integer(4096, 2**31 - 1, "bytes"), "Largest frame offered to clients, in bytes.", live=True
    )
    channel_max: int = setting(2047, Integer(1, 65535), "Most channels open at once on a connection.", live=True)
    max_message_size: int = setting(
        134217728, Size(1, 2**31 - 1), "Largest message body; a larger one closes its channel.", live=True
    )
    connection_max: int = setting(
        -1,
        Integer(-1, COUNT_MAX, "-1: no limit"),
        "Most connections open at once. -1 sets no limit.",
        live=True,
    )
    consumer_max_per_channel: int = setting(
        -1,
        Integer(-1, COUNT_MAX, "-1: no limit"),
        "Most consumers on a channel. -1 sets no limit.",
        live=True,
    )
    consumer_timeout: float = setting(
        0.0,
        Duration(0.0, 315_360_000.0),
        "Time a consumer may take to acknowledge a message, where neither its consumer nor its queue has an"
        " x-consumer-timeout; then the message goes back to its queue. 0 sets no limit.",
        live=True,
    )
    consumer_timeout_action: str = setting(
        "cancel",
        Choice("cancel", "close"),
        'What becomes of a consumer that took longer: "cancel" cancels it and leaves its channel open, where the client'
        ' can hear that; "close" closes the channel, as RabbitMQ did before 4.3.',
        live=True,
    )


@dataclass(frozen=True)
class Queues:
    """What holds for queues where they do not say."""

    default_type: str = setting(
        "classic",
        Choice("classic", "quorum", "stream"),
        "Type of a durable shared queue declared without x-queue-type, where its vhost has no default either.",
        live=True,
    )


@dataclass(frozen=True)
class Auth:
    """Who may log in. The default user, vhost and permissions are made in a new store."""

    default_user: str = setting("guest", Kind(), "Name of the first user.")
    default_pass: str = setting(
        "guest", Kind(), "Password of the first user. Change it before opening the broker to others."
    )
    default_vhost: str = setting("/", Kind(), "Name of the first vhost.")
    default_user_tags: tuple[str, ...] = setting(
        ("administrator",),
        Texts(what="tags"),
        "Tags of the first user. Tags give rights in management, not in AMQP.",
    )
    default_permissions: tuple[str, ...] = setting(
        (".*", ".*", ".*"),
        Texts(length=3, what="three patterns: configure, write, read"),
        "What the first user may do in the first vhost: patterns for configure, write and read.",
    )
    loopback_users: tuple[str, ...] = setting(
        ("guest",),
        Texts(what="user names"),
        "Users that may only connect from this machine. An empty list lifts it for all.",
        live=True,
    )
    mechanisms: tuple[str, ...] = setting(
        ("PLAIN", "AMQPLAIN"),
        Texts("PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS", "RABBIT-CR-DEMO"),
        "SASL mechanisms offered to clients. EXTERNAL logs in by certificate and is offered over TLS only;"
        " ANONYMOUS lets anybody in as the default user.",
    )


@dataclass(frozen=True)
class Store:
    """Where the data is, and how it is written."""

    data_dir: str = setting(
        "./var",
        Kind(),
        "Directory of the database, its lock and the control socket. A relative path counts from where the"
        " broker was started. One broker at a time.",
    )
    checkpoint_bytes: int = setting(
        128 * 1024**2,
        Size(65536, 16 * GIB),
        "Size of the write-ahead log at which its content is moved to the database file, beside the commits.",
    )


@dataclass(frozen=True)
class Definitions:
    """What the broker declares at each start, from a file as `amqpd definitions export` or RabbitMQ writes it."""

    load_definitions: str = setting(
        "",
        Kind(),
        "File to import at each start, or a directory whose *.json files are imported in the order of their names."
        " The first user and vhost of a new store are then made only if the file brings none. Empty: nothing.",
    )
    skip_if_unchanged: bool = setting(
        False,
        Flag(),
        "Do not import again what was imported completely before: changes made since then stay.",
    )


@dataclass(frozen=True)
class Plugins:
    """Which of the installed plugins are used; `amqpd plugins list` shows them. All are, unless they are named here."""

    disabled: tuple[str, ...] = setting((), Texts(what="names of plugins"), "Installed plugins that are not used.")
    order: tuple[str, ...] = setting(
        (),
        Texts(what="names of plugins"),
        "Plugins that register first, in this order; the others follow by name. Where two have a say in the same"
        " thing, the first is asked first.",
    )


@dataclass(frozen=True)
class Limits:
    """What keeps the broker within its machine. Reaching a watermark blocks publishers; consumers go on."""

    memory_high_watermark: Amount = setting(  # noqa: RUF009  # a Field, and Amount is frozen
        MEMORY_HIGH_WATERMARK,
        SizeOrShare(),
        "Memory of the broker above which publishers are blocked: a share of the machine's memory (0.6) or a"
        ' size ("2GiB"). In a container the memory of the container counts.',
        live=True,
    )
    disk_free_limit: Amount = setting(  # noqa: RUF009
        DISK_FREE_LIMIT,
        SizeOrShare(),
        "Free disk space in the data directory below which publishers are blocked: a size, or a share of the"
        " machine's memory.",
        live=True,
    )
    alarm_interval: float = setting(
        1.0, Duration(0.1, 3600.0), "How often memory and free disk space are looked at.", live=True
    )
    queue_window_bytes: int = setting(
        16 * 1024**2,
        Size(256 * 1024, 64 * GIB),
        "Ready messages that one queue keeps in memory, at most; the rest lies on disk and is read back.",
        live=True,
    )
    queue_windows_bytes: int = setting(
        64 * 1024**2,
        Size(1024**2, 1024 * GIB),
        "Ready messages that all queues together keep in memory, at most; each may keep 256 KiB anyway.",
        live=True,
    )
    unwritten_bytes_max: int = setting(
        32 * 1024**2,
        Size(1024**2, 64 * GIB),
        "Messages waiting for their commit above which publishers are not read until the disk has caught up.",
        live=True,
    )
    outbox_bytes_max: int = setting(
        1024**2,
        Size(4096, GIB),
        "Bytes waiting to be sent on a connection above which its consumers get nothing more until it reads.",
        live=True,
    )


@dataclass(frozen=True)
class Log:
    """What is logged, on standard error."""

    level: str = setting(
        "info",
        Choice("debug", "info", "warning", "error", "critical"),
        "The least urgent lines that are logged.",
        live=True,
    )
    format: str = setting(
        "auto",
        Choice("auto", "text", "json"),
        '"text" for people, "json" for one JSON object a line; "auto" is text, with colours on a terminal.',
    )


@dataclass(frozen=True)
class Server:
    """How the broker names itself to clients. Some clients choose their ways by product and version."""

    product: str = setting("RabbitMQ", Kind(), "Product in the server properties.")
    version: str = setting("3.13.7", Kind(), "Version in the server properties.")
    cluster_name: str = setting("", Kind(), 'Cluster name in the server properties. Empty: "amqpd@" and the host name.')


@dataclass(frozen=True)
class Settings:
    """All settings of a broker, by section. Sizes are bytes, times seconds."""

    listeners: Listeners = Listeners()
    tls: Tls = Tls()
    connections: Connections = Connections()
    queues: Queues = Queues()
    auth: Auth = Auth()
    store: Store = Store()
    definitions: Definitions = Definitions()
    plugins: Plugins = Plugins()
    limits: Limits = Limits()
    log: Log = Log()
    server: Server = Server()


def _all_settings() -> Iterator[Setting]:
    for section in fields(Settings):
        for one in fields(section.default):  # type: ignore[arg-type]  # each default is its section's dataclass
            about = one.metadata
            yield Setting(section.name, one.name, about["kind"], one.default, about["doc"], about["live"])


# By (section, key), in the order of the tree.
SETTINGS: dict[tuple[str, str], Setting] = {(one.section, one.key): one for one in _all_settings()}
SECTIONS: tuple[str, ...] = tuple(section.name for section in fields(Settings))


def build(values: dict[tuple[str, str], object]) -> Settings:
    """The tree with ``values`` (already typed, by section and key) in place of their defaults."""
    tables: dict[str, Any] = {}
    for section in fields(Settings):
        given = {key: value for (name, key), value in values.items() if name == section.name}
        section_type: Any = type(section.default)
        tables[section.name] = section_type(**given)
    return Settings(**tables)


def value_of(settings: Settings, one: Setting) -> object:
    """The value that ``settings`` hold for one setting."""
    return getattr(getattr(settings, one.section), one.key)


def inconsistency(settings: Settings) -> str | None:
    """Why the settings cannot work together, in one sentence; None when they can."""
    tls = settings.tls
    if settings.listeners.tls and not (tls.certificate and tls.key):
        return "listeners.tls needs tls.certificate and tls.key"
    if tls.verify == "peer" and not tls.ca:
        return 'tls.verify = "peer" needs tls.ca'
    if tls.fail_if_no_peer_cert and tls.verify != "peer":
        return 'tls.fail_if_no_peer_cert needs tls.verify = "peer"'
    if not settings.auth.mechanisms:
        return "auth.mechanisms must name at least one mechanism"
    for name in ("default_user", "default_vhost"):
        if not getattr(settings.auth, name):
            return f"auth.{name} must not be empty"
    if not settings.store.data_dir:
        return "store.data_dir must not be empty"
    return None
