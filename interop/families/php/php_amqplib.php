<?php

declare(strict_types=1);

// php-amqplib, the client in plain PHP: methods named like AMQP's, callbacks that run while the program is in wait().
// It reconnects when it is told to; what is declared and consumed is then the program's to repeat.

require __DIR__ . '/checks.php';
require 'PhpAmqpLib/autoload.php';
require __DIR__ . '/php_amqplib_shared.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Exchange\AMQPExchangeType;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPAbstractCollection as FieldType;
use PhpAmqpLib\Wire\AMQPArray;
use PhpAmqpLib\Wire\AMQPDecimal;
use PhpAmqpLib\Wire\AMQPTable;

const FRAME_MAX = 131072; // what the client and the broker agree on; the client does not show it

$scenarios = [];

// ---- connections, and what is refused on them

$scenarios['connect'] = static function (): void {
    $connection = connection();
    $server = $connection->getServerProperties(); // name => [type, value]
    check('the server names a product', $server['product'][1] !== '');
    foreach (['publisher_confirms', 'consumer_cancel_notify', 'basic.nack'] as $name) {
        check("capability $name", $server['capabilities'][1][$name] ?? null, ['t', 1]);
    }
    $channel = $connection->channel();
    check('a channel opens', $channel->is_open());
    $channel->close();
    check('the channel closes', $channel->is_open(), false);
    $connection->close();
    check('the connection closes', $connection->isConnected(), false);
};

$scenarios['auth-failure'] = static function (): void {
    $refusal = static function (callable $connect): int {
        try {
            $connect();
            return 0;
        } catch (AMQPConnectionClosedException $error) {
            return $error->getCode();
        }
    };
    check('a wrong password is refused: 403', $refusal(fn () => connection(password: 'not the password')), 403);
    check('an unknown vhost is refused: 530', $refusal(fn () => connection(vhost: 'interop.not.there')), 530);
};

$scenarios['declare'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    foreach (['declared', 'declared again the same way'] as $time) {
        $channel->exchange_declare('interop.direct', AMQPExchangeType::DIRECT, durable: true, auto_delete: false);
        [$name] = $channel->queue_declare('interop.q', durable: true, auto_delete: false);
        check("queue $time", $name, 'interop.q');
    }
    $channel->queue_bind('interop.q', 'interop.direct', 'key');
    foreach (['m0', 'm1', 'm2'] as $body) {
        $channel->basic_publish(new AMQPMessage($body), 'interop.direct', 'key');
    }
    wait_for('passive declaration tells messages', static fn (): bool => messages($channel, 'interop.q') === 3);
    check('passive declaration tells consumers', $channel->queue_declare('interop.q', passive: true)[2], 0);
    $absent = refused($connection, fn ($one) => $one->queue_declare('interop.absent', passive: true));
    check('what is not there: 404', $absent, 404);
    $absent = refused($connection, fn ($one) => $one->exchange_declare('interop.absent', 'direct', passive: true));
    check('no such exchange: 404', $absent, 404);
    check('404 closes the channel only', $connection->isConnected() && $channel->is_open());
    $declare = static fn (bool $durable, array $arguments) => static fn (AMQPChannel $one) => $one->queue_declare(
        'interop.q',
        durable: $durable,
        auto_delete: false,
        arguments: new AMQPTable($arguments)
    );
    check('another durability: 406', refused($connection, $declare(false, [])), 406);
    check('another argument: 406', refused($connection, $declare(true, ['x-max-length' => 5])), 406);

    $channel->queue_unbind('interop.q', 'interop.direct', 'key');
    $channel->basic_publish(new AMQPMessage('nowhere'), 'interop.direct', 'key');
    check('nothing comes after unbind; purge tells the number', $channel->queue_purge('interop.q'), 3);
    publish($channel, 'interop.q', 'last');
    check('delete tells the number', $channel->queue_delete('interop.q'), 1);
    check('deleting a queue twice is fine', $channel->queue_delete('interop.q'), 0);
    $channel->exchange_delete('interop.direct');
    $channel->exchange_delete('interop.direct');
    check('deleting an exchange twice is fine', $channel->is_open());

    $unknown = refused($connection, fn ($one) => $one->exchange_declare('interop.odd', 'no-such-type'));
    check('unknown exchange type: 503', $unknown, 503);
    check('503 closes the connection', $connection->isConnected(), false);
};

// ---- publishing

$scenarios['confirms'] = static function (): void {
    $channel = connection()->channel();
    $channel->queue_declare('interop.confirms', durable: true, auto_delete: false);
    $confirmed = [];
    $refused = [];
    $channel->set_ack_handler(static function (AMQPMessage $message) use (&$confirmed): void {
        $confirmed[] = $message->getBody();
    });
    $channel->set_nack_handler(static function (AMQPMessage $message) use (&$refused): void {
        $refused[] = $message->getBody();
    });
    $channel->confirm_select();
    $sent = array_map(static fn (int $number): string => "m$number", range(0, 999));
    foreach ($sent as $body) {
        publish($channel, 'interop.confirms', $body, ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]);
    }
    $channel->wait_for_pending_acks(PATIENCE);
    check('none is refused', $refused, []);
    check('each of 1,000 is confirmed', count(array_unique($confirmed)), 1000);
    check('all are in the queue, in order', drained($channel, 'interop.confirms'), $sent);
    $channel->queue_delete('interop.confirms');
};

$scenarios['mandatory-return'] = static function (): void {
    $channel = connection()->channel();
    $channel->exchange_declare('interop.direct', AMQPExchangeType::DIRECT, auto_delete: false);
    $events = [];
    $channel->set_return_listener(static function (
        int $code,
        string $text,
        string $exchange,
        string $key,
        AMQPMessage $message
    ) use (&$events): void {
        array_push($events, [$code, $text], [$exchange, $key], $message->getBody());
        array_push($events, $message->get('message_id'), $message->get('content_type'), headers($message));
    });
    $channel->set_ack_handler(static function () use (&$events): void {
        $events[] = 'confirmed';
    });
    $channel->confirm_select();
    $message = new AMQPMessage('come back', ['message_id' => 'id-1', 'content_type' => 'text/plain']);
    $message->set('application_headers', new AMQPTable(['kind' => 'lost']));
    $channel->basic_publish($message, 'interop.direct', 'nobody', true);
    $channel->wait_for_pending_acks_returns(PATIENCE);
    check('it says 312 NO_ROUTE', $events[0], [312, 'NO_ROUTE']);
    check('exchange and routing key', $events[1], ['interop.direct', 'nobody']);
    check('body', $events[2], 'come back');
    check('properties', array_slice($events, 3, 3), ['id-1', 'text/plain', ['kind' => 'lost']]);
    check('the confirm comes behind it', array_slice($events, 6), ['confirmed']);
    $channel->exchange_delete('interop.direct');
};

// ---- receiving

$scenarios['consume'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    $channel->queue_declare('interop.consume', auto_delete: false);
    foreach (range(0, 9) as $number) {
        publish($channel, 'interop.consume', "m$number");
    }
    $channel->basic_qos(0, 3, false);
    $arrived = [];
    $tag = consume($channel, 'interop.consume', $arrived);
    $first = take($channel, $arrived, 3);
    check('three are delivered', bodies($first), ['m0', 'm1', 'm2']);
    check('no fourth until an ack', quiet($channel, $arrived));
    $first[1]->ack(true);
    check('ack with multiple makes room for two', bodies(take($channel, $arrived, 2)), ['m3', 'm4']);
    check('and for no third', quiet($channel, $arrived));
    $first[2]->nack(true);
    [$again] = take($channel, $arrived, 1);
    check('nack with requeue: it comes again, redelivered', [$again->getBody(), $again->isRedelivered()], ['m2', true]);
    $again->reject(false);
    [$next] = take($channel, $arrived, 1);
    check('reject without requeue: the next one comes', [$next->getBody(), $next->isRedelivered()], ['m5', false]);
    $channel->basic_cancel($tag);
    check('cancelled: no consumer is left', $channel->queue_declare('interop.consume', passive: true)[2], 0);
    $channel->close();

    $channel = $connection->channel();
    wait_for('what was not acknowledged is there again', fn (): bool => messages($channel, 'interop.consume') === 7);
    $head = $channel->basic_get('interop.consume');
    check('at the head, redelivered', [$head->getBody(), $head->isRedelivered()], ['m3', true]);
    $channel->queue_delete('interop.consume');
};

$scenarios['get'] = static function (): void {
    $channel = connection()->channel();
    $channel->exchange_declare('interop.direct', AMQPExchangeType::DIRECT, auto_delete: false);
    $channel->queue_declare('interop.get', auto_delete: false);
    $channel->queue_bind('interop.get', 'interop.direct', 'key');
    check('an empty queue says so', $channel->basic_get('interop.get', true), null);
    foreach (['first', 'second'] as $body) {
        $channel->basic_publish(new AMQPMessage($body), 'interop.direct', 'key');
    }
    $first = $channel->basic_get('interop.get');
    check('body', $first->getBody(), 'first');
    check('exchange and routing key', [$first->getExchange(), $first->getRoutingKey()], ['interop.direct', 'key']);
    check('not redelivered', $first->isRedelivered(), false);
    check('messages left', $first->getMessageCount(), 1);
    $first->reject(true);
    $again = $channel->basic_get('interop.get');
    check('requeued, it comes again, redelivered', [$again->getBody(), $again->isRedelivered()], ['first', true]);
    $again->ack();
    check('get without ack', $channel->basic_get('interop.get', true)->getBody(), 'second');
    check('all are gone', $channel->basic_get('interop.get', true), null);
    $channel->queue_delete('interop.get');
    $channel->exchange_delete('interop.direct');
};

$scenarios['exclusive'] = static function (): void {
    $other = connection();
    $owner = connection();
    $name = own_queue($owner->channel());
    check('the server names it', str_starts_with($name, 'amq.gen-'));
    $locked = refused($other, fn ($one) => $one->queue_declare($name, passive: true));
    check('another connection is refused: 405', $locked, 405);
    $owner->close();
    wait_for('gone with its connection', static fn (): bool => !exists($other, $name));

    $channel = $other->channel();
    $channel->queue_declare('interop.single', auto_delete: false);
    $channel->basic_consume('interop.single', exclusive: true);
    check(
        'a second consumer is refused: 403',
        refused($other, fn ($one) => $one->basic_consume('interop.single')),
        403
    );
    $channel->queue_delete('interop.single');
};

$scenarios['auto-delete'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    $channel->queue_declare('interop.auto', auto_delete: true);
    [$first, $second] = [$channel->basic_consume('interop.auto'), $channel->basic_consume('interop.auto')];
    $channel->basic_cancel($first);
    check('the queue stays with a consumer', exists($connection, 'interop.auto'));
    $channel->basic_cancel($second);
    wait_for('it goes with its last consumer', static fn (): bool => !exists($connection, 'interop.auto'));

    $channel->exchange_declare('interop.auto', AMQPExchangeType::FANOUT, auto_delete: true);
    $bound = own_queue($channel);
    $channel->queue_bind($bound, 'interop.auto', 'one');
    $channel->queue_bind($bound, 'interop.auto', 'two');
    $there = static fn (AMQPChannel $one) => $one->exchange_declare('interop.auto', 'fanout', passive: true);
    $channel->queue_unbind($bound, 'interop.auto', 'one');
    check('the exchange stays with a binding', refused($connection, $there), 0);
    $channel->queue_unbind($bound, 'interop.auto', 'two');
    check('it goes with its last binding', refused($connection, $there), 404);
};

$scenarios['exchange-bindings'] = static function (): void {
    $channel = connection()->channel();
    $channel->exchange_declare('interop.topic', AMQPExchangeType::TOPIC, auto_delete: false);
    $channel->exchange_declare('interop.fanout', AMQPExchangeType::FANOUT, auto_delete: false);
    $queue = own_queue($channel);
    $channel->queue_bind($queue, 'interop.fanout');
    $channel->exchange_bind('interop.fanout', 'interop.topic', 'stock.#');
    $channel->basic_publish(new AMQPMessage('other topic'), 'interop.topic', 'weather.rain');
    $channel->basic_publish(new AMQPMessage('both'), 'interop.topic', 'stock.eu.sap');
    $message = await_message($channel, $queue);
    check(
        'one comes through both, with its exchange and key',
        [$message->getBody(), $message->getExchange(), $message->getRoutingKey(), $message->getMessageCount()],
        ['both', 'interop.topic', 'stock.eu.sap', 0]
    );
    $channel->exchange_unbind('interop.fanout', 'interop.topic', 'stock.#');
    $channel->basic_publish(new AMQPMessage('late'), 'interop.topic', 'stock.eu.sap');
    check('after unbind nothing comes', $channel->basic_get($queue), null);
    $channel->exchange_delete('interop.topic');
    $channel->exchange_delete('interop.fanout');
};

// ---- properties and headers

/** Every type that the client writes: name => [type, or null when the value tells; value; how it is read]. */
function field_types(): array
{
    $time = new DateTime('@1700000000');
    $table = ['inner' => ['deep' => 'down', 'number' => 1]];
    $array = [1, 'two', [true], ['four' => 4]];
    return [
        'true' => [null, true, true],
        'false' => [null, false, false],
        'int8-min' => [FieldType::T_INT_SHORTSHORT, -128, -128],
        'int8-max' => [FieldType::T_INT_SHORTSHORT, 127, 127],
        'uint8-max' => [FieldType::T_INT_SHORTSHORT_U, 255, 255],
        'int16-min' => [FieldType::T_INT_SHORT, -32768, -32768],
        'int16-max' => [FieldType::T_INT_SHORT, 32767, 32767],
        'uint16-max' => [FieldType::T_INT_SHORT_U, 65535, 65535],
        'int32-min' => [FieldType::T_INT_LONG, -(2 ** 31), -(2 ** 31)],
        'int32-max' => [FieldType::T_INT_LONG, 2 ** 31 - 1, 2 ** 31 - 1],
        'uint32-max' => [FieldType::T_INT_LONG_U, 2 ** 32 - 1, 2 ** 32 - 1],
        'int64-min' => [FieldType::T_INT_LONGLONG, PHP_INT_MIN, PHP_INT_MIN],
        'int64-max' => [FieldType::T_INT_LONGLONG, PHP_INT_MAX, PHP_INT_MAX],
        'float' => [null, 1.5, '1.5'], // written as a string
        'decimal' => [null, new AMQPDecimal(123456, 2), new AMQPDecimal(123456, 2)],
        'string' => [null, 'grüße, 世界 😀', 'grüße, 世界 😀'],
        'empty-string' => [null, '', ''],
        'bytes' => [FieldType::T_BYTES, "\x00\x01\xff", "\x00\x01\xff"],
        'timestamp' => [null, $time, $time],
        'null' => [null, null, null],
        'table' => [null, $table, $table],
        'array' => [null, $array, $array],
        'empty-table' => [null, new AMQPTable(), []],
        'empty-array' => [null, new AMQPArray(), []],
    ];
}

$scenarios['headers'] = static function (): void {
    $channel = connection()->channel();
    $queue = own_queue($channel);
    $properties = [
        'content_type' => 'application/json', 'content_encoding' => 'gzip', 'delivery_mode' => 2, 'priority' => 7,
        'correlation_id' => 'correlation', 'reply_to' => 'reply', 'expiration' => '60000', 'message_id' => 'message',
        'timestamp' => time(), 'type' => 'kind', 'user_id' => getenv('AMQP_USER'), 'app_id' => 'application',
        'cluster_id' => 'cluster',
    ];
    $table = new AMQPTable();
    foreach (field_types() as $name => [$type, $value]) {
        $table->set($name, $value, $type);
    }
    publish($channel, $queue, '{}', $properties + ['application_headers' => $table]);
    $seen = await_message($channel, $queue);
    foreach ($properties as $name => $value) {
        check($name, $seen->get($name), $value);
    }
    $headers = headers($seen);
    check('as many headers as were sent', array_keys($headers), array_keys(field_types()));
    $types = static fn (AMQPTable $one): array => array_map(static fn ($field) => $field[0], iterator_to_array($one));
    check('of the same types', $types($seen->get('application_headers')), $types($table));
    foreach (field_types() as $name => [, , $expected]) {
        check("header $name", $headers[$name], $expected);
    }

    $channel->exchange_declare('interop.match', AMQPExchangeType::HEADERS, auto_delete: false);
    $queues = [];
    foreach (['all', 'any'] as $match) {
        $queues[$match] = own_queue($channel);
        $arguments = new AMQPTable(['x-match' => $match, 'format' => 'pdf', 'pages' => 3]);
        $channel->queue_bind($queues[$match], 'interop.match', arguments: $arguments);
    }
    $messages = [
        'both' => ['format' => 'pdf', 'pages' => 3, 'more' => true],
        'format only' => ['format' => 'pdf', 'pages' => 4],
        'neither' => ['format' => 'odt'],
    ];
    foreach ($messages as $body => $headers) {
        $message = new AMQPMessage($body, ['application_headers' => new AMQPTable($headers)]);
        $channel->basic_publish($message, 'interop.match');
    }
    check('x-match all routes', drained($channel, $queues['all']), ['both']);
    check('x-match any routes', drained($channel, $queues['any']), ['both', 'format only']);
    $channel->exchange_delete('interop.match');
};

// ---- what queues do by their arguments

/** A message that queue interop.REASON dropped for this reason, whose body it is, comes to the dead-letter queue. */
function check_death(AMQPChannel $channel, string $dead, string $reason): void
{
    $message = await_message($channel, $dead);
    check("$reason: body and routing key", [$message->getBody(), $message->getRoutingKey()], [$reason, 'dead']);
    $headers = headers($message);
    check("$reason: one x-death", count($headers['x-death']), 1);
    $death = $headers['x-death'][0];
    check("$reason: count", $death['count'], 1);
    check("$reason: reason", $death['reason'], $reason);
    check("$reason: queue", $death['queue'], "interop.$reason");
    check("$reason: exchange", $death['exchange'], '');
    check("$reason: routing-keys", $death['routing-keys'], ["interop.$reason"]);
    check("$reason: time is now", abs(time() - $death['time']->getTimestamp()) < PATIENCE);
    check("$reason: x-first-death-reason", $headers['x-first-death-reason'], $reason);
    check("$reason: x-first-death-queue", $headers['x-first-death-queue'], "interop.$reason");
    check("$reason: x-first-death-exchange", $headers['x-first-death-exchange'], '');
}

$scenarios['dead-letter'] = static function (): void {
    $channel = connection()->channel();
    $channel->exchange_declare('interop.dlx', AMQPExchangeType::DIRECT, auto_delete: false);
    $dead = own_queue($channel);
    $channel->queue_bind($dead, 'interop.dlx', 'dead');
    $to_dead = ['x-dead-letter-exchange' => 'interop.dlx', 'x-dead-letter-routing-key' => 'dead'];

    own_queue($channel, $to_dead, 'interop.rejected');
    publish($channel, 'interop.rejected', 'rejected');
    await_message($channel, 'interop.rejected')->reject(false);
    check_death($channel, $dead, 'rejected');

    own_queue($channel, $to_dead + ['x-message-ttl' => 50], 'interop.expired');
    publish($channel, 'interop.expired', 'expired');
    check_death($channel, $dead, 'expired');

    own_queue($channel, $to_dead + ['x-max-length' => 1], 'interop.maxlen');
    publish($channel, 'interop.maxlen', 'maxlen');
    publish($channel, 'interop.maxlen', 'stays');
    check_death($channel, $dead, 'maxlen');
    $channel->exchange_delete('interop.dlx');

    // The usual retry: rejected messages wait in a queue whose time to live brings them back.
    $to = static fn (string $queue): array => ['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $queue];
    own_queue($channel, $to('interop.retry'), 'interop.work');
    own_queue($channel, $to('interop.work') + ['x-message-ttl' => 50], 'interop.retry');
    publish($channel, 'interop.work', 'retried');
    foreach ([1, 2] as $attempt) {
        await_message($channel, 'interop.work')->reject(false);
    }
    $deaths = array_map(
        static fn (array $death): array => [$death['queue'], $death['reason'], $death['count']],
        headers(await_message($channel, 'interop.work'))['x-death']
    );
    $expected = [['interop.retry', 'expired', 2], ['interop.work', 'rejected', 2]];
    check('twice by the same queue counts 2', $deaths, $expected);
};

$scenarios['ttl'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    $short = own_queue($channel, ['x-message-ttl' => 400]);
    $long = own_queue($channel, ['x-message-ttl' => 60_000]);
    publish($channel, $short, "the queue's");
    publish($channel, $short, "the queue's is smaller", ['expiration' => '60000']);
    publish($channel, $long, 'its own is smaller', ['expiration' => '400']);
    publish($channel, $long, 'stays');
    $counts = static fn (): array => [messages($channel, $short), messages($channel, $long)];
    wait_for('they are there at first', static fn (): bool => $counts() === [2, 2]);
    wait_for('x-message-ttl and expiration end messages', static fn (): bool => $counts() === [0, 1]);
    check('and only those', $channel->basic_get($long, true)->getBody(), 'stays');

    $channel->queue_declare('interop.unused', auto_delete: false, arguments: new AMQPTable(['x-expires' => 400]));
    check('a queue with x-expires is there at first', exists($connection, 'interop.unused'));
    usleep(800_000); // asking for it is use, so ask once it must be gone
    check('x-expires deletes it', exists($connection, 'interop.unused'), false);
};

$scenarios['priority'] = static function (): void {
    $channel = connection()->channel();
    $queue = own_queue($channel, ['x-max-priority' => 10]);
    foreach ([1, 5, 3, 0, 9, 5] as $number => $priority) {
        publish($channel, $queue, "$priority as $number", ['priority' => $priority]);
    }
    publish($channel, $queue, 'none');
    $expected = ['9 as 4', '5 as 1', '5 as 5', '3 as 2', '1 as 0', '0 as 3', 'none'];
    check('by priority, equal ones in order', drained($channel, $queue), $expected);
};

$scenarios['direct-reply-to'] = static function (): void {
    $server = connection()->channel();
    $client = connection()->channel();
    $server->queue_declare('interop.rpc', auto_delete: true);
    $requests = [];
    consume($server, 'interop.rpc', $requests, no_ack: true);
    $replies = [];
    consume($client, 'amq.rabbitmq.reply-to', $replies, no_ack: true);
    $answers = [];
    $expected = [];
    foreach (range(1, 100) as $number) {
        $properties = ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => "call $number"];
        publish($client, 'interop.rpc', "$number", $properties);
        [$request] = take($server, $requests, 1);
        $correlation = ['correlation_id' => $request->get('correlation_id')];
        publish($server, $request->get('reply_to'), "answer to {$request->getBody()}", $correlation);
        [$reply] = take($client, $replies, 1);
        $answers[] = [$reply->get('correlation_id'), $reply->getBody()];
        $expected[] = ["call $number", "answer to $number"];
    }
    check('100 calls, each its own answer', $answers, $expected);
};

$scenarios['large-message'] = static function (): void {
    $channel = connection()->channel();
    $queue = own_queue($channel);
    foreach ([0, FRAME_MAX - 8, FRAME_MAX - 7, 20 << 20] as $size) {
        $body = $size > 0 ? random_bytes($size) : '';
        publish($channel, $queue, $body);
        check("$size bytes come back the same", await_message($channel, $queue)->getBody() === $body);
    }
};

// ---- what the broker tells of its own accord

$scenarios['cancel-notify'] = static function (): void {
    $channel = connection()->channel();
    $channel->queue_declare('interop.cancelled', auto_delete: false);
    $tag = $channel->basic_consume('interop.cancelled');
    connection()->channel()->queue_delete('interop.cancelled');
    $cancelled = null;
    try {
        $channel->wait(null, false, PATIENCE);
    } catch (AMQPBasicCancelException $cancel) {
        $cancelled = $cancel->consumerTag;
    }
    check('the application is told which consumer', $cancelled, $tag);
    check('the channel works on', str_starts_with(own_queue($channel), 'amq.gen-'));
};

$scenarios['blocked'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    $events = [];
    $connection->set_connection_block_handler(static function (string $reason) use (&$events): void {
        $events[] = $reason;
    });
    $connection->set_connection_unblock_handler(static function () use (&$events): void {
        $events[] = 'unblocked';
    });
    $queue = own_queue($channel);
    $published = 0;
    control('alarm', 'on');
    try {
        $deadline = microtime(true) + PATIENCE;
        while ($events === [] && microtime(true) < $deadline) {
            publish($channel, $queue, 'm' . $published++);
            $channel->wait(null, true);
            usleep(50_000);
        }
        check('told that it is blocked, and why', ($events[0] ?? '') !== '');
        check('the client knows that it is blocked', $connection->isBlocked());
    } finally {
        control('alarm', 'off');
    }
    $deadline = microtime(true) + PATIENCE;
    while (count($events) < 2 && microtime(true) < $deadline) {
        $channel->wait(null, true);
        usleep(10_000);
    }
    check('told that it is not any more', $events[1] ?? null, 'unblocked');
    wait_for('what was published arrives', static fn (): bool => messages($channel, $queue) === $published);
};

$scenarios['recovery'] = static function (): void {
    $connection = connection();
    $channel = $connection->channel();
    $channel->exchange_declare('interop.durable', AMQPExchangeType::DIRECT, durable: true, auto_delete: false);
    foreach (['interop.kept', 'interop.consumed'] as $queue) {
        $channel->queue_declare($queue, durable: true, auto_delete: false);
        $channel->queue_bind($queue, 'interop.durable', $queue);
    }
    $arrived = [];
    consume($channel, 'interop.consumed', $arrived, no_ack: true);
    $channel->confirm_select();
    $persistent = ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT];
    $channel->basic_publish(new AMQPMessage('persistent', $persistent), 'interop.durable', 'interop.kept');
    $channel->basic_publish(new AMQPMessage('transient'), 'interop.durable', 'interop.kept');
    $channel->basic_publish(new AMQPMessage('before', $persistent), 'interop.durable', 'interop.consumed');
    $channel->wait_for_pending_acks(PATIENCE);
    check('consuming before the restart', bodies(take($channel, $arrived, 1)), ['before']);

    try {
        control('restart');
    } catch (Skip $skip) {
        delete_durables($channel);
        throw $skip;
    }
    $lost = false;
    try {
        $channel->wait(null, false, PATIENCE);
    } catch (AMQPConnectionClosedException) {
        $lost = true;
    }
    check('the consumer is told that the connection is lost', $lost);
    wait_for('the client reconnects', static function () use ($connection): bool {
        try {
            $connection->reconnect();
            return true;
        } catch (AMQPExceptionInterface) {
            return false;
        }
    });
    $channel = $connection->channel();
    consume($channel, 'interop.consumed', $arrived, no_ack: true);
    $channel->basic_publish(new AMQPMessage('after', $persistent), 'interop.durable', 'interop.consumed');
    check('by the old binding, publishing and consuming go on', bodies(take($channel, $arrived, 1)), ['after']);
    $kept = drained($channel, 'interop.kept');
    check('the persistent message is there, the transient one is not', $kept, ['persistent']);
    delete_durables($channel);
};

function delete_durables(AMQPChannel $channel): void
{
    $channel->queue_delete('interop.kept');
    $channel->queue_delete('interop.consumed');
    $channel->exchange_delete('interop.durable');
}

Report::run($scenarios, array_slice($argv, 1));
