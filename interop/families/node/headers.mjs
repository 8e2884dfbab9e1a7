// The scenarios about what stands in a message's headers: fields of every type, and what dead-lettering writes there.

import { AMQP, arrives, check } from './checks.mjs';
import { bodies, drain, next } from './messages.mjs';

// amqplib writes a value of a chosen type as { '!': type, value }. It reads every number as a JavaScript number, and
// decimals and timestamps the way they are written.
const typed = (type, value) => ({ '!': type, value });

const FIELDS = {
  yes: true,
  no: false,
  'int8 low': typed('int8', -128),
  'int8 high': typed('int8', 127),
  'uint8 high': typed('uint8', 255),
  'int16 low': typed('int16', -(2 ** 15)),
  'int16 high': typed('int16', 2 ** 15 - 1),
  'uint16 high': typed('uint16', 2 ** 16 - 1),
  'int32 low': typed('int32', -(2 ** 31)),
  'int32 high': typed('int32', 2 ** 31 - 1),
  'uint32 high': typed('uint32', 2 ** 32 - 1),
  'int64 low': typed('int64', -(2n ** 63n)),
  'int64 high': typed('int64', 2n ** 63n - 1n),
  'int64 exact': typed('int64', Number.MIN_SAFE_INTEGER),
  float: typed('float', 1.5),
  double: typed('double', 0.1),
  'double huge': typed('double', Number.MAX_VALUE),
  'plain numbers': [0, -1, 200, 70_000, 5_000_000_000, 2.25],
  decimal: typed('decimal', { places: 2, digits: 12_345 }),
  'decimal high': typed('decimal', { places: 255, digits: 2 ** 32 - 1 }),
  string: 'Grüße, 世界 🐇',
  'empty string': '',
  clé: 'a key with an accent',
  bytes: Buffer.from([0, 1, 254, 255]),
  timestamp: typed('timestamp', 1_700_000_000),
  nothing: null,
  table: { inner: { deeper: ['x', { y: null }] }, number: typed('int16', 7) },
  array: [true, 'two', 3, [4, []], {}, Buffer.from('five'), null],
  'empty table': {},
  'empty array': [],
};

/** What the client reads where it has written this. */
function asRead(value) {
  if (Array.isArray(value)) return value.map(asRead);
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value;
  if (!('!' in value)) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asRead(one)]));
  return ['decimal', 'timestamp'].includes(value['!']) ? value : Number(value.value);
}

export async function headers(open) {
  const channel = await open();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const properties = {
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    deliveryMode: 2,
    priority: 7,
    correlationId: 'correlation',
    replyTo: 'reply.to',
    expiration: '600000',
    messageId: 'message',
    timestamp: 1_700_000_000,
    type: 'kind',
    userId: AMQP.username,
    appId: 'interop',
  };
  await channel.sendToQueue(queue, Buffer.from('body'), { ...properties, headers: FIELDS });
  const message = await next(channel, queue, 'the message arrives');
  // cluster-id is the one property that this client does not let an application set.
  const { headers: seen, clusterId, ...others } = message.properties;
  check('all properties', others, properties);
  for (const [name, value] of Object.entries(FIELDS)) check(`field: ${name}`, seen[name], asRead(value));
  check('no other field', Object.keys(seen).sort(), Object.keys(FIELDS).sort());

  await channel.assertExchange('interop.headers', 'headers', { autoDelete: true });
  const { queue: all } = await channel.assertQueue('', { exclusive: true });
  const { queue: any } = await channel.assertQueue('', { exclusive: true });
  const wanted = { colour: 'red', size: 3 };
  await channel.bindQueue(all, 'interop.headers', '', { 'x-match': 'all', ...wanted });
  await channel.bindQueue(any, 'interop.headers', '', { 'x-match': 'any', ...wanted });
  for (const [text, given] of [
    ['both', { colour: 'red', size: 3, more: true }],
    ['one', { colour: 'red', size: 4 }],
    ['none', { colour: 'blue' }],
  ]) {
    await channel.publish('interop.headers', '', Buffer.from(text), { headers: given });
  }
  check('x-match all', bodies(await drain(channel, all)), ['both']);
  check('x-match any', bodies(await drain(channel, any)), ['both', 'one']);
}

export async function deadLetter(open) {
  const channel = await open();
  await channel.assertExchange('interop.dlx', 'direct', { durable: false });
  await channel.assertQueue('interop.dead', { exclusive: true });
  await channel.bindQueue('interop.dead', 'interop.dlx', 'buried');
  const buried = { exclusive: true, deadLetterExchange: 'interop.dlx', deadLetterRoutingKey: 'buried' };

  for (const [reason, options, kill] of [
    ['rejected', {}, async (queue) => channel.nack(await channel.get(queue), false, false)],
    ['expired', { messageTtl: 20 }, async () => {}],
    ['maxlen', { maxLength: 1 }, async (queue) => channel.sendToQueue(queue, Buffer.from('pusher'))],
  ]) {
    const queue = `interop.${reason}`;
    await channel.assertQueue(queue, { ...buried, ...options });
    const before = Math.floor(Date.now() / 1000);
    await channel.sendToQueue(queue, Buffer.from('body'), { headers: { mine: 'kept' } });
    await kill(queue);
    const message = await next(channel, 'interop.dead', `${reason}: arrives at the dead-letter exchange`);
    const { exchange, routingKey } = message.fields;
    check(`${reason}: with the routing key asked for`, [exchange, routingKey], ['interop.dlx', 'buried']);
    const { 'x-death': deaths, ...others } = message.properties.headers;
    const [{ time, ...death }, ...older] = deaths;
    check(
      `${reason}: x-death`,
      [death, older],
      [{ count: 1, reason, queue, exchange: '', 'routing-keys': [queue] }, []],
    );
    check(`${reason}: the time is a timestamp`, time['!'], 'timestamp');
    check(`${reason}: of now`, time.value >= before - 1 && time.value <= Date.now() / 1000 + 1);
    // RabbitMQ from 3.13 on also says x-last-death-*.
    const first = Object.fromEntries(Object.entries(others).filter(([name]) => !name.startsWith('x-last-death-')));
    check(`${reason}: x-first-death-* and the publisher's own`, first, {
      mine: 'kept',
      'x-first-death-reason': reason,
      'x-first-death-queue': queue,
      'x-first-death-exchange': '',
    });
    await channel.deleteQueue(queue);
  }
  await channel.deleteExchange('interop.dlx');

  // A work queue whose rejected messages wait in a second queue and come back.
  const work = { exclusive: true, deadLetterExchange: '', deadLetterRoutingKey: 'interop.wait' };
  await channel.assertQueue('interop.work', work);
  const wait = { exclusive: true, deadLetterExchange: '', deadLetterRoutingKey: 'interop.work', messageTtl: 20 };
  await channel.assertQueue('interop.wait', wait);
  await channel.sendToQueue('interop.work', Buffer.from('task'));
  for (const round of ['first', 'second']) {
    const task = await arrives(`the ${round} time`, () => channel.get('interop.work'));
    channel.nack(task, false, false);
  }
  const third = await next(channel, 'interop.work', 'the third time');
  const counts = third.properties.headers['x-death'].map(({ queue, reason, count }) => [queue, reason, count]);
  check('dead-lettered twice by the same queues counts 2', counts.sort(), [
    ['interop.wait', 'expired', 2],
    ['interop.work', 'rejected', 2],
  ]);
}
