// What the Node.js programs share: scenarios, checks, and their report in TAP.
//
// A program names its scenarios and then runs them:
//
//     scenario('get', async () => check('an empty queue says so', await channel.get('interop.q'), false));
//     await run();

import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect, isDeepStrictEqual } from 'node:util';

const PATIENCE_MS = 40_000; // anything that must come comes within this, on the slowest machine
const SCENARIO_MS = 180_000; // a scenario that takes longer hangs

const told = (name, otherwise) => process.env[name] ?? otherwise;

/** Where the broker is, from the environment that `interop/run` makes. */
export const AMQP = {
  url: told('AMQP_URL', 'amqp://guest:guest@127.0.0.1:5672/%2F'),
  hostname: told('AMQP_HOST', '127.0.0.1'),
  port: Number(told('AMQP_PORT', '5672')),
  username: told('AMQP_USER', 'guest'),
  password: told('AMQP_PASSWORD', 'guest'),
  vhost: told('AMQP_VHOST', '/'),
};

/** Leaves a scenario; the text says what the client, or this broker, lacks. */
export class Skip extends Error {}

const scenarios = [];
let current = '';
let count = 0;

/** Make an async function the scenario of this name. */
export function scenario(name, body) {
  scenarios.push({ name, body });
}

/** Declare that the client has no way to do this scenario. */
export function cannot(name, reason) {
  scenario(name, async () => {
    throw new Skip(reason);
  });
}

/** Report one check of the scenario that runs: the same value, of the same type, in depth. */
export function check(what, seen, expected = true) {
  say(isDeepStrictEqual(seen, expected), what, `expected ${show(expected)}\ngot ${show(seen)}`);
}

/**
 * Ask the probe until it has an answer that is not false, null or the like, and return that.
 * A check that fails after PATIENCE_MS.
 */
export async function arrives(what, probe, everyMs = 10) {
  const deadline = Date.now() + PATIENCE_MS;
  let answer = await probe();
  while (!answer && Date.now() < deadline) {
    await sleep(everyMs);
    answer = await probe();
  }
  say(Boolean(answer), what, `not within ${PATIENCE_MS / 1000} s`);
  return answer;
}

/** Options for `events.once`: wait for PATIENCE_MS at most. */
export function soon() {
  return { signal: AbortSignal.timeout(PATIENCE_MS) };
}

/** Act on the broker (`restart`, `alarm on` ...); throws `Skip` when this one cannot be made to. */
export function control(...words) {
  const command = process.env.INTEROP_CONTROL;
  if (command === undefined) throw new Skip('no INTEROP_CONTROL: nobody can act on the broker');
  const done = spawnSync(command, words, { encoding: 'utf8' });
  if (done.error) throw done.error;
  if (done.status === 3) throw new Skip(done.stdout.trim());
  if (done.status !== 0) throw new Error(`${command} ${words.join(' ')}: ${done.stdout}${done.stderr}`);
}

/** Run the scenarios in their order and print the report; names on the command line choose some. */
export async function run() {
  const chosen = process.argv.slice(2);
  for (const { name, body } of scenarios) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    current = name;
    try {
      await whole(body);
    } catch (error) {
      if (error instanceof Skip) {
        line(`ok ${++count} - ${name} # SKIP ${error.message}`);
      } else {
        say(false, 'no exception', String(error));
        console.error(error);
      }
    }
  }
  line(`1..${count}`);
  // A scenario that failed may have left a connection open.
  process.exit();
}

/** Run a scenario to its end, to the first error that nobody handles, or until it has taken too long. */
async function whole(body) {
  const leaving = new AbortController();
  const strayed = new Promise((_, reject) => {
    for (const event of ['uncaughtException', 'unhandledRejection']) {
      process.on(event, reject);
      leaving.signal.addEventListener('abort', () => process.off(event, reject));
    }
  });
  const late = sleep(SCENARIO_MS, undefined, { signal: leaving.signal }).then(() => {
    throw new Error(`the scenario hangs: it took more than ${SCENARIO_MS / 1000} s`);
  });
  late.catch(() => {});
  try {
    await Promise.race([body(), strayed, late]);
  } finally {
    leaving.abort();
  }
}

function say(passed, what, explanation) {
  line(`${passed ? 'ok' : 'not ok'} ${++count} - ${current}: ${what}`);
  if (passed) return;
  for (const text of explanation.split('\n')) line(`# ${text.slice(0, 500)}`);
}

function show(value) {
  return inspect(value, { depth: null, breakLength: Infinity });
}

function line(text) {
  process.stdout.write(`${text}\n`);
}
