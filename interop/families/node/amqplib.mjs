// The scenarios with amqplib's promise API.

import { once } from 'node:events';
import { promisify } from 'node:util';

import { connect } from 'amqplib';

import { AMQP, arrives, check, control, run, scenario, soon } from './checks.mjs';
import { bodies, collect } from './messages.mjs';
import * as shared from './scenarios.mjs';

/** Open a connection for the work, and close it. What breaks it on purpose is looked at where it happens. */
async function connected(work) {
  const connection = await connect(AMQP.url);
  connection.on('error', () => {});
  try {
    await work(() => opened(connection.createChannel()), connection);
  } finally {
    await connection.close().catch(() => {});
  }
}

/** A channel whose errors reach the caller by the promises only. */
async function opened(opening) {
  const channel = await opening;
  channel.on('error', () => {});
  return channel;
}

scenario('connect', async () => {
  const connection = await connect(AMQP.url);
  shared.checkServer(connection.connection.serverProperties);
  const closes = [];
  const channel = await connection.createChannel();
  channel.on('close', () => closes.push('channel'));
  connection.on('close', (error) => closes.push('connection', error));
  check('a channel opens and works', Boolean(await channel.checkExchange('amq.direct')));
  await channel.close();
  await connection.close();
  await arrives('channel and connection close', () => closes.length === 3);
  check('in order, without an error', closes, ['channel', 'connection', undefined]);
});

scenario('auth-failure', async () => {
  const wrong = await connect({ ...AMQP, password: `not ${AMQP.password}` }).catch((error) => error);
  check('a wrong password: 403', /403 \(ACCESS-REFUSED\)/.test(wrong.message), true);
  // The client tells the method by which the broker ends the handshake, and not its code 530.
  const unknown = await connect({ ...AMQP, vhost: 'interop.nowhere' }).catch((error) => error);
  check(
    'an unknown vhost: closed in place of open-ok',
    unknown.message,
    'Expected ConnectionOpenOk; got <ConnectionClose channel:0>',
  );
});

scenario('declare', async () => {
  await connected(shared.declare);
  await connected(async (open, connection) => {
    const channel = await open();
    const broken = once(connection, 'error', soon());
    const answer = channel.assertExchange('interop.unknown', 'no-such-type').catch((error) => error);
    const [error] = await broken;
    check('an unknown exchange type: 503', error.code, 503);
    check('the declaration fails', (await answer) instanceof Error);
    const after = await connection.createChannel().catch((error) => error.name);
    check('the connection is closed', after, 'IllegalOperationError');
  });
});

scenario('confirms', () =>
  connected(async (_open, connection) => {
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('interop.confirms', { durable: true });
    let confirmed = 0;
    const expected = [];
    for (let n = 0; n < 1000; n++) {
      expected.push(`${n}`);
      channel.sendToQueue('interop.confirms', Buffer.from(`${n}`), { persistent: true }, (error) => {
        if (error === null) confirmed++;
      });
    }
    await channel.waitForConfirms();
    check('each is confirmed', confirmed, 1000);
    await shared.checkConfirmed(channel, expected);
  }),
);

scenario('mandatory-return', () =>
  connected(async (_open, connection) => {
    const channel = await connection.createConfirmChannel();
    const events = [];
    let returned;
    channel.on('return', (message) => {
      events.push('return');
      returned = message;
    });
    shared.mandatory(channel, (error) => events.push(error ?? 'confirm'));
    await channel.waitForConfirms();
    shared.checkReturned(events, returned);
  }),
);

scenario('consume', () =>
  connected((open) =>
    shared.consume(
      open,
      async (channel, queue, onMessage) => {
        await channel.prefetch(3);
        return channel.consume(queue, onMessage);
      },
      (channel, message) => channel.reject(message, false),
    ),
  ),
);

shared.common(connected);

scenario('large-message', () =>
  connected((open, connection) => shared.largeMessage(open, connection.connection.frameMax)),
);

scenario('cancel-notify', () =>
  connected(async (open) => {
    const channel = await open();
    await channel.assertQueue('interop.cancelled', { exclusive: true });
    const { messages } = await collect(channel, 'interop.cancelled');
    await shared.cancelled(channel, messages);
  }),
);

scenario('blocked', () =>
  connected(async (_open, connection) => {
    const events = [];
    connection.on('blocked', (reason) => events.push(['blocked', reason]));
    connection.on('unblocked', () => events.push(['unblocked']));
    const channel = await connection.createConfirmChannel();
    const publish = promisify(channel.sendToQueue.bind(channel));
    await shared.blocked(channel, events, (_channel, queue, text) => publish(queue, Buffer.from(text), {}));
  }),
);

scenario('recovery', async () => {
  await connected(async (_open, connection) => {
    const channel = await connection.createConfirmChannel();
    await shared.declareDurable(channel);
    await channel.waitForConfirms();
  });
  const received = [];
  let setups = 0;
  const connection = await connect(AMQP.url, {
    recovery: {
      initialDelay: 50,
      maxDelay: 500,
      async setup(model) {
        setups++;
        const channel = await model.createChannel();
        await channel.consume('interop.recovery', (message) => message && received.push(message), { noAck: true });
      },
    },
  });
  connection.on('error', () => {});
  try {
    const publish = async (text) => {
      const channel = await connection.createConfirmChannel();
      channel.publish('interop.recovery', 'key', Buffer.from(text), { persistent: true });
      await channel.waitForConfirms();
      await channel.close();
    };
    await publish('before');
    await arrives('consumes before', () => received.length > 0);
    const back = once(connection, 'connect', soon());
    control('restart');
    await back;
    check('the client has connected again', setups, 2);
    await publish('after');
    await arrives('consumes after, by the durable exchange, queue and binding', () => received.length > 1);
    check('each message once', bodies(received), ['before', 'after']);
    await shared.checkDurable(await connection.createChannel());
  } finally {
    await connection.close();
    await connected(async (open) => shared.deleteDurable(await open()));
  }
});

await run();
