"""What amqpd means to do otherwise than RabbitMQ 3.10.8, and why: each difference once, and nowhere else.

Where a difference shows is said there: by ``differs(facts.NAME)`` at a row of ``interop/conformance``, by
``interop/differences.py`` for places in transcripts and frames. ``docs/compatibility.md`` is made from all of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass

CONNECTION = "Connections and channels"
FRAMES = "Broken frames and methods"
MESSAGES = "Publishing and consuming"
DEATH = "Expiry and dead letters"
QUEUES = "Queues"
QUORUM = "Quorum queues and single active consumers"
STREAMS = "Streams"
RIGHTS = "Permissions and policies"
WATCHING = "Firehose and events"
EXCHANGES = "Exchange types of plugins"
RABBITMQ = "3.10.8"  # the version that the facts speak of
AREAS = (CONNECTION, MESSAGES, DEATH, QUEUES, QUORUM, STREAMS, RIGHTS, EXCHANGES, WATCHING, FRAMES)


@dataclass(frozen=True)
class Fact:
    """One difference: what either broker does, and why amqpd means to."""

    area: str
    amqpd: str
    rabbitmq: str
    why: str


def facts() -> Iterator[tuple[str, Fact]]:
    """Every fact with its name, as they stand here."""
    yield from ((name, fact) for name, fact in globals().items() if isinstance(fact, Fact))


_LATER = "RabbitMQ does it since {}"
_TOLD = "a client is told what it did wrong"

# Connections and channels

VERSION = Fact(
    CONNECTION,
    "announces product RabbitMQ, version 3.13.7",
    "announces its own version",
    "kombu, for one, chooses its qos mode by product and version",
)
CANCEL_OK_ANNOUNCED = Fact(
    CONNECTION,
    "announces the capability `accept_consumer_cancel_ok`: basic.cancel may be answered",
    "does not announce it, and may not be answered",
    _LATER.format("4.3.7"),
)
FLOW = Fact(
    CONNECTION,
    "`channel.flow` with active false pauses the deliveries of the channel",
    "closes the connection with 540",
    "the specification has it, and users miss it since RabbitMQ 3.3",
)
TUNE = Fact(
    CONNECTION,
    "answers a tune-ok out of the limits with connection.close 530",
    "closes the TCP connection after 3 s without a frame",
    _LATER.format("3.12"),
)
OLD_HEADER = Fact(
    CONNECTION,
    "answers the protocol header of AMQP 0-8 with its own, and hangs up",
    "still speaks 0-8",
    "no client of today sends it",
)
SETTLED_LATE = Fact(
    CONNECTION,
    "ignores basic.ack, basic.nack and basic.reject on a channel that is closed",
    "closes the connection with 504",
    "an ack crosses the close of its channel easily, and the connection need not pay for it",
)

# Publishing and consuming

CANCEL_OK = Fact(
    MESSAGES,
    "takes basic.cancel-ok as the answer to its basic.cancel",
    "closes the connection with 503",
    "the notice may be answered; some clients do",
)
REPLY_TAGS = Fact(
    MESSAGES,
    "a direct reply takes a delivery tag of its channel",
    "gives the next delivery the same tag again",
    "tags are to be unique on a channel",
)
REPLY_RETURNED = Fact(
    MESSAGES,
    "a mandatory direct reply that is delivered is not returned",
    "returns it with 312 and delivers it as well",
    _LATER.format("4.2"),
)
DELIVERY_MODE = Fact(
    MESSAGES,
    "a delivery mode other than 1 or 2 passes through",
    "closes the channel with 406 `{delivery_mode_unknown,N}`",
    "what is not 2 is not persistent, and no more need be said",
)
CHECKS_ORDER = Fact(
    MESSAGES,
    "of several faults in the properties, expiration and CC are named before the user-id",
    "names the user-id first",
    "either is refused with 406; this order is that of RabbitMQ 4",
)
HEADER_NUMBERS = Fact(
    MESSAGES,
    "a headers exchange tells the integer 1 from the float 1.0",
    "takes them for equal",
    _LATER.format("3.13"),
)
MESSAGE_SIZE = Fact(
    MESSAGES,
    "closes the channel with 406 at the header of a message above the maximum size, and passes over its body",
    "takes the whole message first",
    "nobody need send 200 MB to hear that they are too many",
)
HUGE_MESSAGE = Fact(
    MESSAGES,
    "a header that announces more than 512 MiB closes the connection with 501",
    "waits for the body",
    "RabbitMQ 4 does it, too",
)

# Expiry and dead letters

EXACT_EXPIRY = Fact(
    DEATH,
    "a message expires when its time comes, wherever it is in the queue",
    "only at the head of the queue",
    "users complain of messages that are counted and dead-lettered hours late",
)
LAST_DEATH = Fact(
    DEATH,
    "dead letters have `x-last-death-queue`, `-reason` and `-exchange`",
    "has only `x-first-death-...`",
    _LATER.format("3.13"),
)
FIRST_DEATH_AGAIN = Fact(
    DEATH,
    "where a client sent an `x-death` that is no array, it is replaced, and this death is the first",
    "replaces it and sets no `x-first-death-...`",
    "the headers belong together",
)
CC_KEPT = Fact(
    DEATH,
    "CC stays in a dead letter whose key comes from `x-dead-letter-routing-key`",
    "takes it out",
    _LATER.format("3.13"),
)
BCC_ONCE = Fact(
    DEATH,
    "the keys of BCC are used once and kept nowhere",
    "sends the dead letter to them again",
    "no header knows them any more, so nobody could find out why",
)
DEATHS_ORDER = Fact(
    DEATH,
    "`x-death` has the newest death first, whatever came before",
    "turns the order of the older deaths round each time",
    "newest first is what is documented",
)
ODD_DEATH = Fact(
    DEATH,
    "an entry of a client's `x-death` that is no table is left alone",
    "loses the message",
    "a message is not lost for a header",
)
NO_CIRCLE = Fact(
    DEATH,
    "only what happened since the last publish counts as a circle of dead letters",
    "believes the `x-death` that a client published, and may drop the message",
    "a message that a client published again came in no circle",
)

# Queues

QUORUM_ONLY = Fact(
    QUEUES,
    "`x-delivery-limit` and `x-dead-letter-strategy` hold for every queue",
    "knows them for quorum queues, and refuses them with 406 elsewhere",
    "a poisoned message is a nuisance in any queue",
)
LATER_ARGUMENTS = Fact(
    QUEUES,
    "checks the values of `x-delayed-retry-...` and `x-consumer-timeout`",
    "does not know these arguments and takes any value",
    _LATER.format("4.3"),
)
LEADER_LOCATOR = Fact(
    QUEUES,
    "takes `x-queue-leader-locator` on every queue, without effect",
    "refuses it on classic queues",
    "RabbitMQ 4 takes it there, too",
)
DELAYED_RETRY = Fact(
    QUEUES,
    "`x-delayed-retry-type` lets what comes back wait, in every queue",
    "does not know it",
    _LATER.format("4.3") + " for quorum queues",
)
CONSUMER_TIMEOUT = Fact(
    QUEUES,
    "a consumer may have a timeout of its own; one that is over it is cancelled and its messages go back",
    "knows one timeout for all, which closes the channel",
    _LATER.format("4.3"),
)

# Quorum queues and single active consumers

SINGLE_GOES_ON = Fact(
    QUORUM,
    "when a single active consumer is cancelled, the next one gets messages at once",
    "a classic queue delivers nothing until something else happens to it",
    "a queue is not to stand still",
)
QUORUM_PRIORITIES = Fact(
    QUORUM,
    "quorum queues have message priorities, 4 where a message has none",
    "has none there",
    _LATER.format("4.0") + ", two of them; 32 since 4.3",
)
QUORUM_ACTIVE = Fact(
    QUORUM,
    "on quorum queues, too, the single active consumer is the one with the highest priority",
    "goes by the order of subscription",
    _LATER.format("4.0"),
)
ACQUIRED = Fact(
    QUORUM,
    "a message that comes back to a quorum queue has `x-acquired-count`",
    "has `x-delivery-count` only",
    _LATER.format("4.3"),
)
REQUEUED_PLACE = Fact(
    QUORUM,
    "what comes back to a quorum queue keeps its place",
    "puts it behind all others",
    "classic queues do; since RabbitMQ 4.0 it comes at least before what is new",
)
DEFAULT_LIMIT = Fact(
    QUORUM,
    "a quorum queue without a delivery limit has one of 20",
    "has none",
    _LATER.format("4.0") + "; `x-delivery-limit` -1 or a policy takes it away",
)
QUORUM_DELETE = Fact(
    QUORUM,
    "queue.delete of a quorum queue may say if-unused and if-empty",
    "closes the connection with 540",
    "amqpd knows whether its queue is in use or empty",
)
QUORUM_QOS = Fact(
    QUORUM,
    "a limit for the whole channel (global qos) holds for quorum queues, too",
    "closes the connection with 540",
    "amqpd counts what a channel holds from whatever queue",
)

# Streams

STREAM_TEXTS = Fact(
    STREAMS,
    "any bad `x-max-age` or `x-stream-offset` closes the channel with 406, any bad `max-age` of a policy is refused",
    "closes the connection with 541 where there is no digit at the beginning, or answers HTTP with 500",
    _TOLD,
)
STREAM_COUNTS = Fact(
    STREAMS,
    "queue.declare-ok counts messages and consumers of a stream as they are, and queue.delete-ok the messages",
    "counts the messages a little later, and no consumers; queue.delete-ok has 0",
    "other queues tell it, too",
)
STREAM_DELETE = Fact(
    STREAMS,
    "queue.delete of a stream heeds if-unused and if-empty",
    "deletes it all the same",
    "who says so does not want to lose anything",
)
STREAM_PREFETCH = Fact(
    STREAMS,
    "a consumer of a stream never has more unacknowledged messages than its prefetch count",
    "gets a chunk whole once it has begun",
    _LATER.format("4.0"),
)
STREAM_GIVE_BACK = Fact(
    STREAMS,
    "basic.reject, basic.nack and basic.recover of a stream's messages make room for the next ones, as basic.ack does",
    "closes the connection, with 540 or, for basic.recover, 541",
    _LATER.format("3.13"),
)
STREAM_BACK = Fact(
    STREAMS,
    "`x-stream-offset` -N begins with the last N messages",
    "begins with the first one",
    "it is often wanted; LavinMQ has it, too",
)
STREAM_FILTER = Fact(
    STREAMS,
    "knows `x-stream-filter`, which leaves out exactly what does not match, and checks `x-stream-filter-size-bytes`",
    "does not know them and takes any value",
    _LATER.format("3.13") + ", by chunks",
)
STREAM_HEADERS = Fact(
    STREAMS,
    "headers of every type and `cluster-id` come out of a stream as they went in",
    "loses arrays, tables and `cluster-id`; a decimal closes the connection with 541",
    "a consumer is to see what was published",
)
STREAM_DEAD_LETTERS = Fact(
    STREAMS,
    "dead letters may go to a stream",
    "loses them",
    "a message is not to be lost",
)
STREAM_AGE = Fact(
    STREAMS,
    "what is older than `x-max-age` goes when its time comes",
    "it goes when something is published and a segment is full",
    "so it says",
)

# Permissions and policies

RIGHTS_AT_ONCE = Fact(
    RIGHTS,
    "changed permissions hold at once, on channels that are open, too",
    "a channel keeps what it has asked before",
    "who loses a right has lost it",
)
TOPIC_CC = Fact(
    RIGHTS,
    "topic permissions are asked for every routing key, those of CC and BCC, too",
    "asks for the first one only",
    "otherwise CC is a way round them",
)
POLICY_KEYS = Fact(
    RIGHTS,
    "policies may have `delivery-limit` -1, `consumer-timeout`, `delayed-retry-...`; operator policies `overflow`, "
    "`queue-version`, `target-group-size`",
    "refuses these keys",
    "later versions of RabbitMQ have them",
)
OPERATOR_OVERFLOW = Fact(
    RIGHTS,
    "an operator policy's `overflow` counts before the policy's",
    "operator policies may not have it",
    "later versions of RabbitMQ allow it",
)
POLICY_KINDS = Fact(
    RIGHTS,
    "policies apply to `classic_queues`, `quorum_queues` or `streams`",
    "knows `queues`, `exchanges` and `all`",
    "later versions of RabbitMQ have them",
)

# Exchange types of plugins

HASH_PLACES = Fact(
    EXCHANGES,
    "`x-consistent-hash` and `x-modulus-hash`: the hash is amqpd's own",
    "the same key may belong to another queue",
    "the hash of RabbitMQ is that of Erlang's terms; what counts is that a key stays where it is",
)
HASH_SECOND_BINDING = Fact(
    EXCHANGES,
    "`x-consistent-hash`: a second binding of a queue counts when the first one is gone",
    "nothing goes to the queue any more",
    "the binding is listed, so it holds",
)
HASH_WIDTHS = Fact(
    EXCHANGES,
    "`x-consistent-hash`: a number is the same in every width",
    "hashes it with its type",
    "clients choose the width by the value",
)
HASH_STABLE = Fact(
    EXCHANGES,
    "`x-consistent-hash`: when a queue goes, only its keys get another queue",
    "keys move between the queues that stay",
    "that is what consistent hashing is for",
)
HASH_ARGUMENTS = Fact(
    EXCHANGES,
    "`x-consistent-hash`: an argument of a wrong type closes the channel with 406",
    "closes the connection with 541",
    _TOLD,
)
HISTORY_ORDER = Fact(
    EXCHANGES,
    "`x-recent-history`: an exchange that is bound gets the oldest message first",
    "gets the newest first",
    "a queue gets the oldest first, from both",
)
HISTORY_NO_ROUTE = Fact(
    EXCHANGES,
    "`x-recent-history`: messages for which a bound exchange has no route are dropped",
    "closes the connection with 541",
    "so it is with every other publish",
)
HISTORY_TX = Fact(
    EXCHANGES,
    "`x-recent-history`: what is rolled back is not kept",
    "keeps it when it is published, before the commit",
    "it was never published",
)
HISTORY_LENGTH = Fact(
    EXCHANGES,
    "`x-recent-history`: the length may be an unsigned number",
    "refuses it",
    "some clients send nothing else",
)

# Firehose and events

TRACE_BCC = Fact(
    WATCHING,
    "the firehose shows for a delivery the keys that its consumer sees",
    "shows those of BCC, too",
    "BCC is not for consumers",
)
TRACE_ROUTED = Fact(
    WATCHING,
    "the firehose's `routed_queues` has queues that exist",
    "names the queue of the default exchange that does not exist",
    "nothing was routed there",
)
TRACE_TIMESTAMP = Fact(
    WATCHING,
    "the firehose shows a timestamp beyond 32 bits as it is",
    "cuts it to 32 bits",
    "clients that send milliseconds would see nonsense",
)
EVENT_OBJECT = Fact(
    WATCHING,
    "events: an object inside the value of a parameter is an object",
    'prints it: `#{<<"b">> => 1}`',
    "so it can be read",
)
EVENT_CLEARED = Fact(
    WATCHING,
    "events: a global parameter that is cleared is `parameter.cleared`",
    "says `parameter.set` without a value",
    "so it is for other parameters",
)
EVENT_OWN_WORKS = Fact(
    WATCHING,
    "events: there is none for what the broker does inside",
    "tells of `exchange-delete-in-progress`, a parameter of its own, whenever an exchange is deleted",
    "nobody set such a parameter",
)
EVENT_UNBOUND = Fact(
    WATCHING,
    "events: bindings that go with their queue are deleted by the user who deleted it",
    "by `rmq-internal`",
    "somebody did it",
)

# Broken frames and methods

BODY_TOO_LONG = Fact(
    FRAMES,
    "a body longer than announced closes the connection with 501",
    "sends nothing; the channel waits for ever",
    _LATER.format("4.3"),
)
UNKNOWN_METHOD = Fact(
    FRAMES,
    "an unknown method closes the connection with 503, a table that cannot be read with 501",
    "resets the TCP connection without a frame",
    _TOLD,
)
BAD_PROPERTIES = Fact(
    FRAMES,
    "properties that cannot be read close the connection with 501 for basic.publish",
    "closes it with 541 INTERNAL_ERROR for no method",
    _TOLD,
)
CUT_TEXT = Fact(
    FRAMES,
    "a reply text that is too long is cut between characters",
    "cuts within one, so that the text is not UTF-8",
    "clients fail to read such a text",
)
