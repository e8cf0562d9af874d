// A producer of half messages that does what standard input says, a line at a time, and says what it did: whoever runs it
// can strike between any two steps of a transaction.

import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { newProducer, require, sleep } from './scene.mjs';
import { COMMIT, ROLLBACK, sendHalf } from './transaction_features.mjs';

const BETWEEN_ENDS_MS = 100;

function isRolledBack(body) {
  return body.startsWith('roll back');
}

/** Does what standard input says, until it ends; ../README.md lists the commands. */
export async function inSteps(endpoint, topic) {
  // The bodies whose checks may be answered.
  const answered = new EventEmitter().setMaxListeners(0);
  const allowed = new Set();
  const producer = await newProducer(endpoint, [ topic ], {
    async check(message) {
      const body = message.body.toString();
      console.log(`asked ${body}`);
      if (!allowed.has(body)) await once(answered, body);
      return isRolledBack(body) ? ROLLBACK : COMMIT;
    },
  });
  console.log(`ready ${topic}`);
  const open = new Map();
  for await (const line of createInterface(process.stdin)) {
    const [ , command, body ] = line.match(/^(\S+) (.*)$/);
    require([ 'send', 'end', 'answer' ].includes(command), `no command ${command}`);
    if (command === 'send') {
      open.set(body, (await sendHalf(producer, topic, body)).transaction);
      console.log(`stored ${body}`);
    } else if (command === 'end') {
      end(open.get(body), body);
    } else {
      allowed.add(body);
      answered.emit(body);
    }
  }
  process.exit(0);
}

async function end(transaction, body) {
  for (;;) {
    try {
      await (isRolledBack(body) ? transaction.rollback() : transaction.commit());
      console.log(`ended ${body}`);
      return;
    } catch (error) {
      console.error(`end ${body}: ${error}`);
      await sleep(BETWEEN_ENDS_MS);
    }
  }
}
