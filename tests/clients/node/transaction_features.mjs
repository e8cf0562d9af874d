// Features of the producer of half messages.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ack, LEASE_MS, newProducer, nothingComes, poll, receive, require, SHORT_LEASE_MS } from './scene.mjs';

// As the protocol has them: the client does not export their names.
const UNKNOWN = 0;
export const COMMIT = 1;
export const ROLLBACK = 2;

/** Sends a half message, leaves its transaction open and returns it with the message id. */
export async function sendHalf(producer, topic, body) {
  const transaction = producer.beginTransaction();
  const { messageId } = await producer.send({ topic, body: Buffer.from(body) }, transaction);
  return { transaction, messageId };
}

export async function transactions(scene) {
  let asked = 0;
  const checker = {
    async check(message) {
      if (message.body.toString() !== 'decided when asked') return UNKNOWN;
      asked += 1;
      return COMMIT;
    },
  };
  const producer = await newProducer(scene.endpoint, [ scene.name ], checker);
  const committed = await sendHalf(producer, scene.name, 'committed');
  const rolledBack = await sendHalf(producer, scene.name, 'rolled back');
  const consumer = await scene.simple();
  const early = await poll(consumer, SHORT_LEASE_MS);
  require(early.length === 0, `${early.length} messages came before any was committed`);
  const sent = Date.now();
  await sendHalf(producer, scene.name, 'decided when asked');
  await committed.transaction.commit();
  await rolledBack.transaction.rollback();
  const messages = await receive(consumer, 2, LEASE_MS);
  const after = Date.now() - sent;
  const got = messages.map(message => message.body.toString()).sort();
  require(got.join() === 'committed,decided when asked' && asked === 1, `got ${got} after ${asked} checks`);
  await ack(consumer, messages);
  await nothingComes(consumer);
  await consumer.shutdown();
  await producer.shutdown();
  return `committed, rolled back, and committed when asked, within ${Math.round(after / 1000)} s`;
}

export async function producerKilled(scene) {
  const holder = spawn(process.execPath, [ process.argv[1], '--endpoint', scene.endpoint, '--half', scene.name ],
    { stdio: [ 'ignore', 'pipe', 'inherit' ] });
  const line = await new Promise(resolve => {
    createInterface(holder.stdout).once('line', resolve).once('close', () => resolve('nothing'));
  });
  await new Promise(resolve => { holder.once('exit', resolve); holder.kill('SIGKILL'); });
  require(line.startsWith('half '), `the producer to be killed said ${line}`);
  const id = line.slice('half '.length);
  const killed = Date.now();
  const producer = await newProducer(scene.endpoint, [ scene.name ],
    { async check(message) { return message.messageId === id ? COMMIT : UNKNOWN; } });
  const consumer = await scene.simple();
  const messages = await receive(consumer, 1, LEASE_MS);
  require(messages[0].messageId === id, `message ${messages[0].messageId}, want ${id}`);
  await ack(consumer, messages);
  await consumer.shutdown();
  await producer.shutdown();
  return `another producer was asked and committed it within ${Math.round((Date.now() - killed) / 1000)} s`;
}

/** Sends a half message and never ends its transaction, until the process is killed. */
export async function leaveHalf(endpoint, topic) {
  const producer = await newProducer(endpoint, [ topic ], { async check() { return UNKNOWN; } });
  const { messageId } = await sendHalf(producer, topic, 'left open');
  console.log(`half ${messageId}`);
  await new Promise(() => {});
}
