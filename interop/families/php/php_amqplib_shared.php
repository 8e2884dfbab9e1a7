<?php

declare(strict_types=1);

// Short ways to what the scenarios with php-amqplib do.

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolException;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const QUIET = 0.3; // seconds: nothing more comes when nothing came for so long

function connection(string $password = null, string $vhost = null): AMQPStreamConnection
{
    return new AMQPStreamConnection(
        getenv('AMQP_HOST'),
        getenv('AMQP_PORT'),
        getenv('AMQP_USER'),
        $password ?? getenv('AMQP_PASSWORD'),
        $vhost ?? getenv('AMQP_VHOST'),
        read_write_timeout: 2 * PATIENCE
    );
}

/** A server-named queue that goes with the connection. */
function own_queue(AMQPChannel $channel, array $arguments = [], string $name = ''): string
{
    return $channel->queue_declare($name, exclusive: true, arguments: new AMQPTable($arguments))[0];
}

function publish(AMQPChannel $channel, string $queue, string $body, array $properties = []): void
{
    $channel->basic_publish(new AMQPMessage($body, $properties), '', $queue);
}

/** The number of messages that a passive declaration tells. */
function messages(AMQPChannel $channel, string $queue): int
{
    return $channel->queue_declare($queue, passive: true)[1];
}

/** The reply code with which the broker refuses what is done on a channel of its own; 0 when it does not. */
function refused(AMQPStreamConnection $connection, callable $body): int
{
    $channel = $connection->channel();
    try {
        $body($channel);
        $channel->close();
        return 0;
    } catch (AMQPProtocolException | AMQPConnectionClosedException $error) {
        return $error->getCode();
    }
}

function exists(AMQPStreamConnection $connection, string $queue): bool
{
    return match ($code = refused($connection, fn ($one) => $one->queue_declare($queue, passive: true))) {
        0 => true,
        404 => false,
        default => throw new RuntimeException("refused with $code"),
    };
}

/** Wait until a callback has put so many more things into the list, and take them out. */
function take(AMQPChannel $channel, array &$arrived, int $count): array
{
    $deadline = microtime(true) + PATIENCE;
    while (count($arrived) < $count) {
        $channel->wait(null, false, max(0.01, $deadline - microtime(true)));
    }
    return array_splice($arrived, 0, $count);
}

function quiet(AMQPChannel $channel, array &$arrived): bool
{
    try {
        $channel->wait(null, false, QUIET);
    } catch (AMQPTimeoutException) {
    }
    return $arrived === [];
}

/** A consumer that notes its messages. */
function consume(AMQPChannel $channel, string $queue, array &$arrived, bool $no_ack = false): string
{
    $note = static function (AMQPMessage $message) use (&$arrived): void {
        $arrived[] = $message;
    };
    return $channel->basic_consume($queue, no_ack: $no_ack, callback: $note);
}

function bodies(array $messages): array
{
    return array_map(static fn (AMQPMessage $message): string => $message->getBody(), $messages);
}

/** The bodies of all that is in a queue, taken out in order. */
function drained(AMQPChannel $channel, string $queue): array
{
    $bodies = [];
    while ($message = $channel->basic_get($queue, true)) {
        $bodies[] = $message->getBody();
    }
    return $bodies;
}

function await_message(AMQPChannel $channel, string $queue): AMQPMessage
{
    $deadline = microtime(true) + PATIENCE;
    while (microtime(true) < $deadline) {
        if ($message = $channel->basic_get($queue)) {
            return $message;
        }
        usleep(10_000);
    }
    throw new RuntimeException("nothing came to $queue");
}

function headers(AMQPMessage $message): array
{
    return $message->get('application_headers')->getNativeData();
}
