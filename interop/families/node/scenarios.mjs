// Scenarios that read the same with both clients: the channel wrapper of amqp-connection-manager has the methods of
// amqplib's channel. `connected(work)` opens a connection, awaits `work(open, connection)` and closes it again;
// `open()` gives a channel of that connection.

import { arrives, check, control, scenario } from './checks.mjs';
import { deadLetter, headers } from './headers.mjs';
import { bodies, collect, drain, next } from './messages.mjs';

/** The scenarios that need nothing but connections and channels. */
export function common(connected) {
  scenario('get', () => connected(get));
  scenario('exclusive', () => exclusive(connected));
  scenario('auto-delete', () => connected(autoDelete));
  scenario('exchange-bindings', () => connected(exchangeBindings));
  scenario('headers', () => connected(headers));
  scenario('dead-letter', () => connected(deadLetter));
  scenario('ttl', () => connected(ttl));
  scenario('priority', () => connected(priority));
  scenario('direct-reply-to', () => connected(directReplyTo));
}

/** For `connect`: what the broker says of itself. */
export function checkServer({ product, capabilities }) {
  check('the server names its product', typeof product === 'string' && product.length > 0);
  for (const name of ['publisher_confirms', 'consumer_cancel_notify', 'basic.nack']) {
    check(`capability ${name}`, capabilities[name], true);
  }
}

/** Check that the broker answers with an error of this code. The channel on which it was asked is gone then. */
async function refused(open, what, code, ask) {
  const channel = await open();
  const answer = await ask(channel).catch((error) => error);
  check(what, answer instanceof Error ? answer.code : answer, code);
}

/** Whether a queue or exchange is missing: `look` declares it passively. */
async function missing(open, look) {
  const channel = await open();
  try {
    await look(channel);
  } catch (error) {
    if (error.code === 404) return true;
    throw error;
  }
  await channel.close();
  return false;
}

export async function declare(open) {
  const channel = await open();
  await channel.assertExchange('interop.declare', 'direct', { durable: true });
  await channel.assertExchange('interop.declare', 'direct', { durable: true });
  const declared = await channel.assertQueue('interop.declare', { durable: true });
  check('queue declared', declared, { queue: 'interop.declare', messageCount: 0, consumerCount: 0 });
  check('declared again the same way', await channel.assertQueue('interop.declare', { durable: true }), declared);
  await channel.bindQueue('interop.declare', 'interop.declare', 'key');
  for (const text of ['a', 'b']) await channel.publish('interop.declare', 'key', Buffer.from(text));
  const { consumerTag } = await collect(channel, 'interop.declare');
  await channel.cancel(consumerTag);
  await channel.close();

  const second = await open();
  await second.consume('interop.declare', () => {});
  const third = await open();
  check('passive declaration tells consumers', (await third.checkQueue('interop.declare')).consumerCount, 1);
  await second.close();
  const again = { queue: 'interop.declare', messageCount: 2, consumerCount: 0 };
  check('passive declaration tells messages', await third.checkQueue('interop.declare'), again);
  check('passive declaration of an exchange', Boolean(await third.checkExchange('interop.declare')));

  await refused(open, 'no such queue: 404', 404, (other) => other.checkQueue('interop.nowhere'));
  await refused(open, 'no such exchange: 404', 404, (other) => other.checkExchange('interop.nowhere'));
  check('the other channels stay open', (await third.checkQueue('interop.declare')).queue, 'interop.declare');
  await refused(open, 'queue of another durability: 406', 406, (other) =>
    other.assertQueue('interop.declare', { durable: false }),
  );
  await refused(open, 'queue with another argument: 406', 406, (other) =>
    other.assertQueue('interop.declare', { durable: true, messageTtl: 1000 }),
  );
  await refused(open, 'exchange of another type: 406', 406, (other) =>
    other.assertExchange('interop.declare', 'fanout'),
  );

  await third.unbindQueue('interop.declare', 'interop.declare', 'key');
  await third.publish('interop.declare', 'key', Buffer.from('unbound'));
  check('unbound, and purge tells the number', await third.purgeQueue('interop.declare'), { messageCount: 2 });
  await third.sendToQueue('interop.declare', Buffer.from('c'));
  check('delete tells the number', await third.deleteQueue('interop.declare'), { messageCount: 1 });
  check('deleting a queue twice', await third.deleteQueue('interop.declare'), { messageCount: 0 });
  await third.deleteExchange('interop.declare');
  check('deleting an exchange twice', Boolean(await third.deleteExchange('interop.declare')));
}

/** `start(channel, queue, onMessage)` consumes with prefetch count 3, `reject(channel, message)` drops a message. */
export async function consume(open, start, reject) {
  const other = await open();
  await other.assertQueue('interop.consume', { exclusive: true });
  for (let n = 1; n <= 10; n++) await other.sendToQueue('interop.consume', Buffer.from(String(n)));
  const channel = await open();
  const messages = [];
  const { consumerTag } = await start(channel, 'interop.consume', (message) => messages.push(message));
  const delivered = (what, number) => arrives(what, () => messages.length >= number);

  await delivered('three are delivered', 3);
  check('and no fourth', [messages.length, (await other.checkQueue('interop.consume')).messageCount], [3, 7]);
  channel.ack(messages[2], true);
  await delivered('three more after an ack of multiple', 6);
  check('in order', bodies(messages), ['1', '2', '3', '4', '5', '6']);
  channel.nack(messages[3], false, true);
  await delivered('nack with requeue comes again', 7);
  const back = messages[6];
  check('as redelivered', [back.content.toString(), back.fields.redelivered], ['4', true]);
  reject(channel, messages[4]);
  await delivered('after a reject comes the next', 8);
  check('which is new', [messages[7].content.toString(), messages[7].fields.redelivered], ['7', false]);

  await channel.cancel(consumerTag);
  check('cancelled', (await other.checkQueue('interop.consume')).consumerCount, 0);
  await channel.close();
  const whole = async () => (await other.checkQueue('interop.consume')).messageCount === 6;
  await arrives('what was not acknowledged is there again', whole);
  const rest = await drain(other, 'interop.consume');
  check('in its place', bodies(rest), ['4', '6', '7', '8', '9', '10']);
  const flags = rest.map((message) => message.fields.redelivered);
  check('marked as redelivered', flags, [true, true, true, false, false, false]);
}

async function get(open) {
  const channel = await open();
  await channel.assertExchange('interop.get', 'direct', { autoDelete: true });
  await channel.assertQueue('interop.get', { exclusive: true });
  await channel.bindQueue('interop.get', 'interop.get', 'key');
  check('an empty queue says so', await channel.get('interop.get'), false);
  for (const text of ['a', 'b', 'c']) await channel.publish('interop.get', 'key', Buffer.from(text));
  const first = await channel.get('interop.get');
  const { deliveryTag, ...fields } = first.fields;
  const expected = { redelivered: false, exchange: 'interop.get', routingKey: 'key', messageCount: 2 };
  check('exchange, routing key, redelivered, messages left', fields, expected);
  check('body', first.content.toString(), 'a');
  channel.ack(first);
  check('the next one', (await channel.get('interop.get')).content.toString(), 'b');
  await channel.close();

  const second = await open();
  const again = await arrives('not acknowledged, it comes again', () => second.get('interop.get'));
  check('as redelivered', [again.content.toString(), again.fields.redelivered], ['b', true]);
  second.ack(again);
  check('the last one', bodies(await drain(second, 'interop.get')), ['c']);
  check('acknowledged, nothing is left', await second.checkQueue('interop.get'), {
    queue: 'interop.get',
    messageCount: 0,
    consumerCount: 0,
  });
}

async function exclusive(connected) {
  await connected(async (foreign) => {
    let queue;
    await connected(async (open) => {
      ({ queue } = await (await open()).assertQueue('', { exclusive: true }));
      check('the server names the queue', queue.startsWith('amq.gen-'));
      await refused(foreign, 'another connection may not look: 405', 405, (channel) => channel.checkQueue(queue));
      await refused(foreign, 'another connection may not consume: 405', 405, (channel) =>
        channel.consume(queue, () => {}),
      );
      check('its own may', (await (await open()).checkQueue(queue)).queue, queue);
    });
    await arrives('gone with its connection', () => missing(foreign, (channel) => channel.checkQueue(queue)));

    const channel = await foreign();
    await channel.assertQueue('interop.exclusive', { exclusive: true });
    await channel.consume('interop.exclusive', () => {}, { exclusive: true });
    await refused(foreign, 'a consumer beside an exclusive one: 403', 403, (other) =>
      other.consume('interop.exclusive', () => {}),
    );
  });
}

async function autoDelete(open) {
  const channel = await open();
  await channel.assertQueue('interop.auto-delete', { autoDelete: true });
  const tags = [];
  for (let n = 0; n < 2; n++) tags.push((await collect(channel, 'interop.auto-delete')).consumerTag);
  await channel.cancel(tags[0]);
  check('the queue stays with one consumer', (await channel.checkQueue('interop.auto-delete')).consumerCount, 1);
  await channel.cancel(tags[1]);
  await arrives('it goes with the last', () => missing(open, (other) => other.checkQueue('interop.auto-delete')));

  await channel.assertExchange('interop.auto-delete', 'direct', { autoDelete: true });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  for (const key of ['one', 'two']) await channel.bindQueue(queue, 'interop.auto-delete', key);
  await channel.unbindQueue(queue, 'interop.auto-delete', 'one');
  check('the exchange stays with one binding', Boolean(await channel.checkExchange('interop.auto-delete')));
  await channel.unbindQueue(queue, 'interop.auto-delete', 'two');
  await arrives('it goes with the last binding', () =>
    missing(open, (other) => other.checkExchange('interop.auto-delete')),
  );
}

async function exchangeBindings(open) {
  const channel = await open();
  await channel.assertExchange('interop.topic', 'topic', { durable: false });
  await channel.assertExchange('interop.fanout', 'fanout', { durable: false });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'interop.fanout', '');
  await channel.bindExchange('interop.fanout', 'interop.topic', 'a.*');
  await channel.publish('interop.topic', 'a.b', Buffer.from('through both'));
  const message = await next(channel, queue, 'a message comes through both');
  check(
    'as it was published',
    [message.content.toString(), message.fields.exchange, message.fields.routingKey],
    ['through both', 'interop.topic', 'a.b'],
  );
  await channel.publish('interop.topic', 'b.b', Buffer.from('another key'));
  await channel.unbindExchange('interop.fanout', 'interop.topic', 'a.*');
  await channel.publish('interop.topic', 'a.b', Buffer.from('unbound'));
  await channel.publish('interop.fanout', '', Buffer.from('straight'));
  const straight = await next(channel, queue, 'after unbind the second exchange still works');
  check('and nothing came before', straight.content.toString(), 'straight');
  check('nor after', await channel.get(queue), false);
  await channel.deleteExchange('interop.topic');
  await channel.deleteExchange('interop.fanout');
}

async function ttl(open) {
  const channel = await open();
  const HOUR = 3_600_000;
  for (const [what, messageTtl, expiration] of [
    ['x-message-ttl', 50, undefined],
    ['expiration', undefined, '50'],
    ['x-message-ttl below expiration', 50, `${HOUR}`],
    ['expiration below x-message-ttl', HOUR, '50'],
  ]) {
    const { queue } = await channel.assertQueue('', { exclusive: true, messageTtl });
    const started = Date.now();
    await channel.sendToQueue(queue, Buffer.from(what), { expiration });
    await arrives(`${what}: expires`, async () => (await channel.checkQueue(queue)).messageCount === 0);
    // Less than the 50 ms, as both clocks count whole milliseconds.
    check(`${what}: not before its time`, Date.now() - started >= 48);
  }
  const { queue } = await channel.assertQueue('', { exclusive: true, messageTtl: HOUR });
  await channel.sendToQueue(queue, Buffer.from('stays'), { expiration: `${HOUR}` });
  check('a longer life is kept', (await channel.get(queue)).content.toString(), 'stays');

  // A passive declaration counts as use: looking more often than x-expires says would keep the queue.
  await channel.assertQueue('interop.expires', { durable: false, expires: 100 });
  await arrives(
    'x-expires deletes an unused queue',
    () => missing(open, (other) => other.checkQueue('interop.expires')),
    400,
  );
  // Time enough for a busy machine to get from the declaration to the consumer.
  await channel.assertQueue('interop.used', { durable: false, expires: 1000 });
  const { consumerTag } = await collect(channel, 'interop.used');
  await new Promise((resolve) => setTimeout(resolve, 1200));
  check('not one with a consumer', (await channel.checkQueue('interop.used')).consumerCount, 1);
  await channel.cancel(consumerTag);
  await channel.deleteQueue('interop.used');
}

async function priority(open) {
  const channel = await open();
  const { queue } = await channel.assertQueue('', { exclusive: true, maxPriority: 10 });
  for (const level of [1, 5, 3, 0, 9]) await channel.sendToQueue(queue, Buffer.from(`${level}`), { priority: level });
  await channel.sendToQueue(queue, Buffer.from('without'));
  await channel.sendToQueue(queue, Buffer.from('5 again'), { priority: 5 });
  const received = bodies(await drain(channel, queue));
  check('received by priority, equal ones in order', received, ['9', '5', '5 again', '3', '1', '0', 'without']);
}

async function directReplyTo(open) {
  const server = await open();
  await server.assertQueue('interop.rpc', { exclusive: true });
  await server.consume(
    'interop.rpc',
    ({ content, properties: { replyTo, correlationId } }) => {
      server.sendToQueue(replyTo, Buffer.from(`answer to ${content}`), { correlationId });
    },
    { noAck: true },
  );

  const client = await open();
  const answers = new Map();
  const note = ({ content, properties }) => answers.set(properties.correlationId, content.toString());
  await client.consume('amq.rabbitmq.reply-to', note, { noAck: true });
  const expected = new Map();
  for (let n = 0; n < 100; n++) {
    const correlationId = `call ${n}`;
    expected.set(correlationId, `answer to question ${n}`);
    await client.sendToQueue('interop.rpc', Buffer.from(`question ${n}`), {
      correlationId,
      replyTo: 'amq.rabbitmq.reply-to',
    });
  }
  await arrives('100 answers', () => answers.size >= expected.size);
  check('each call has its own', answers, expected);
}

/** `frameMax` is what client and broker have agreed on. */
export async function largeMessage(open, frameMax) {
  const channel = await open();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const { messages } = await collect(channel, queue, { noAck: true });
  for (const [what, size] of [
    ['0 bytes', 0],
    ['frame_max - 8', frameMax - 8],
    ['frame_max - 7', frameMax - 7],
    ['20 MiB', 20 * 2 ** 20],
  ]) {
    const body = Buffer.alloc(size);
    for (let at = 0; at < size; at += 4093) body[at] = at % 251;
    await channel.sendToQueue(queue, body);
    await arrives(`${what}: arrives`, () => messages.length > 0);
    check(`${what}: is the same`, messages.pop().content.equals(body));
  }
}

/** For `confirms`: what was published, one number a message, is in the queue `interop.confirms`; delete it. */
export async function checkConfirmed(channel, expected) {
  check('all are in the queue', (await channel.checkQueue('interop.confirms')).messageCount, expected.length);
  const { messages, consumerTag } = await collect(channel, 'interop.confirms', { noAck: true });
  await arrives('all are delivered', () => messages.length >= expected.length);
  check('in order', bodies(messages), expected);
  check(
    'persistent',
    messages.every((message) => message.properties.deliveryMode === 2),
  );
  await channel.cancel(consumerTag);
  await channel.deleteQueue('interop.confirms');
}

const RETURNED = { mandatory: true, persistent: true, messageId: 'lost', headers: { depth: 3, tags: ['a', 'b'] } };

/** For `mandatory-return`: publish to nobody. */
export function mandatory(channel, ...confirmed) {
  return channel.publish('amq.direct', 'interop.nobody', Buffer.from('anybody?'), RETURNED, ...confirmed);
}

/** What came of `mandatory`: the events in their order, and the message that was returned. */
export function checkReturned(events, message) {
  check('returned before it is confirmed', events, ['return', 'confirm']);
  check('312 NO_ROUTE, exchange and routing key', message.fields, {
    replyCode: 312,
    replyText: 'NO_ROUTE',
    exchange: 'amq.direct',
    routingKey: 'interop.nobody',
  });
  check('body', message.content.toString(), 'anybody?');
  const { messageId, deliveryMode, headers: seen } = message.properties;
  check('properties', { messageId, deliveryMode }, { messageId: RETURNED.messageId, deliveryMode: 2 });
  check('headers', seen, RETURNED.headers);
}

/** For `cancel-notify`: `messages` is what the consumer of `interop.cancelled` has got. */
export async function cancelled(channel, messages) {
  await channel.deleteQueue('interop.cancelled');
  await arrives('the consumer is told', () => messages.length > 0);
  check('by null in place of a message', messages, [null]);
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.sendToQueue(queue, Buffer.from('on'));
  check('the channel works on', (await channel.get(queue)).content.toString(), 'on');
}

/** `publish(channel, queue, text)` resolves at the confirm; `events` takes the notices of the connection. */
export async function blocked(channel, events, publish) {
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const published = [];
  control('alarm', 'on');
  try {
    // An alarm stops a connection once it publishes, and it may take the broker a moment to see that it is short.
    await arrives('the publisher is told', () => {
      if (events.length === 0) published.push(publish(channel, queue, 'early'));
      return events.length > 0;
    });
    check('with a reason', events[0]?.[0] === 'blocked' && events[0][1].length > 0);
    published.push(publish(channel, queue, 'held back'));
  } finally {
    control('alarm', 'off');
  }
  await arrives('and told of the end', () => events.length > 1);
  check(
    'once each',
    events.map(([name]) => name),
    ['blocked', 'unblocked'],
  );
  await Promise.all(published);
  check('what was published arrives', bodies(await drain(channel, queue)).at(-1), 'held back');
}

/** For `recovery`: a durable exchange with a queue to consume from, and a queue that holds messages meanwhile. */
export async function declareDurable(channel) {
  await channel.assertExchange('interop.recovery', 'direct', { durable: true });
  for (const [queue, key] of [
    ['interop.recovery', 'key'],
    ['interop.recovery.kept', 'kept'],
  ]) {
    await channel.assertQueue(queue, { durable: true });
    await channel.bindQueue(queue, 'interop.recovery', key);
  }
  await channel.publish('interop.recovery', 'kept', Buffer.from('persistent'), { persistent: true });
  await channel.publish('interop.recovery', 'kept', Buffer.from('transient'), { persistent: false });
  await channel.publish('interop.recovery', 'kept', Buffer.from('persistent too'), { persistent: true });
}

export async function checkDurable(channel) {
  const kept = bodies(await drain(channel, 'interop.recovery.kept'));
  check('persistent messages are there, transient ones are not', kept, ['persistent', 'persistent too']);
}

export async function deleteDurable(channel) {
  for (const queue of ['interop.recovery', 'interop.recovery.kept']) await channel.deleteQueue(queue);
  await channel.deleteExchange('interop.recovery');
}
