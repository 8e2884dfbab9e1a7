#!/bin/sh
# The commands of rabbitmq-c (amqp-tools): the scenarios of interop/families/README.md.
#
# A command is one connection that does one thing. Of a message they show the body; they publish without confirms, and
# declare queues without arguments. What they have no word for is skipped.
set -u

patience=100 # tenths of a second that anything which must come may take
count=0
scenario=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- the report

say() { # ok|not ok, what
    count=$((count + 1))
    echo "$1 $count - $scenario: $2"
}

check() { # what, seen, expected
    if [ "$2" = "$3" ]; then
        say ok "$1"
    else
        say "not ok" "$1"
        printf 'expected %s, got %s\n' "$3" "$2" | sed 's/^/# /'
    fi
}

skip() { # why
    count=$((count + 1))
    echo "ok $count - $scenario # SKIP $1"
}

control() { # words; false, and the scenario reported as skipped or failed, when the broker did not do it
    if [ -z "${INTEROP_CONTROL:-}" ]; then
        skip "no INTEROP_CONTROL: nobody can act on the broker"
        return 1
    fi
    said=$("$INTEROP_CONTROL" "$@" 2>&1)
    status=$?
    if [ $status -eq 3 ]; then
        skip "$said"
    elif [ $status -ne 0 ]; then
        check "control $*" "$said" done
    fi
    return $status
}

eventually() { # what, command that succeeds once it is so
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ $tries -gt $patience ]; then
            say "not ok" "$what"
            return 1
        fi
        sleep 0.1
    done
    say ok "$what"
}

# ---- the commands

tool() { # publish|get|..., options
    name=$1
    shift
    timeout 20 "amqp-$name" --url="$AMQP_URL" "$@"
}

refusal() { # code, command: the code if the command fails and names it, otherwise what it says
    code=$1
    shift
    if said=$("$@" 2>&1); then
        echo "no error: $said"
        return
    fi
    case $said in
    *" error $code, "*) echo "$code" ;;
    *) echo "$said" ;;
    esac
}

get_to() { # file, queue
    tool get -q "$2" >"$1" 2>"$work/errors"
}

get_soon() { # queue; prints the body
    tries=0
    until get_to "$work/got" "$1" || [ $tries -gt $patience ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    cat "$work/got"
}

publish_numbers() { # queue, how many
    for number in $(seq "$2"); do
        tool publish -r "$1" -b "$number"
    done
}

# hold appends the body to $work/held, and does not end while $work/hold exists: its message is not acknowledged.
cat >"$work/hold.sh" <<'END'
cat >>"$1/held"
echo >>"$1/held"
while [ -e "$1/hold" ]; do sleep 0.1; done
END

start_holding() { # options of amqp-consume; the consumer runs until stop_holding
    : >"$work/held"
    : >"$work/hold"
    amqp-consume --url="$AMQP_URL" "$@" sh "$work/hold.sh" "$work" 2>"$work/consumer-errors" &
    consumer=$!
}

holds() { [ "$(cat "$work/held")" = "$1" ]; }

stop_holding() {
    kill "$consumer" 2>"$work/errors"
    wait "$consumer"
    rm "$work/hold"
}

not_there() { [ "$(refusal 404 tool get -q "$1")" = 404 ]; }

# ---- the scenarios

connect() { # The commands do not show the server's properties.
    check "logs in, declares" "$(tool declare-queue -q interop.connect)" interop.connect
    tool delete-queue -q interop.connect >"$work/deleted"
    check "channel and connection close in order" $? 0
}

log_in() { # password, vhost
    set -- --username="$AMQP_USER" --password="$1" --vhost="$2"
    amqp-get --server="$AMQP_HOST" --port="$AMQP_PORT" "$@" -q interop.any
}

auth_failure() {
    check "wrong password" "$(refusal 403 log_in wrong "$AMQP_VHOST")" 403
    case $(log_in wrong "$AMQP_VHOST" 2>&1) in
    *ACCESS_REFUSED*) say ok "is ACCESS_REFUSED" ;;
    *) say "not ok" "is ACCESS_REFUSED" ;;
    esac
    check "unknown vhost" "$(refusal 530 log_in "$AMQP_PASSWORD" interop.no-such)" 530
}

declare() { # Without a word for exchanges, arguments, passive declaration, unbind and purge.
    queue=interop.declare
    check "durable queue" "$(tool declare-queue -d -q $queue)" $queue
    check "again the same way" "$(tool declare-queue -d -q $queue)" $queue
    check "other durability" "$(refusal 406 tool declare-queue -q $queue)" 406
    check "queue not there" "$(refusal 404 tool get -q interop.no-such)" 404
    publish_numbers $queue 3
    get_soon $queue >"$work/first"
    check "delete tells the number" "$(tool delete-queue -q $queue)" 2
    check "deleting twice is fine" "$(tool delete-queue -q $queue)" 0
}

consume() {
    queue=interop.consume
    tool declare-queue -q $queue >"$work/declared"
    publish_numbers $queue 10
    start_holding -q $queue -p 3
    eventually "the first is delivered" holds 1
    check "prefetch 3: the others are there for another" "$(tool consume -q $queue -c 7 -A cat)" "45678910"
    check "and no more" "$(get_to "$work/got" $queue; echo $?)" 2
    stop_holding
    check "not acknowledged: there again" "$(tool consume -q $queue -c 3 -- sh -c 'cat; exit 1')" 123
    check "a command that fails does not acknowledge" "$(tool consume -q $queue -c 2 cat)" 12
    check "one that succeeds does" "$(tool consume -q $queue -c 1 cat)" 3
    check "then it is empty" "$(get_to "$work/got" $queue; echo $?)" 2
    tool delete-queue -q $queue >"$work/deleted"
}

get() { # amqp-get shows the body only, and always acknowledges.
    queue=interop.get
    tool declare-queue -q $queue >"$work/declared"
    check "empty" "$(get_to "$work/got" $queue; echo $?)" 2
    tool publish -r $queue -b first
    tool publish -r $queue -b second
    check "first" "$(get_soon $queue)" first
    check "second" "$(get_soon $queue)" second
    check "empty again" "$(get_to "$work/got" $queue; echo $?)" 2
    tool delete-queue -q $queue >"$work/deleted"
}

# Consumes from a queue that amqp-consume declares, and binds to amq.direct, while another connection looks at it.
own_queue() { # what others get told, option that says how it is declared, name
    start_holding "$2" -q "$3" -e amq.direct -r "$3"
    eventually "messages come from the exchange" published_arrives "$3"
    get_to "$work/got" "$3"
    code=$(sed -n 's/.* error \([0-9]*\), .*/\1/p' "$work/errors")
    check "another connection" "${code:-may look}" "$1"
    stop_holding
    eventually "gone with its consumer" not_there "$3"
}

published_arrives() { # key
    tool publish -e amq.direct -r "$1" -b "for $1"
    grep -q -x "for $1" "$work/held"
}

exclusive() { # There is no word for an exclusive consumer.
    own_queue 405 --exclusive interop.exclusive
}

auto_delete() { # Queues that amqp-consume declares are auto-delete. There is no word for such exchanges.
    own_queue "may look" --declare interop.auto-delete
}

large_message() {
    queue=interop.large
    frame_max=131072 # what the commands ask for, and the broker's default
    tool declare-queue -q $queue >"$work/declared"
    for size in 0 $((frame_max - 8)) $((frame_max - 7)) $((20 << 20)); do
        head -c "$size" /dev/urandom >"$work/sent"
        tool publish -r $queue <"$work/sent"
        get_soon $queue >"$work/received"
        check "$size bytes" "$(cmp "$work/sent" "$work/received" 2>&1; wc -c <"$work/received")" "$size"
    done
    tool delete-queue -q $queue >"$work/deleted"
}

recovery() { # The commands end when the connection does, and are started again. None can bind a durable queue.
    queue=interop.recovery
    tool declare-queue -d -q $queue >"$work/declared"
    tool publish -p -r $queue -b "kept 1"
    start_holding -q $queue -p 1
    eventually "consuming" holds "kept 1"
    tool publish -r $queue -b lost
    tool publish -p -r $queue -b "kept 2"
    if control restart; then
        rm "$work/hold" # The receiving command ends, and amqp-consume cannot acknowledge.
        wait "$consumer"
        check "the consumer ends with an error" $? 1
        eventually "the broker is back" declares_again $queue
        check "persistent message" "$(get_soon $queue)" "kept 1"
        check "no transient one" "$(get_soon $queue)" "kept 2"
        tool publish -r $queue -b "still here"
        check "publishing and consuming go on" "$(tool consume -q $queue -c 1 cat)" "still here"
    else
        stop_holding
    fi
    tool delete-queue -q $queue >"$work/deleted"
}

declares_again() { tool declare-queue -d -q "$1" >"$work/declared" 2>"$work/errors"; }

confirms() { skip "amqp-publish has no confirms"; }
mandatory_return() { skip "amqp-publish has no mandatory flag"; }
exchange_bindings() { skip "no command declares or binds exchanges"; }
headers() { skip "the commands show nothing of a message but its body"; }
dead_letter() { skip "amqp-declare-queue has no queue arguments"; }
ttl() { skip "amqp-declare-queue has no queue arguments, amqp-publish no expiration"; }
priority() { skip "amqp-declare-queue has no queue arguments, amqp-publish no priority"; }
direct_reply_to() { skip "no command publishes and consumes on one connection, as direct reply-to needs"; }
cancel_notify() { skip "the commands do not tell the broker that they know consumer_cancel_notify"; }
blocked() { skip "the commands do not tell the broker that they know connection.blocked"; }

for scenario in connect auth-failure declare confirms mandatory-return consume get exclusive auto-delete \
    exchange-bindings headers dead-letter ttl priority direct-reply-to large-message cancel-notify blocked recovery; do
    case " ${*:-$scenario} " in
    *" $scenario "*) "$(echo "$scenario" | tr - _)" ;;
    esac
done
echo "1..$count"
