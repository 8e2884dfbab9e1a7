<?php

declare(strict_types=1);

// Short ways to php-amqp's objects.

const FOREVER = 10.0; // seconds: the read timeout unless a scenario waits for nothing to come
const QUIET = 0.3; // seconds

function connection(array $settings = []): AMQPConnection
{
    $connection = new AMQPConnection($settings + [
        'host' => getenv('AMQP_HOST'),
        'port' => (int) getenv('AMQP_PORT'),
        'login' => getenv('AMQP_USER'),
        'password' => getenv('AMQP_PASSWORD'),
        'vhost' => getenv('AMQP_VHOST'),
        'read_timeout' => FOREVER,
        'rpc_timeout' => FOREVER,
    ]);
    $connection->connect();
    return $connection;
}

function channel(): AMQPChannel
{
    return new AMQPChannel(connection());
}

function queue(AMQPChannel $channel, string $name, int $flags = AMQP_NOPARAM, array $arguments = []): AMQPQueue
{
    $queue = new AMQPQueue($channel);
    if ($name !== '') {
        $queue->setName($name);
    }
    $queue->setFlags($flags);
    $queue->setArguments($arguments);
    $queue->declareQueue();
    return $queue;
}

/** A server-named queue that goes with the connection. */
function own_queue(AMQPChannel $channel, array $arguments = []): AMQPQueue
{
    return queue($channel, '', AMQP_EXCLUSIVE, $arguments);
}

function exchange(AMQPChannel $channel, string $name, string $type, int $flags = AMQP_NOPARAM): AMQPExchange
{
    $exchange = new AMQPExchange($channel);
    $exchange->setName($name);
    $exchange->setType($type);
    $exchange->setFlags($flags);
    $exchange->declareExchange();
    return $exchange;
}

function publish_to(AMQPQueue $queue, string $body, array $properties = []): void
{
    (new AMQPExchange($queue->getChannel()))->publish($body, $queue->getName(), AMQP_NOPARAM, $properties);
}

/** The number of messages that a passive declaration tells. */
function messages(AMQPQueue $queue): int
{
    $passive = new AMQPQueue($queue->getChannel());
    $passive->setName($queue->getName());
    $passive->setFlags(AMQP_PASSIVE);
    return $passive->declareQueue();
}

/** The reply code with which the broker refuses what is done on a channel of its own; 0 when it does not. */
function refused(AMQPConnection $connection, callable $body): int
{
    try {
        $body(new AMQPChannel($connection));
        return 0;
    } catch (AMQPException $error) {
        return $error->getCode();
    }
}

function exists(AMQPConnection $connection, string $queue): bool
{
    $code = refused($connection, fn (AMQPChannel $channel) => queue($channel, $queue, AMQP_PASSIVE));
    return $code === 0 ? true : ($code === 404 ? false : throw new RuntimeException("refused with $code"));
}

/** Wait for so many messages of the consumers of this queue's channel. */
function delivered(AMQPQueue $queue, int $count): array
{
    $envelopes = [];
    $queue->consume(static function (AMQPEnvelope $envelope) use (&$envelopes, $count): bool {
        $envelopes[] = $envelope;
        return count($envelopes) < $count;
    }, AMQP_JUST_CONSUME);
    return $envelopes;
}

function quiet(AMQPQueue $queue): bool
{
    $queue->getConnection()->setReadTimeout(QUIET);
    try {
        delivered($queue, 1);
        return false;
    } catch (AMQPQueueException $timeout) {
        return true;
    } finally {
        $queue->getConnection()->setReadTimeout(FOREVER);
    }
}

function bodies(array $envelopes): array
{
    return array_map(static fn (AMQPEnvelope $envelope): string => $envelope->getBody(), $envelopes);
}

/** The bodies of all that is in a queue, taken out in order. */
function drained(AMQPQueue $queue): array
{
    $bodies = [];
    while ($envelope = $queue->get(AMQP_AUTOACK)) {
        $bodies[] = $envelope->getBody();
    }
    return $bodies;
}

function await_message(AMQPQueue $queue): AMQPEnvelope
{
    $deadline = microtime(true) + PATIENCE;
    while (microtime(true) < $deadline) {
        if ($envelope = $queue->get()) {
            return $envelope;
        }
        usleep(10_000);
    }
    throw new RuntimeException("nothing came to {$queue->getName()}");
}
