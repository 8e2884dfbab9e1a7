#!/usr/bin/perl
# AnyEvent::RabbitMQ: the scenarios of interop/families/README.md.
#
# The client takes callbacks. Here one thing follows another, so request() waits for the callback with a condition
# variable. The client has no recovery; an application connects again when on_close tells.
use v5.20;
use warnings;
use utf8;
use feature 'signatures';
no warnings 'experimental::signatures';

use AnyEvent;
use AnyEvent::RabbitMQ;
use Encode 'encode_utf8';
use List::Util 'any';
use Net::AMQP::Value;
use Test::More;
use Time::HiRes 'time';

use constant {
    PATIENCE  => 10,     # seconds that anything which must come may take
    QUIET     => 0.3,    # seconds without a delivery that mean there is none
    CANNOT    => 3,      # exit status of the control command when this broker cannot be made to do something
    FRAME_MAX => 131072,
};

my $builder = Test::More->builder;
$builder->output( \*STDOUT );
$builder->failure_output( \*STDOUT );
STDOUT->autoflush;

AnyEvent::RabbitMQ->new->load_xml_spec;

# ---- checks

my ( $scenario, @connections, @cleanups );

sub check ( $what, $seen, $expected = 1 ) { is_deeply( $seen, $expected, "$scenario: $what" ) }

# Leaves out one check, or the whole scenario. Test::More would report it without its name.
sub cannot ( $why, $what = undef ) {
    my $number = $builder->current_test + 1;
    say "ok $number - $scenario", ( $what ? ": $what" : '' ), " # SKIP $why";
    $builder->current_test($number);
}

sub pause ($seconds) {
    my $done  = AE::cv;
    my $timer = AE::timer $seconds, 0, $done;
    $done->recv;
}

sub eventually ( $what, $condition ) {
    my $deadline = time + PATIENCE;
    my $met;
    pause(0.01) until ( $met = $condition->() ) || time > $deadline;
    check( $what, $met ? 1 : 0 );
}

sub received ( $done, $what ) {
    my $timer = AE::timer PATIENCE, 0, sub { $done->croak("$what: not within ${\PATIENCE} s") };
    return $done->recv;
}

# True when the broker did it; otherwise the scenario is reported as skipped.
sub control (@words) {
    my $command = $ENV{INTEROP_CONTROL};
    my $said    = $command ? qx('$command' @words 2>&1) : 'no INTEROP_CONTROL: nobody can act on the broker';
    my $done    = $command && $? == 0;
    chomp $said;
    AE::now_update;    # Timers count from the loop's idea of now, and the loop stood still.
    die "$command @words: $said\n" if $command && $? && $? >> 8 != CANNOT;
    cannot($said) unless $done;
    return $done;
}

# ---- connections, channels, requests

sub connecting (%args) {
    my $connected  = AE::cv;
    my $connection = AnyEvent::RabbitMQ->new->connect(
        host  => $ENV{AMQP_HOST},
        port  => $ENV{AMQP_PORT},
        user  => $ENV{AMQP_USER},
        pass  => $ENV{AMQP_PASSWORD},
        vhost => $ENV{AMQP_VHOST},
        tune  => { frame_max => FRAME_MAX },

        # Without authentication_failure_close the broker would close the socket without a word.
        client_properties => {
            capabilities => {
                map { $_ => Net::AMQP::Value::true }
                    qw(authentication_failure_close consumer_cancel_notify exchange_exchange_bindings)
            },
        },
        on_success => $connected,
        on_failure => sub { $connected->croak("connect: $_[-1]") },
        on_close   => sub { },
        %args,
    );
    push @connections, $connection;
    return ( $connection, $connected );
}

sub connection (%args) {
    my ( $connection, $connected ) = connecting(%args);
    received( $connected, 'connect' );
    return $connection;
}

# Calls a method of a connection or channel and returns what its on_success is given; dies when it fails.
sub request ( $object, $method, %args ) {
    my $done = AE::cv;
    $object->$method( %args, on_success => $done, on_failure => sub { $done->croak("$method: @_") } );
    return received( $done, $method );
}

sub channel ( $connection = connection(), %args ) { request( $connection, 'open_channel', %args ) }

sub confirming ( $channel = channel() ) {
    request( $channel, 'confirm' );
    return $channel;
}

sub declare_queue ( $channel, $queue, %args ) {
    push @cleanups, [ delete_queue => queue => $queue ];
    return request( $channel, 'declare_queue', queue => $queue, %args )->method_frame;
}

sub declare_exchange ( $channel, $exchange, $type, %args ) {
    push @cleanups, [ delete_exchange => exchange => $exchange ];
    request( $channel, 'declare_exchange', exchange => $exchange, type => $type, %args );
}

sub clean_up {
    if (@cleanups) {
        my $channel = channel();
        request( $channel, @$_ ) for splice @cleanups;
    }
    request( $_, 'close' ) for grep { $_->is_open } splice @connections;
}

sub bind_queue ( $channel, $queue, $exchange, $key, %args ) {
    request( $channel, 'bind_queue', queue => $queue, exchange => $exchange, routing_key => $key, %args );
}

sub found ( $channel, $queue ) { request( $channel, 'declare_queue', queue => $queue, passive => 1 )->method_frame }

sub message_count ( $channel, $queue ) { found( $channel, $queue )->message_count }

sub reply_code ($frame) { ref $frame ? $frame->method_frame->reply_code : "closed without a code: $frame" }

# The broker answers by closing the channel, and nothing but the channel.
sub refused ( $what, $code, $connection, $method, %args ) {
    my $closed  = AE::cv;
    my $channel = channel( $connection, on_close => $closed );
    eval { request( $channel, $method, %args ) };
    check( $what, reply_code( received( $closed, "close after $method" ) ), $code );
    request( channel($connection), 'close' );
}

# ---- messages

sub publish ( $channel, $exchange, $key, $body, %header ) {
    $channel->publish( exchange => $exchange, routing_key => $key, body => $body, header => \%header );
}

sub publish_confirmed ( $channel, $exchange, $key, $body, %header ) {
    my $confirmed = AE::cv;
    $channel->publish(
        exchange    => $exchange,
        routing_key => $key,
        body        => $body,
        header      => \%header,
        on_ack      => $confirmed,
        on_nack     => sub { $confirmed->croak('publish: nack') },
    );
    received( $confirmed, 'confirm' );
}

# A message as a hash: body, header, and what basic.deliver or basic.get-ok said of it.
sub message ($parts) {
    my $method = ( $parts->{deliver} // $parts->{ok} )->method_frame;
    return {
        body   => $parts->{body} ? $parts->{body}->payload : '',
        header => $parts->{header},
        map { $_ => $method->$_ } qw(delivery_tag redelivered exchange routing_key),
    };
}

# Consumes; returns the tag and the list that messages come into.
sub consume ( $channel, $queue, %args ) {
    my @messages;
    my $ok = request(
        $channel, 'consume',
        queue      => $queue,
        on_consume => sub ($parts) { push @messages, message($parts) },
        %args
    );
    return ( \@messages, $ok->method_frame->consumer_tag );
}

sub next_message ($messages) {
    my $deadline = time + PATIENCE;
    pause(0.001) until @$messages || time > $deadline;
    return shift @$messages // die "no delivery within ${\PATIENCE} s\n";
}

sub check_nothing ( $what, $messages ) {
    pause(QUIET);
    check( $what, [ map { $_->{body} } @$messages ], [] );
}

sub get ( $channel, $queue, %args ) {
    my $answer = request( $channel, 'get', queue => $queue, %args );
    return if $answer->{empty};
    return { %{ message($answer) }, left => $answer->{ok}->method_frame->message_count };
}

# Gets a message that is on its way.
sub get_soon ( $channel, $queue ) {
    my $deadline = time + PATIENCE;
    while ( time < $deadline ) {
        my $message = get( $channel, $queue );
        return $message if $message;
        pause(0.01);
    }
    die "nothing came to $queue\n";
}

sub check_count ( $what, $channel, $queue, $count ) {
    eventually( $what, sub { message_count( $channel, $queue ) == $count } );
}

# ---- the scenarios

sub connect {
    my $connection = connection();
    my $server     = $connection->server_properties;
    check( 'server is named', length $server->{product} > 0 );
    check( $_, $server->{capabilities}{$_} ) for qw(publisher_confirms consumer_cancel_notify basic.nack);
    my $channel = channel($connection);
    check( 'channel opens', $channel->is_open );
    request( $channel,    'close' );
    request( $connection, 'close' );
    check( 'channel and connection close', $channel->is_open || $connection->is_open ? 1 : 0, 0 );
}

sub auth_failure {
    my @wrong = ( [ 'wrong password', 403, pass => 'wrong' ], [ 'unknown vhost', 530, vhost => 'interop.no-such' ] );
    my %word  = ( 403 => 'ACCESS_REFUSED', 530 => 'NOT_ALLOWED' );
    for (@wrong) {
        my ( $what, $code, @args ) = @$_;
        my $closed = AE::cv;
        connecting( @args, on_close => $closed );
        my $frame = received( $closed, $what );
        check( $what, reply_code($frame), $code );
        check( "$what: $word{$code}", $frame->method_frame->reply_text =~ /^$word{$code}/ ? 1 : 0 );
    }
}

sub declare {
    my $name       = 'interop.declare';
    my $closed     = AE::cv;
    my $connection = connection( on_close => $closed );
    my $channel    = confirming( channel($connection) );
    for ( 1 .. 2 ) {
        declare_exchange( $channel, $name, 'direct', durable => 1 );
        declare_queue( $channel, $name, durable => 1 );
    }
    bind_queue( $channel, $name, $name, 'key' );

    my $consumer = channel($connection);
    consume( $consumer, $name );
    check( 'passive: consumers', found( $channel, $name )->consumer_count, 1 );
    request( $consumer, 'close' );
    publish_confirmed( $channel, $name, 'key', $_ ) for 1 .. 3;
    check( 'passive: messages', message_count( $channel, $name ), 3 );

    my @nothing = ( passive => 1, queue => 'interop.no-such' );
    refused( 'passive, queue not there', 404, $connection, 'declare_queue', @nothing );
    @nothing = ( passive => 1, exchange => 'interop.no-such' );
    refused( 'passive, exchange not there', 404, $connection, 'declare_exchange', @nothing );
    my @other = ( queue => $name, durable => 0 );
    refused( 'other durability', 406, $connection, 'declare_queue', @other );
    @other = ( queue => $name, durable => 1, arguments => { 'x-max-length' => 5 } );
    refused( 'other argument', 406, $connection, 'declare_queue', @other );

    request( $channel, 'unbind_queue', queue => $name, exchange => $name, routing_key => 'key' );
    publish_confirmed( $channel, $name, 'key', 'not routed' );
    my $purged = request( $channel, 'purge_queue', queue => $name );
    check( 'purge after unbind', $purged->method_frame->message_count, 3 );
    publish_confirmed( $channel, '', $name, 'one' );
    my @deleted = map { request( $channel, 'delete_queue', queue => $name )->method_frame->message_count } 1 .. 2;
    check( 'delete, and again', \@deleted, [ 1, 0 ] );

    eval { request( $channel, 'declare_exchange', exchange => 'interop.odd', type => 'no-such-type' ) };
    check( 'unknown exchange type closes the connection', reply_code( received( $closed, 'close' ) ), 503 );
}

sub confirms {
    my ( $queue, $messages ) = ( 'interop.confirms', 1000 );
    my $channel = confirming();
    declare_queue( $channel, $queue, durable => 1 );
    my %confirmed;
    for my $body ( 1 .. $messages ) {
        $channel->publish(
            routing_key => $queue,
            body        => $body,
            header      => { delivery_mode => 2 },
            on_ack      => sub { $confirmed{$body} = 1 },
        );
    }
    eventually( 'all confirmed', sub { keys %confirmed == $messages } );
    check( 'all in the queue', message_count( $channel, $queue ), $messages );
    my ($received) = consume( $channel, $queue );
    check( 'in order', [ map { next_message($received)->{body} } 1 .. $messages ], [ 1 .. $messages ] );
}

sub mandatory_return {
    my $exchange = 'interop.return';
    my $channel  = confirming();
    declare_exchange( $channel, $exchange, 'direct' );
    my $confirmed = AE::cv;
    my ( $returned, $before );
    $channel->publish(
        exchange    => $exchange,
        routing_key => 'nobody',
        mandatory   => 1,
        body        => 'come back',
        on_return   => sub ($frame) { $returned = $frame->method_frame },
        on_ack      => sub { $before = defined $returned; $confirmed->send },
        on_nack     => sub { $confirmed->croak('nack') },
    );
    received( $confirmed, 'confirm' );
    check( 'returned before its confirm', $before );
    check( 'reply code',  $returned->reply_code, 312 );
    check( 'reply text',  $returned->reply_text, 'NO_ROUTE' );
    check( 'exchange',    $returned->exchange,   $exchange );
    check( 'routing key', $returned->routing_key, 'nobody' );
    cannot( 'the client gives on_return the method without body and properties', 'body and properties' );
}

sub consuming {
    my $queue = 'interop.consume';
    my ( $channel, $other ) = ( channel(), confirming() );
    declare_queue( $other, $queue );
    publish_confirmed( $other, '', $queue, $_ ) for 1 .. 10;
    request( $channel, 'qos', prefetch_count => 3 );
    my ( $messages, $tag ) = consume( $channel, $queue, no_ack => 0 );
    my @first = map { next_message($messages) } 1 .. 3;
    check( 'three at once', [ map { $_->{body} } @first ], [ 1, 2, 3 ] );
    check_nothing( 'no 4th until an ack', $messages );

    $channel->ack( delivery_tag => $first[1]{delivery_tag}, multiple => 1 );
    check( 'multiple ack makes room for two', [ map { next_message($messages)->{body} } 1 .. 2 ], [ 4, 5 ] );
    check_nothing( 'and not more', $messages );
    $channel->reject( delivery_tag => $first[2]{delivery_tag}, requeue => 1 );    # The client has no nack.
    my $again = next_message($messages);
    check( 'requeued comes again as redelivered', [ @$again{qw(body redelivered)} ], [ 3, 1 ] );
    $channel->reject( delivery_tag => $again->{delivery_tag}, requeue => 0 );
    check( 'reject makes room', next_message($messages)->{body}, 6 );

    request( $channel, 'cancel', consumer_tag => $tag );
    check( 'no consumer is left', found( $other, $queue )->consumer_count, 0 );
    check( 'ready while 4, 5, 6 are unacknowledged', message_count( $other, $queue ), 4 );
    request( $channel, 'close' );
    check_count( 'all there again when the channel is closed', $other, $queue, 7 );
    my ($rest) = consume( $other, $queue );
    my @rest = map { next_message($rest) } 1 .. 7;
    check( 'in their order, the rejected one gone', [ map { $_->{body} } @rest ], [ 4 .. 10 ] );
    check( 'redelivered if delivered before', [ map { $_->{redelivered} } @rest ], [ 1, 1, 1, 0, 0, 0, 0 ] );
}

sub getting {
    my $name       = 'interop.get';
    my $connection = connection();
    my $channel    = confirming( channel($connection) );
    declare_exchange( $channel, $name, 'direct' );
    declare_queue( $channel, $name );
    bind_queue( $channel, $name, $name, 'key' );
    publish_confirmed( $channel, $name, 'key', $_ ) for qw(first second);
    my @told    = qw(body exchange routing_key redelivered left);
    my $message = get( $channel, $name, no_ack => 0 );
    check( 'what it tells', [ @$message{@told} ], [ 'first', $name, 'key', 0, 1 ] );
    $channel->reject( delivery_tag => $message->{delivery_tag}, requeue => 1 );
    $message = get( $channel, $name, no_ack => 0 );
    check( 'redelivered', [ @$message{@told} ], [ 'first', $name, 'key', 1, 1 ] );
    $channel->ack( delivery_tag => $message->{delivery_tag} );
    $message = get( $channel, $name );
    check( 'none left', [ @$message{@told} ], [ 'second', $name, 'key', 0, 0 ] );
    check( 'empty', scalar get( $channel, $name ), undef );
    request( $channel, 'close' );
    check( 'acknowledged is gone', message_count( channel($connection), $name ), 0 );
}

sub exclusive {
    my ( $owner, $other ) = ( connection(), connection() );
    my $queue = request( channel($owner), 'declare_queue', exclusive => 1 )->method_frame->queue;
    check( 'the server names the queue', $queue =~ /^amq\.gen-/ ? 1 : 0 );
    my @passive = ( queue => $queue, passive => 1 );
    refused( 'another connection', 405, $other, 'declare_queue', @passive );
    request( $owner, 'close' );
    refused( 'gone with its connection', 404, $other, 'declare_queue', @passive );

    my $channel = channel($other);
    declare_queue( $channel, 'interop.exclusive' );
    consume( $channel, 'interop.exclusive', exclusive => 1 );
    refused( 'a second consumer', 403, connection(), 'consume', queue => 'interop.exclusive' );
}

sub auto_delete {
    my ( $name, $bound ) = ( 'interop.auto-delete', 'interop.bound' );
    my $connection = connection();
    my $channel    = channel($connection);
    declare_queue( $channel, $name, auto_delete => 1 );
    check( 'stays while it had no consumer', message_count( $channel, $name ), 0 );
    my ( $first, $last ) = map { ( consume( $channel, $name ) )[1] } 1 .. 2;
    request( $channel, 'cancel', consumer_tag => $first );
    check( 'stays while there is a consumer', message_count( $channel, $name ), 0 );
    request( $channel, 'cancel', consumer_tag => $last );
    my @passive = ( queue => $name, passive => 1 );
    refused( 'queue goes with its last consumer', 404, $connection, 'declare_queue', @passive );

    @passive = ( exchange => $name, type => 'fanout', passive => 1 );
    declare_exchange( $channel, $name, 'fanout', auto_delete => 1 );
    declare_queue( $channel, $bound );
    bind_queue( $channel, $bound, $name, $_ ) for qw(one two);
    request( $channel, 'unbind_queue', queue => $bound, exchange => $name, routing_key => 'one' );
    check( 'exchange is there', ref request( $channel, 'declare_exchange', @passive ), 'Net::AMQP::Frame::Method' );
    request( $channel, 'unbind_queue', queue => $bound, exchange => $name, routing_key => 'two' );
    refused( 'exchange goes with its last binding', 404, $connection, 'declare_exchange', @passive );
}

sub exchange_bindings {
    my ( $topic, $fanout, $queue ) = ( 'interop.topic', 'interop.fanout', 'interop.e2e' );
    my $channel = channel();
    declare_exchange( $channel, $topic,  'topic' );
    declare_exchange( $channel, $fanout, 'fanout' );
    declare_queue( $channel, $queue );
    bind_queue( $channel, $queue, $fanout, '' );
    my @binding = ( source => $topic, destination => $fanout, routing_key => '*.red.#' );
    request( $channel, 'bind_exchange', @binding );
    publish( $channel, $topic, 'a.blue',  'does not match' );
    publish( $channel, $topic, 'a.red.b', 'through both' );
    my $message = get_soon( $channel, $queue );
    check( 'comes through both', [ @$message{qw(body exchange routing_key)} ], [ 'through both', $topic, 'a.red.b' ] );
    request( $channel, 'unbind_exchange', @binding );
    publish( $channel, $topic,  'a.red.b', 'after unbind' );
    publish( $channel, $fanout, '',        'last' );
    check( 'not after unbind', get_soon( $channel, $queue )->{body}, 'last' );
}

sub headers {
    my $channel = confirming();
    check_header_types($channel);

    my $exchange = 'interop.headers';
    declare_exchange( $channel, $exchange, 'headers' );
    for my $match (qw(all any)) {
        my %arguments = ( 'x-match' => $match, format => 'pdf', pages => 3 );
        declare_queue( $channel, "interop.$match" );
        bind_queue( $channel, "interop.$match", $exchange, '', arguments => \%arguments );
    }
    my %sent = (
        none => { format => 'png' },
        one  => { format => 'pdf', pages => integer(4) },
        both => { format => 'pdf', pages => integer(3), more => 'yes' },
    );
    publish_confirmed( $channel, $exchange, '', $_, headers => $sent{$_} ) for qw(none one both);
    my %routed;
    for my $match (qw(all any)) {
        while ( my $message = get( $channel, "interop.$match" ) ) {
            push @{ $routed{$match} }, $message->{body};
        }
    }
    check( 'x-match any', $routed{any}, [qw(one both)] );
    check( 'x-match all', $routed{all}, ['both'] );
}

# Net::AMQP writes a plain number among the headers as a string.
sub integer ($number) { Net::AMQP::Value::Integer->new($number) }

# Of the field types, Net::AMQP writes booleans, 32 bit integers, strings, timestamps, tables and arrays. It can write
# null, too, but not read it.
sub check_header_types ($channel) {
    my $queue      = 'interop.headers';
    my $every_byte = join '', map { chr } 0 .. 255;
    my $text       = encode_utf8('grüß dich, 世界 🐰');
    my %sent       = (
        true           => Net::AMQP::Value::true,
        false          => Net::AMQP::Value::false,
        minimum        => integer( -2**31 ),
        maximum        => integer( 2**31 - 1 ),
        string         => $text,
        'empty string' => '',
        'every byte'   => $every_byte,
        'digits'       => Net::AMQP::Value::String->new('007'),
        timestamp      => Net::AMQP::Value::Timestamp->new(4102444800),
        table          => { inner => { number => -1, list => [ 'a', [] ] } },
        'empty table'  => {},
        array          => [ 1, 'two', { three => 3 }, [] ],
        'empty array'  => [],
    );
    my %read = (
        %sent,
        true      => 1,
        false     => 0,
        minimum   => -2**31,
        maximum   => 2**31 - 1,
        digits    => '007',
        timestamp => 4102444800,
    );
    my %properties = (
        content_type     => 'text/plain',
        content_encoding => 'utf-8',
        delivery_mode    => 2,
        priority         => 4,
        correlation_id   => 'correlation',
        reply_to         => 'reply.here',
        expiration       => '60000',
        message_id       => 'message',
        timestamp        => 1700000000,
        type             => 'greeting',
        user_id          => $ENV{AMQP_USER},
        app_id           => 'interop',
    );
    declare_queue( $channel, $queue );
    publish( $channel, '', $queue, 'all of it', %properties, headers => \%sent );
    my $header = get_soon( $channel, $queue )->{header};
    check( $_, $header->$_, $properties{$_} ) for sort keys %properties;
    check( "header $_", $header->headers->{$_}, $read{$_} ) for sort keys %read;
    check( 'no other headers', [ sort keys %{ $header->headers } ], [ sort keys %read ] );
}

# ---- what happens to messages in queues

sub reject_next ( $channel, $queue ) {
    my ( $messages, $tag ) = consume( $channel, $queue, no_ack => 0 );
    $channel->reject( delivery_tag => next_message($messages)->{delivery_tag}, requeue => 0 );
    request( $channel, 'cancel', consumer_tag => $tag );
}

sub dead_letter {
    my $channel = channel();
    my @exchange = ( 'x-dead-letter-exchange'    => 'interop.dlx' );
    my @key      = ( 'x-dead-letter-routing-key' => 'dead' );
    my ( $asked, $own ) = ( 'interop.dead', 'interop.dead-own-key' );
    declare_exchange( $channel, 'interop.dlx', 'direct' );
    declare_queue( $channel, $_ ) for $asked, $own;
    bind_queue( $channel, $asked, 'interop.dlx', 'dead' );
    bind_queue( $channel, $own,   'interop.dlx', 'interop.expiring' );

    declare_queue( $channel, 'interop.rejecting', arguments => { @exchange, @key } );
    publish( $channel, '', 'interop.rejecting', 'bad' );
    reject_next( $channel, 'interop.rejecting' );
    check_count( 'rejected, with the routing key asked for', $channel, $asked, 1 );

    declare_queue( $channel, 'interop.expiring', arguments => { @exchange, 'x-message-ttl' => 1 } );
    publish( $channel, '', 'interop.expiring', 'old' );
    check_count( 'expired, with its own routing key', $channel, $own, 1 );

    declare_queue( $channel, 'interop.limited', arguments => { @exchange, @key, 'x-max-length' => 1 } );
    publish( $channel, '', 'interop.limited', $_ ) for qw(oldest newest);
    check_count( 'length-limited', $channel, $asked, 2 );
    check( 'the oldest went', get_soon( $channel, 'interop.limited' )->{body}, 'newest' );
    cannot( 'Net::AMQP cannot read the 64 bit integer that is the count', 'x-death' );
}

sub ttl {
    my $connection = connection();
    my $channel    = channel($connection);
    declare_queue( $channel, 'interop.ttl-short', arguments => { 'x-message-ttl' => 100 } );
    declare_queue( $channel, 'interop.ttl-long',  arguments => { 'x-message-ttl' => 60000 } );
    publish( $channel, '', 'interop.ttl-short', 'x-message-ttl', expiration => '60000' );
    publish( $channel, '', 'interop.ttl-long',  'expiration',    expiration => '100' );
    publish( $channel, '', 'interop.ttl-long',  'stays' );
    check_count( 'both are in the queue',       $channel, 'interop.ttl-long',  2 );
    check_count( 'x-message-ttl is smaller',    $channel, 'interop.ttl-short', 0 );
    check_count( 'expiration is smaller',       $channel, 'interop.ttl-long',  1 );
    check( 'neither of them', get_soon( $channel, 'interop.ttl-long' )->{body}, 'stays' );

    declare_queue( $channel, 'interop.expires', arguments => { 'x-expires' => 300 } );
    pause(1);    # Asking for it sooner would be using it.
    refused( 'x-expires', 404, $connection, 'declare_queue', queue => 'interop.expires', passive => 1 );
}

sub priority {
    my $queue   = 'interop.priority';
    my $channel = confirming();
    declare_queue( $channel, $queue, arguments => { 'x-max-priority' => 10 } );
    publish_confirmed( $channel, '', $queue, 'none', priority => undef );
    publish_confirmed( $channel, '', $queue, $_, priority => $_ ) for 1, 5, 3, 0, 9;
    publish_confirmed( $channel, '', $queue, '5 again', priority => 5 );
    my ($messages) = consume( $channel, $queue );
    my @bodies = map { next_message($messages)->{body} } 1 .. 7;
    check( 'by priority', \@bodies, [ 9, 5, '5 again', 3, 1, 'none', 0 ] );
}

sub direct_reply_to {
    my ( $requests, $pseudo_queue ) = ( 'interop.requests', 'amq.rabbitmq.reply-to' );
    my ( $client, $server ) = ( channel(), channel() );
    declare_queue( $server, $requests );
    my $serve = sub ($request) {
        my %header = ( correlation_id => $request->{header}->correlation_id );
        publish( $server, '', $request->{header}->reply_to, 'answer to ' . $request->{body}->payload, %header );
    };
    request( $server, 'consume', queue => $requests, on_consume => $serve );
    my ($answers) = consume( $client, $pseudo_queue );
    my $answered = 0;
    for my $id ( map { "call $_" } 1 .. 100 ) {
        publish( $client, '', $requests, $id, reply_to => $pseudo_queue, correlation_id => $id );
        my $answer = next_message($answers);
        $answered++ if $answer->{body} eq "answer to $id" && $answer->{header}->correlation_id eq $id;
    }
    check( 'each call has its own answer', $answered, 100 );
}

sub large_message {
    my $queue   = 'interop.large';
    my $channel = channel();
    declare_queue( $channel, $queue );
    my ($messages) = consume( $channel, $queue );
    my $pattern = join '', map { chr( $_ % 251 ) } 0 .. 65535;
    for my $size ( 0, FRAME_MAX - 8, FRAME_MAX - 7, 20 << 20 ) {
        my $body = substr $pattern x ( 1 + $size / length $pattern ), 0, $size;
        publish( $channel, '', $queue, $body );
        check( "$size bytes", next_message($messages)->{body} eq $body ? 1 : 0 );
    }
}

# ---- what the broker tells

sub cancel_notify {
    my $queue = 'interop.cancelled';
    my ( $channel, $other, $cancelled ) = ( channel(), channel(), AE::cv );
    declare_queue( $channel, $queue );
    my ( undef, $tag ) = consume( $channel, $queue, on_cancel => $cancelled );
    request( $other, 'delete_queue', queue => $queue );
    my $cancel = received( $cancelled, 'on_cancel' )->method_frame;
    check( 'by the broker', ref $cancel, 'Net::AMQP::Protocol::Basic::Cancel' );
    check( 'the consumer is cancelled', $cancel->consumer_tag, $tag );
    declare_queue( $channel, $queue );
    publish( $channel, '', $queue, 'still here' );
    check( 'the channel works on', get_soon( $channel, $queue )->{body}, 'still here' );
}

sub blocked { cannot('AnyEvent::RabbitMQ has no notice of connection.blocked') }

sub recovery {
    my $name    = 'interop.recovery';
    my $closed  = AE::cv;
    my $channel = confirming( channel( connection( on_close => $closed ) ) );
    declare_exchange( $channel, $name, 'direct', durable => 1 );
    declare_queue( $channel, $name, durable => 1 );
    bind_queue( $channel, $name, $name, 'key' );
    publish_confirmed( $channel, $name, 'key', 'kept 1', delivery_mode => 2 );
    publish_confirmed( $channel, $name, 'key', 'lost',   delivery_mode => 1 );
    publish_confirmed( $channel, $name, 'key', 'kept 2', delivery_mode => 2 );
    request( $channel, 'qos', prefetch_count => 1 );
    my ($messages) = consume( $channel, $name, no_ack => 0 );
    check( 'consuming', next_message($messages)->{body}, 'kept 1' );

    control('restart') or return;
    check( 'the application is told', reply_code( received( $closed, 'on_close' ) ), 320 );
    eventually( 'connected again', sub { eval { $channel = channel() } } );
    my @exchange = ( exchange => $name, type => 'direct', passive => 1 );
    check( 'exchange is there', ref request( $channel, 'declare_exchange', @exchange ), 'Net::AMQP::Frame::Method' );
    check( 'queue is there, with the persistent messages', message_count( $channel, $name ), 2 );
    ($messages) = consume( $channel, $name );
    check( 'no transient one', [ map { next_message($messages)->{body} } 1 .. 2 ], [ 'kept 1', 'kept 2' ] );
    publish( $channel, $name, 'key', 'by the old binding' );
    check( 'publishing and consuming go on', next_message($messages)->{body}, 'by the old binding' );
}

my @scenarios = (
    [ 'connect'           => \&connect ],
    [ 'auth-failure'      => \&auth_failure ],
    [ 'declare'           => \&declare ],
    [ 'confirms'          => \&confirms ],
    [ 'mandatory-return'  => \&mandatory_return ],
    [ 'consume'           => \&consuming ],
    [ 'get'               => \&getting ],
    [ 'exclusive'         => \&exclusive ],
    [ 'auto-delete'       => \&auto_delete ],
    [ 'exchange-bindings' => \&exchange_bindings ],
    [ 'headers'           => \&headers ],
    [ 'dead-letter'       => \&dead_letter ],
    [ 'ttl'               => \&ttl ],
    [ 'priority'          => \&priority ],
    [ 'direct-reply-to'   => \&direct_reply_to ],
    [ 'large-message'     => \&large_message ],
    [ 'cancel-notify'     => \&cancel_notify ],
    [ 'blocked'           => \&blocked ],
    [ 'recovery'          => \&recovery ],
);

for (@scenarios) {
    ( $scenario, my $run ) = @$_;
    my $name = $scenario;
    next if @ARGV && !any { $_ eq $name } @ARGV;
    for my $part ( $run, \&clean_up ) {
        eval { $part->(); 1 } or check( 'no exception', "$@", '' );
    }
}
done_testing();
