<?php

declare(strict_types=1);

// php-amqp, the extension on top of librabbitmq: objects for channels, exchanges and queues, everything blocking.
// Consumers are callbacks that run while the program waits in consume(); there is no recovery, programs reconnect.

require __DIR__ . '/checks.php';
require __DIR__ . '/php_amqp_shared.php';

$scenarios = [];

// ---- connections, and what is refused on them

$scenarios['connect'] = static function (): void {
    $connection = connection();
    check('logged in', $connection->isConnected());
    cannot('server properties', 'php-amqp does not show the server properties');
    $channel = new AMQPChannel($connection);
    check('a channel opens', $channel->isConnected());
    $channel->close();
    check('the channel closes', $channel->isConnected(), false);
    check('the connection closes', $connection->disconnect());
    check('it is closed', $connection->isConnected(), false);
};

$scenarios['auth-failure'] = static function (): void {
    $wrong = static function (array $settings): array {
        try {
            connection($settings);
            return ['connected'];
        } catch (AMQPConnectionException $error) {
            return [$error->getCode(), $error->getMessage()];
        }
    };
    $refusal = $wrong(['password' => 'not the password']);
    check('a wrong password is refused: 403', $refusal[0], 403);
    check('with ACCESS_REFUSED', str_contains($refusal[1] ?? '', 'ACCESS_REFUSED'));
    check('an unknown vhost is refused: 530', $wrong(['vhost' => 'interop.not.there'])[0], 530);
};

$scenarios['declare'] = static function (): void {
    $connection = connection();
    $channel = new AMQPChannel($connection);
    foreach (['declared', 'declared again the same way'] as $time) {
        $exchange = exchange($channel, 'interop.direct', AMQP_EX_TYPE_DIRECT, AMQP_DURABLE);
        $queue = queue($channel, 'interop.q', AMQP_DURABLE);
        check("queue $time", $queue->getName(), 'interop.q');
    }
    $queue->bind('interop.direct', 'key');
    foreach (['m0', 'm1', 'm2'] as $body) {
        $exchange->publish($body, 'key');
    }
    wait_for('passive declaration tells messages', static fn (): bool => messages($queue) === 3);
    cannot('passive declaration tells consumers', 'php-amqp does not show the number of consumers');
    $absent = refused($connection, fn ($one) => queue($one, 'interop.absent', AMQP_PASSIVE));
    check('what is not there: 404', $absent, 404);
    $absent = refused($connection, fn ($one) => exchange($one, 'interop.absent', 'direct', AMQP_PASSIVE));
    check('no such exchange: 404', $absent, 404);
    check('404 closes the channel only', $connection->isConnected() && messages($queue) === 3);
    check('another durability: 406', refused($connection, fn ($one) => queue($one, 'interop.q')), 406);
    check(
        'another argument: 406',
        refused($connection, fn ($one) => queue($one, 'interop.q', AMQP_DURABLE, ['x-max-length' => 5])),
        406
    );

    $queue->unbind('interop.direct', 'key');
    $exchange->publish('nowhere', 'key');
    check('nothing comes after unbind', drained($queue), ['m0', 'm1', 'm2']);
    publish_to($queue, 'purged');
    check('purge works', $queue->purge());
    cannot('purge tells the number', 'php-amqp does not show how many messages were purged');
    publish_to($queue, 'last');
    check('delete tells the number', $queue->delete(), 1);
    check('deleting a queue twice is fine', $queue->delete(), 0);
    $exchange->delete();
    check('deleting an exchange twice is fine', $exchange->delete());

    $unknown = refused($connection, fn ($one) => exchange($one, 'interop.odd', 'no-such-type'));
    check('unknown exchange type: 503', $unknown, 503);
    check('503 closes the connection', $connection->isConnected(), false);
};

// ---- publishing

$scenarios['confirms'] = static function (): void {
    $channel = channel();
    $queue = queue($channel, 'interop.confirms', AMQP_DURABLE);
    $exchange = new AMQPExchange($channel);
    $channel->confirmSelect();
    $confirmed = 0;
    $refused = 0;
    $channel->setConfirmCallback(
        static function (int $tag, bool $multiple) use (&$confirmed): bool {
            $confirmed = $multiple ? $tag : $confirmed + 1;
            return $confirmed < 1000;
        },
        static function () use (&$refused): bool {
            $refused++;
            return false;
        }
    );
    $sent = array_map(static fn (int $number): string => "m$number", range(0, 999));
    foreach ($sent as $body) {
        $exchange->publish($body, 'interop.confirms', AMQP_NOPARAM, ['delivery_mode' => 2]);
    }
    $channel->waitForConfirm(PATIENCE);
    check('each of 1,000 is confirmed', $confirmed, 1000);
    check('none is refused', $refused, 0);
    check('all are in the queue, in order', drained($queue), $sent);
    $queue->delete();
};

$scenarios['mandatory-return'] = static function (): void {
    $channel = channel();
    $exchange = exchange($channel, 'interop.direct', AMQP_EX_TYPE_DIRECT);
    $events = [];
    $channel->setReturnCallback(static function (
        int $code,
        string $text,
        string $exchange,
        string $key,
        AMQPBasicProperties $properties,
        string $body
    ) use (&$events): void {
        $events[] = [$code, $text];
        $events[] = [$exchange, $key];
        $events[] = $body;
        $events[] = [$properties->getMessageId(), $properties->getContentType(), $properties->getHeaders()];
    });
    $channel->confirmSelect();
    $confirm = static function () use (&$events): bool {
        $events[] = 'confirmed';
        return false;
    };
    $channel->setConfirmCallback($confirm);
    $properties = ['message_id' => 'id-1', 'content_type' => 'text/plain', 'headers' => ['kind' => 'lost']];
    $exchange->publish('come back', 'nobody', AMQP_MANDATORY, $properties);
    $channel->waitForConfirm(PATIENCE);
    check('it says 312 NO_ROUTE', $events[0], [312, 'NO_ROUTE']);
    check('exchange and routing key', $events[1], ['interop.direct', 'nobody']);
    check('body', $events[2], 'come back');
    check('properties', $events[3], ['id-1', 'text/plain', ['kind' => 'lost']]);
    check('the confirm comes behind it', array_slice($events, 4), ['confirmed']);
    $exchange->delete();
};

// ---- receiving

$scenarios['consume'] = static function (): void {
    $connection = connection();
    $channel = new AMQPChannel($connection);
    $queue = queue($channel, 'interop.consume');
    foreach (range(0, 9) as $number) {
        publish_to($queue, "m$number");
    }
    $channel->setPrefetchCount(3);
    $queue->consume();
    $first = delivered($queue, 3);
    check('three are delivered', bodies($first), ['m0', 'm1', 'm2']);
    check('no fourth until an ack', quiet($queue));
    $queue->ack($first[1]->getDeliveryTag(), AMQP_MULTIPLE);
    check('ack with multiple makes room for two', bodies(delivered($queue, 2)), ['m3', 'm4']);
    check('and for no third', quiet($queue));
    $queue->nack($first[2]->getDeliveryTag(), AMQP_REQUEUE);
    [$again] = delivered($queue, 1);
    check('nack with requeue: it comes again, redelivered', [$again->getBody(), $again->isRedelivery()], ['m2', true]);
    $queue->reject($again->getDeliveryTag());
    [$next] = delivered($queue, 1);
    check('reject without requeue: the next one comes', [$next->getBody(), $next->isRedelivery()], ['m5', false]);
    $queue->cancel($queue->getConsumerTag());
    $channel->close();

    $queue = queue(new AMQPChannel($connection), 'interop.consume');
    wait_for('cancelled, what was not acknowledged is there again', static fn (): bool => messages($queue) === 7);
    $head = $queue->get();
    check('at the head, redelivered', [$head->getBody(), $head->isRedelivery()], ['m3', true]);
    $queue->delete();
};

$scenarios['get'] = static function (): void {
    $channel = channel();
    $exchange = exchange($channel, 'interop.direct', AMQP_EX_TYPE_DIRECT);
    $queue = queue($channel, 'interop.get');
    $queue->bind('interop.direct', 'key');
    check('an empty queue says so', $queue->get(AMQP_AUTOACK), false);
    foreach (['first', 'second'] as $body) {
        $exchange->publish($body, 'key');
    }
    $first = $queue->get();
    check('body', $first->getBody(), 'first');
    check('exchange and routing key', [$first->getExchangeName(), $first->getRoutingKey()], ['interop.direct', 'key']);
    check('not redelivered', $first->isRedelivery(), false);
    cannot('messages left', 'php-amqp does not show the message count of get-ok');
    $queue->reject($first->getDeliveryTag(), AMQP_REQUEUE);
    $again = $queue->get();
    check('requeued, it comes again, redelivered', [$again->getBody(), $again->isRedelivery()], ['first', true]);
    $queue->ack($again->getDeliveryTag());
    check('get without ack', $queue->get(AMQP_AUTOACK)->getBody(), 'second');
    check('all are gone', $queue->get(AMQP_AUTOACK), false);
    $queue->delete();
    $exchange->delete();
};

$scenarios['exclusive'] = static function (): void {
    $other = connection();
    $owner = connection();
    $name = own_queue(new AMQPChannel($owner))->getName();
    check('the server names it', str_starts_with($name, 'amq.gen-'));
    check('another connection is refused: 405', refused($other, fn ($one) => queue($one, $name, AMQP_PASSIVE)), 405);
    $owner->disconnect();
    wait_for('gone with its connection', static fn (): bool => !exists($other, $name));

    $queue = queue(new AMQPChannel($other), 'interop.single');
    $queue->setFlags(AMQP_EXCLUSIVE); // of the consumer now: consume() reads the queue's flags
    $queue->consume();
    check(
        'a second consumer is refused: 403',
        refused($other, fn ($one) => queue($one, 'interop.single')->consume()),
        403
    );
    $queue->delete();
};

$scenarios['auto-delete'] = static function (): void {
    $connection = connection();
    $channel = new AMQPChannel($connection);
    $queue = queue($channel, 'interop.auto', AMQP_AUTODELETE);
    $queue->consume(null, AMQP_NOPARAM, 'first');
    $queue->consume(null, AMQP_NOPARAM, 'second');
    $queue->cancel('first');
    check('the queue stays with a consumer', exists($connection, 'interop.auto'));
    $queue->cancel('second');
    wait_for('it goes with its last consumer', static fn (): bool => !exists($connection, 'interop.auto'));

    exchange($channel, 'interop.auto', AMQP_EX_TYPE_FANOUT, AMQP_AUTODELETE);
    $bound = own_queue($channel);
    $bound->bind('interop.auto', 'one');
    $bound->bind('interop.auto', 'two');
    $there = fn (): int => refused($connection, fn ($one) => exchange($one, 'interop.auto', 'fanout', AMQP_PASSIVE));
    $bound->unbind('interop.auto', 'one');
    check('the exchange stays with a binding', $there(), 0);
    $bound->unbind('interop.auto', 'two');
    check('it goes with its last binding', $there(), 404);
};

$scenarios['exchange-bindings'] = static function (): void {
    $channel = channel();
    $topic = exchange($channel, 'interop.topic', AMQP_EX_TYPE_TOPIC);
    $fanout = exchange($channel, 'interop.fanout', AMQP_EX_TYPE_FANOUT);
    $queue = own_queue($channel);
    $queue->bind('interop.fanout');
    $fanout->bind('interop.topic', 'stock.#');
    $topic->publish('other topic', 'weather.rain');
    $topic->publish('both', 'stock.eu.sap');
    $message = await_message($queue);
    check(
        'one comes through both, with its exchange and key',
        [$message->getBody(), $message->getExchangeName(), $message->getRoutingKey()],
        ['both', 'interop.topic', 'stock.eu.sap']
    );
    check('the other one does not', $queue->get(), false);
    $fanout->unbind('interop.topic', 'stock.#');
    $topic->publish('late', 'stock.eu.sap');
    check('after unbind nothing comes', $queue->get(), false);
    $topic->delete();
    $fanout->delete();
};

// ---- properties and headers

/** Every type that the client writes; it reads what it has written. Integers have 64 bits. */
function field_types(): array
{
    return [
        'true' => true,
        'false' => false,
        'int' => 1,
        'int-min' => PHP_INT_MIN,
        'int-max' => PHP_INT_MAX,
        'float' => M_PI,
        'decimal' => new AMQPDecimal(2, 123456),
        'string' => 'grüße, 世界 😀',
        'binary' => "\x00\x01\xff",
        'empty-string' => '',
        'timestamp' => new AMQPTimestamp(1_700_000_000),
        'null' => null,
        'table' => ['inner' => ['deep' => 'down', 'number' => 1]],
        'array' => ['one', 'two', ['three' => 3]], // of others it reads only strings and tables
        'empty-array' => [],
    ];
}

$scenarios['headers'] = static function (): void {
    $channel = channel();
    $queue = own_queue($channel);
    $now = time();
    publish_to($queue, '{}', [
        'content_type' => 'application/json', 'content_encoding' => 'gzip', 'headers' => field_types(),
        'delivery_mode' => 2, 'priority' => 7, 'correlation_id' => 'correlation', 'reply_to' => 'reply',
        'expiration' => '60000', 'message_id' => 'message', 'timestamp' => $now, 'type' => 'kind',
        'user_id' => getenv('AMQP_USER'), 'app_id' => 'application',
    ]);
    $seen = await_message($queue);
    check('content type', $seen->getContentType(), 'application/json');
    check('content encoding', $seen->getContentEncoding(), 'gzip');
    check('delivery mode', $seen->getDeliveryMode(), 2);
    check('priority', $seen->getPriority(), 7);
    check('correlation id', $seen->getCorrelationId(), 'correlation');
    check('reply to', $seen->getReplyTo(), 'reply');
    check('expiration', $seen->getExpiration(), '60000');
    check('message id', $seen->getMessageId(), 'message');
    check('timestamp', $seen->getTimestamp(), $now);
    check('type', $seen->getType(), 'kind');
    check('user id', $seen->getUserId(), getenv('AMQP_USER'));
    check('app id', $seen->getAppId(), 'application');
    cannot('cluster id', 'php-amqp does not write the cluster id');
    check('as many headers as were sent', array_keys($seen->getHeaders()), array_keys(field_types()));
    foreach (field_types() as $name => $value) {
        check("header $name", $seen->getHeader($name), $value);
    }

    $exchange = exchange($channel, 'interop.match', AMQP_EX_TYPE_HEADERS);
    $queues = [];
    foreach (['all', 'any'] as $match) {
        $queues[$match] = own_queue($channel);
        $queues[$match]->bind('interop.match', '', ['x-match' => $match, 'format' => 'pdf', 'pages' => 3]);
    }
    $exchange->publish('both', '', AMQP_NOPARAM, ['headers' => ['format' => 'pdf', 'pages' => 3, 'more' => true]]);
    $exchange->publish('format only', '', AMQP_NOPARAM, ['headers' => ['format' => 'pdf', 'pages' => 4]]);
    $exchange->publish('neither', '', AMQP_NOPARAM, ['headers' => ['format' => 'odt']]);
    check('x-match all routes', drained($queues['all']), ['both']);
    check('x-match any routes', drained($queues['any']), ['both', 'format only']);
    $exchange->delete();
};

// ---- what queues do by their arguments

/** A message that queue interop.REASON dropped for this reason, whose body it is, comes to the dead-letter queue. */
function check_death(AMQPQueue $dead, string $reason): void
{
    $message = await_message($dead);
    check("$reason: body and routing key", [$message->getBody(), $message->getRoutingKey()], [$reason, 'dead']);
    $deaths = $message->getHeader('x-death');
    check("$reason: one x-death", count($deaths), 1);
    $death = $deaths[0];
    check("$reason: count", $death['count'], 1);
    check("$reason: reason", $death['reason'], $reason);
    check("$reason: queue", $death['queue'], "interop.$reason");
    check("$reason: exchange", $death['exchange'], '');
    check("$reason: routing-keys", $death['routing-keys'], ["interop.$reason"]);
    check("$reason: time is now", abs(time() - (float) $death['time']->getTimestamp()) < PATIENCE);
    check("$reason: x-first-death-reason", $message->getHeader('x-first-death-reason'), $reason);
    check("$reason: x-first-death-queue", $message->getHeader('x-first-death-queue'), "interop.$reason");
    check("$reason: x-first-death-exchange", $message->getHeader('x-first-death-exchange'), '');
}

$scenarios['dead-letter'] = static function (): void {
    $channel = channel();
    $exchange = exchange($channel, 'interop.dlx', AMQP_EX_TYPE_DIRECT);
    $dead = own_queue($channel);
    $dead->bind('interop.dlx', 'dead');
    $to_dead = ['x-dead-letter-exchange' => 'interop.dlx', 'x-dead-letter-routing-key' => 'dead'];

    $rejecting = queue($channel, 'interop.rejected', AMQP_EXCLUSIVE, $to_dead);
    publish_to($rejecting, 'rejected');
    $rejecting->reject(await_message($rejecting)->getDeliveryTag());
    check_death($dead, 'rejected');

    publish_to(queue($channel, 'interop.expired', AMQP_EXCLUSIVE, $to_dead + ['x-message-ttl' => 50]), 'expired');
    check_death($dead, 'expired');

    $full = queue($channel, 'interop.maxlen', AMQP_EXCLUSIVE, $to_dead + ['x-max-length' => 1]);
    publish_to($full, 'maxlen');
    publish_to($full, 'stays');
    check_death($dead, 'maxlen');
    $exchange->delete();

    // The usual retry: rejected messages wait in a queue whose time to live brings them back.
    $to = static fn (string $queue): array => ['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $queue];
    $work = queue($channel, 'interop.work', AMQP_EXCLUSIVE, $to('interop.retry'));
    queue($channel, 'interop.retry', AMQP_EXCLUSIVE, $to('interop.work') + ['x-message-ttl' => 50]);
    publish_to($work, 'retried');
    foreach ([1, 2] as $attempt) {
        $work->reject(await_message($work)->getDeliveryTag());
    }
    $deaths = array_map(
        static fn (array $death): array => [$death['queue'], $death['reason'], $death['count']],
        await_message($work)->getHeader('x-death')
    );
    $expected = [['interop.retry', 'expired', 2], ['interop.work', 'rejected', 2]];
    check('twice by the same queue counts 2', $deaths, $expected);
};

$scenarios['ttl'] = static function (): void {
    $connection = connection();
    $channel = new AMQPChannel($connection);
    $short = own_queue($channel, ['x-message-ttl' => 400]);
    $long = own_queue($channel, ['x-message-ttl' => 60_000]);
    publish_to($short, "the queue's");
    publish_to($short, "the queue's is smaller", ['expiration' => '60000']);
    publish_to($long, 'its own is smaller', ['expiration' => '400']);
    publish_to($long, 'stays');
    wait_for('they are there at first', static fn (): bool => messages($short) === 2 && messages($long) === 2);
    wait_for('x-message-ttl ends messages', static fn (): bool => messages($short) === 0);
    wait_for('expiration ends a message', static fn (): bool => messages($long) === 1);
    check('and only that', $long->get()->getBody(), 'stays');

    queue($channel, 'interop.unused', AMQP_NOPARAM, ['x-expires' => 400]);
    check('a queue with x-expires is there at first', exists($connection, 'interop.unused'));
    usleep(800_000); // asking for it is use, so ask once it must be gone
    check('x-expires deletes it', exists($connection, 'interop.unused'), false);
};

$scenarios['priority'] = static function (): void {
    $queue = own_queue(channel(), ['x-max-priority' => 10]);
    foreach ([1, 5, 3, 0, 9, 5] as $number => $priority) {
        publish_to($queue, "$priority as $number", ['priority' => $priority]);
    }
    publish_to($queue, 'none');
    $expected = ['9 as 4', '5 as 1', '5 as 5', '3 as 2', '1 as 0', '0 as 3', 'none'];
    check('by priority, equal ones in order', drained($queue), $expected);
};

$scenarios['direct-reply-to'] = static function (): void {
    $server = queue(channel(), 'interop.rpc', AMQP_AUTODELETE);
    $answering = new AMQPExchange($server->getChannel());
    $client = channel();
    $asking = new AMQPExchange($client);
    $replies = new AMQPQueue($client);
    $replies->setName('amq.rabbitmq.reply-to');
    $replies->consume(null, AMQP_AUTOACK);
    $server->consume(null, AMQP_AUTOACK);
    $answers = [];
    $expected = [];
    foreach (range(1, 100) as $number) {
        $properties = ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => "call $number"];
        $asking->publish("$number", 'interop.rpc', AMQP_NOPARAM, $properties);
        [$request] = delivered($server, 1);
        $correlation = ['correlation_id' => $request->getCorrelationId()];
        $answering->publish("answer to {$request->getBody()}", $request->getReplyTo(), AMQP_NOPARAM, $correlation);
        [$reply] = delivered($replies, 1);
        $answers[] = [$reply->getCorrelationId(), $reply->getBody()];
        $expected[] = ["call $number", "answer to $number"];
    }
    check('100 calls, each its own answer', $answers, $expected);
};

$scenarios['large-message'] = static function (): void {
    $channel = channel();
    $frame_max = $channel->getConnection()->getMaxFrameSize();
    $queue = own_queue($channel);
    foreach ([0, $frame_max - 8, $frame_max - 7, 20 << 20] as $size) {
        $body = $size > 0 ? random_bytes($size) : '';
        publish_to($queue, $body);
        $seen = await_message($queue)->getBody(); // false when it is empty
        check("$size bytes come back the same", $seen === ($body === '' ? false : $body));
    }
};

// ---- what the broker tells of its own accord

$scenarios['cancel-notify'] = static function (): void {
    $channel = channel();
    $queue = queue($channel, 'interop.cancelled');
    $queue->consume();
    queue(channel(), 'interop.cancelled')->delete();
    check('the channel works on', str_starts_with(own_queue($channel)->getName(), 'amq.gen-'));
    cannot('told of it', 'php-amqp does not declare the capability consumer_cancel_notify');
};

$scenarios['blocked'] = static function (): void {
    throw new Skip('php-amqp has no notice of connection.blocked');
};

$scenarios['recovery'] = static function (): void {
    $connection = connection();
    $channel = new AMQPChannel($connection);
    $exchange = exchange($channel, 'interop.durable', AMQP_EX_TYPE_DIRECT, AMQP_DURABLE);
    foreach (['interop.kept', 'interop.consumed'] as $name) {
        queue($channel, $name, AMQP_DURABLE)->bind('interop.durable', $name);
    }
    $consumed = queue($channel, 'interop.consumed', AMQP_DURABLE);
    $consumed->consume(null, AMQP_AUTOACK);
    $channel->confirmSelect();
    $confirmed = 0;
    $channel->setConfirmCallback(static function (int $tag) use (&$confirmed): bool {
        $confirmed = $tag;
        return $tag < 2;
    });
    $exchange->publish('persistent', 'interop.kept', AMQP_NOPARAM, ['delivery_mode' => 2]);
    $exchange->publish('transient', 'interop.kept', AMQP_NOPARAM, ['delivery_mode' => 1]);
    $channel->waitForConfirm(PATIENCE);
    $exchange->publish('before', 'interop.consumed', AMQP_NOPARAM, ['delivery_mode' => 2]);
    check('consuming before the restart', bodies(delivered($consumed, 1)), ['before']);

    try {
        control('restart');
    } catch (Skip $skip) {
        delete_durables($channel);
        throw $skip;
    }
    $lost = false;
    try {
        delivered($consumed, 1);
    } catch (AMQPException $error) {
        $lost = !$connection->isConnected();
    }
    check('the consumer is told that the connection is lost', $lost);
    wait_for('the program reconnects', static function () use ($connection): bool {
        try {
            return $connection->reconnect();
        } catch (AMQPConnectionException) {
            return false;
        }
    });
    $channel = new AMQPChannel($connection);
    $passive = static fn (string $name): AMQPQueue => queue($channel, $name, AMQP_PASSIVE);
    [$kept, $consumed] = array_map($passive, ['interop.kept', 'interop.consumed']);
    $exchange = exchange($channel, 'interop.durable', AMQP_EX_TYPE_DIRECT, AMQP_DURABLE | AMQP_PASSIVE);
    check('the persistent message is there, the transient one is not', drained($kept), ['persistent']);
    $consumed->consume(null, AMQP_AUTOACK);
    $exchange->publish('after', 'interop.consumed', AMQP_NOPARAM, ['delivery_mode' => 2]);
    check('by the old binding, publishing and consuming go on', bodies(delivered($consumed, 1)), ['after']);
    delete_durables($channel);
};

function delete_durables(AMQPChannel $channel): void
{
    foreach (['interop.kept', 'interop.consumed'] as $name) {
        queue($channel, $name, AMQP_DURABLE)->delete();
    }
    exchange($channel, 'interop.durable', AMQP_EX_TYPE_DIRECT, AMQP_DURABLE)->delete();
}

Report::run($scenarios, array_slice($argv, 1));
