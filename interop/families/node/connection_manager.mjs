// The scenarios with amqp-connection-manager: amqplib's channels in wrappers that outlive their connection.

import { once } from 'node:events';

import amqp from 'amqp-connection-manager';

import { AMQP, arrives, check, control, run, scenario, soon } from './checks.mjs';
import { bodies, collect } from './messages.mjs';
import * as shared from './scenarios.mjs';

const OPTIONS = { reconnectTimeInSeconds: 0.1 };

/** Connect for the work, and close. */
async function connected(work) {
  const manager = amqp.connect([AMQP.url], OPTIONS);
  try {
    await once(manager, 'connect', soon());
    await work(() => opened(manager), manager);
  } finally {
    await manager.close();
  }
}

/** A channel wrapper that is connected; `setup` may take more care of each channel that it wraps. */
async function opened(manager, setup = async () => {}) {
  const wrapper = manager.createChannel({
    setup: async (channel) => {
      // Without a listener an error of the channel would end the connection, too.
      channel.on('error', () => {});
      await setup(channel);
    },
  });
  await wrapper.waitForConnect();
  return wrapper;
}

scenario('connect', async () => {
  const manager = amqp.connect([AMQP.url], OPTIONS);
  const [{ connection, url }] = await once(manager, 'connect', soon());
  check('connected to the url given', url, AMQP.url);
  shared.checkServer(connection.connection.serverProperties);
  const closes = [];
  const wrapper = await opened(manager, async (channel) => channel.on('close', () => closes.push('channel')));
  connection.on('close', () => closes.push('connection'));
  check('a channel opens and works', Boolean(await wrapper.checkExchange('amq.direct')));
  await wrapper.close();
  check('the channel closes', [closes, manager.channelCount], [['channel'], 0]);
  await manager.close();
  check('the connection closes', manager.isConnected(), false);
});

scenario('auth-failure', async () => {
  const { url: _url, ...parts } = AMQP;
  const failure = async (url) => {
    const manager = amqp.connect([url], OPTIONS);
    const [{ err }] = await once(manager, 'connectFailed', soon());
    await manager.close();
    return err.message;
  };
  const wrong = await failure({ ...parts, password: `not ${AMQP.password}` });
  check('a wrong password: 403', /403 \(ACCESS-REFUSED\)/.test(wrong), true);
  // The client tells the method by which the broker ends the handshake, and not its code 530.
  const unknown = await failure({ ...parts, vhost: 'interop.nowhere' });
  check(
    'an unknown vhost: closed in place of open-ok',
    unknown,
    'Expected ConnectionOpenOk; got <ConnectionClose channel:0>',
  );
});

scenario('declare', async () => {
  await connected(shared.declare);
  await connected(async (open, manager) => {
    const wrapper = await open();
    const broken = once(manager, 'disconnect', soon());
    const answer = wrapper.assertExchange('interop.unknown', 'no-such-type').catch((error) => error);
    const [{ err }] = await broken;
    check('an unknown exchange type: 503', err.code, 503);
    check('the declaration fails', (await answer) instanceof Error);
    await wrapper.waitForConnect();
    check('the manager connects again', Boolean(await wrapper.checkExchange('amq.direct')));
  });
});

scenario('confirms', () =>
  connected(async (open) => {
    const wrapper = await open();
    await wrapper.assertQueue('interop.confirms', { durable: true });
    const expected = Array.from({ length: 1000 }, (_, n) => `${n}`);
    const sent = expected.map((text) => wrapper.sendToQueue('interop.confirms', text, { persistent: true }));
    const outcomes = await Promise.allSettled(sent);
    const confirmed = outcomes.filter(({ status }) => status === 'fulfilled').length;
    check('each is confirmed', confirmed, 1000);
    await shared.checkConfirmed(wrapper, expected);
  }),
);

scenario('mandatory-return', () =>
  connected(async (_open, manager) => {
    const events = [];
    let returned;
    const wrapper = await opened(manager, async (channel) => {
      channel.on('return', (message) => {
        events.push('return');
        returned = message;
      });
      channel.on('ack', () => events.push('confirm'));
    });
    await shared.mandatory(wrapper);
    shared.checkReturned(events, returned);
  }),
);

scenario('consume', () =>
  connected((open) =>
    shared.consume(
      open,
      (wrapper, queue, onMessage) => wrapper.consume(queue, onMessage, { prefetch: 3 }),
      // The wrapper passes on basic.nack and has no method for basic.reject.
      (wrapper, message) => wrapper.nack(message, false, false),
    ),
  ),
);

shared.common(connected);

scenario('large-message', () =>
  connected((open, manager) => shared.largeMessage(open, manager.connection.connection.frameMax)),
);

scenario('cancel-notify', () =>
  connected(async (_open, manager) => {
    const messages = [];
    // A consumer of the wrapper's own would consume again by itself; one made in a setup function is told.
    const wrapper = await opened(manager, async (channel) => {
      await channel.assertQueue('interop.cancelled', { exclusive: true });
      await channel.consume('interop.cancelled', (message) => messages.push(message));
    });
    await shared.cancelled(wrapper, messages);
  }),
);

scenario('blocked', () =>
  connected(async (open, manager) => {
    const events = [];
    manager.on('blocked', ({ reason }) => events.push(['blocked', reason]));
    manager.on('unblocked', () => events.push(['unblocked']));
    await shared.blocked(await open(), events, (wrapper, queue, text) => wrapper.sendToQueue(queue, text));
  }),
);

scenario('recovery', async () => {
  await connected(async (open) => shared.declareDurable(await open()));
  try {
    await connected(async (open, manager) => {
      const wrapper = await open();
      const { messages } = await collect(wrapper, 'interop.recovery', { noAck: true });
      const publish = (text) => wrapper.publish('interop.recovery', 'key', text, { persistent: true });
      await publish('before');
      await arrives('consumes before', () => messages.length > 0);
      const [broken, back] = [once(manager, 'disconnect', soon()), once(manager, 'connect', soon())];
      control('restart');
      await broken;
      const queued = publish('meanwhile');
      check('a message waits for the connection', wrapper.queueLength(), 1);
      await back;
      await queued;
      await publish('after');
      await arrives('consumes after, by the durable exchange, queue and binding', () => messages.length > 2);
      check('each message once', bodies(messages), ['before', 'meanwhile', 'after']);
      await shared.checkDurable(await open());
    });
  } finally {
    await connected(async (open) => shared.deleteDurable(await open()));
  }
});

await run();
