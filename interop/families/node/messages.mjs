// What the scenarios do with messages of a queue; a channel is amqplib's, or a wrapper of amqp-connection-manager's.

import { arrives } from './checks.mjs';

/** Consume into an array. */
export async function collect(channel, queue, options) {
  const messages = [];
  const { consumerTag } = await channel.consume(queue, (message) => messages.push(message), options);
  return { messages, consumerTag };
}

/** The bodies of messages, as text. */
export function bodies(messages) {
  return messages.map((message) => message.content.toString());
}

/** The next message of a queue, taken out of it as soon as it is there. */
export function next(channel, queue, what) {
  return arrives(what, () => channel.get(queue, { noAck: true }));
}

/** Take out all that is in a queue. */
export async function drain(channel, queue) {
  const messages = [];
  for (let message; (message = await channel.get(queue, { noAck: true })); ) messages.push(message);
  return messages;
}
