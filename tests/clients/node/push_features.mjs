// Features of the push consumer, and the consumer that is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import rocketmq from 'rocketmq-client-nodejs';
import { LEASE_MS, PATIENCE_MS, QUIET_MS, receive, require, sleep, startPush, until } from './scene.mjs';

const { ConsumeResult } = rocketmq;

// How long the long handler takes: longer than a lease.
export const HANDLER_MS = Number(process.env.RQ_LONG_HANDLER_SECONDS ?? 50) * 1000;

export async function pushConsumer(scene) {
  const count = 20;
  const seen = [];
  const consumer = await scene.push(m => {
    seen.push(m.messageId);
    return ConsumeResult.SUCCESS;
  });
  const sent = [];
  for (let i = 0; i < count; i++) sent.push(await scene.send(`${i}`));
  await until(() => seen.length >= count, () => `${seen.length} of ${count} messages came`);
  await consumer.shutdown();
  require(seen.sort().join() === sent.sort().join(), `sent ${sent}, got ${seen}`);
  return `${count} messages, each once`;
}

export async function failingUntilDeadLetter(scene) {
  const attempts = [];
  await scene.push(m => {
    attempts.push(m.deliveryAttempt);
    return ConsumeResult.FAILURE;
  });
  const id = await scene.send('nobody wants it');
  await until(() => attempts.length >= 3, () => `only attempts ${attempts}`);
  const dead = await deadLetter(scene);
  require(dead.messageId === id && dead.body.toString() === 'nobody wants it', `dead letter ${dead.messageId}, want ${id}`);
  require(attempts.join() === '1,2,3', `attempts ${attempts}, want 1,2,3`);
  return 'dead letter after attempts 1, 2, 3';
}

/** Waits for the dead-letter topic, which the first dead letter makes, and takes the first message. */
async function deadLetter(scene) {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(500)) {
    let consumer;
    try {
      consumer = await scene.simple(`%DLQ%${scene.name}`, `${scene.name}-reader`);
    } catch (error) {
      if (Date.now() > deadline) throw error;
      continue;
    }
    const [ message ] = await receive(consumer, 1, LEASE_MS);
    await consumer.ack(message);
    return message;
  }
}

/** Fails the third message of one message group once and the fourth of another twice. */
export async function fifoOrder(scene) {
  const perGroup = 5;
  const failures = { 'a 2': 1, 'b 3': 2 };
  const done = { a: 0, b: 0 };
  let disorder;
  await scene.push(m => {
    const body = m.body.toString();
    const [ group, number ] = body.split(' ');
    if (Number(number) !== done[group]) disorder ??= `${body} came while ${done[group]} of its message group is not done`;
    if (failures[body]-- > 0) return ConsumeResult.FAILURE;
    done[group]++;
    return ConsumeResult.SUCCESS;
  });
  for (let i = 0; i < perGroup; i++) {
    for (const messageGroup of [ 'a', 'b' ]) await scene.send(`${messageGroup} ${i}`, { messageGroup });
  }
  const finished = () => disorder || (done.a >= perGroup && done.b >= perGroup);
  await until(finished, () => `only ${JSON.stringify(done)} of 5 done`, 2 * PATIENCE_MS);
  require(!disorder, disorder);
  return '2 message groups of 5 in order through 3 failures';
}

export async function longHandler(scene) {
  let deliveries = 0;
  let ended = false;
  await scene.push(async () => {
    deliveries++;
    await sleep(HANDLER_MS);
    ended = true;
    return ConsumeResult.SUCCESS;
  });
  await scene.send('long work');
  await until(() => ended, () => 'the handler did not end', PATIENCE_MS + HANDLER_MS);
  await sleep(QUIET_MS);
  require(deliveries === 1, `${deliveries} deliveries`);
  return `${HANDLER_MS} ms in the handler, one delivery`;
}

/** Kills a consumer in the middle of a message: another one must get it. */
export async function consumerKilled(scene) {
  const id = await scene.send('survive');
  const holder = spawn(process.execPath, [ process.argv[1], '--endpoint', scene.endpoint, '--hold', scene.name, scene.name ],
    { stdio: [ 'ignore', 'pipe', 'inherit' ] });
  const [ line ] = await once(createInterface({ input: holder.stdout }), 'line');
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  require(line === `held ${id}`, `the consumer to be killed said ${line}, want held ${id}`);
  const killed = Date.now();
  const got = [];
  await scene.push(m => {
    got.push(m);
    return ConsumeResult.SUCCESS;
  });
  await until(() => got.length > 0, () => 'nobody got the message', 2 * PATIENCE_MS);
  const [ { messageId, deliveryAttempt } ] = got;
  require(messageId === id && deliveryAttempt === 2, `message ${messageId} attempt ${deliveryAttempt}, want ${id} attempt 2`);
  return `another consumer got it after ${Math.round((Date.now() - killed) / 1000)} s`;
}

/** Takes a message and never finishes with it, until the process is killed. */
export async function holdMessage(endpoint, topic, group) {
  await startPush(endpoint, topic, group, m => {
    console.log(`held ${m.messageId}`);
    return new Promise(() => {});
  });
}
