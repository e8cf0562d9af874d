// Features of the producer and the simple consumer.

import { ack, LEASE_MS, nothingComes, QUIET_MS, receive, require, SHORT_LEASE_MS, sql } from './scene.mjs';

export async function sendReceiveAck(scene) {
  const count = 10;
  const sent = new Map();
  for (let i = 0; i < count; i++) {
    const options = { tag: 'tag', keys: [ 'key', `key-${i}` ], properties: new Map([[ 'number', `${i}` ]]) };
    sent.set(await scene.send(`body ${i}`, options), i);
  }
  const consumer = await scene.simple();
  const messages = await receive(consumer, count, LEASE_MS);
  for (const m of messages) {
    const i = sent.get(m.messageId);
    require(sent.delete(m.messageId), `message ${m.messageId} was never sent or came twice`);
    require(m.body.toString() === `body ${i}`, `body ${m.body} of message ${i}`);
    require(m.tag === 'tag', `tag ${m.tag}`);
    require(m.keys.join() === `key,key-${i}`, `keys ${m.keys}`);
    require(m.properties.get('number') === `${i}`, `properties ${[ ...m.properties ]}`);
    require(m.topic === scene.name, `topic ${m.topic}`);
    require(m.deliveryAttempt === 1, `attempt ${m.deliveryAttempt}, want 1`);
    require(Math.abs(Date.now() - m.bornTimestamp) < 60_000, `born at ${m.bornTimestamp}`);
  }
  await ack(consumer, messages);
  await consumer.shutdown();
  return `${count} messages`;
}

export async function noRedeliveryAfterAck(scene) {
  for (let i = 0; i < 3; i++) await scene.send(`${i}`);
  const consumer = await scene.simple();
  await ack(consumer, await receive(consumer, 3, SHORT_LEASE_MS));
  await nothingComes(consumer);
  return `quiet for ${QUIET_MS} ms after acks of leases of ${SHORT_LEASE_MS} ms`;
}

export async function redeliveryWithoutAck(scene) {
  const id = await scene.send('come back');
  const consumer = await scene.simple();
  const earlier = [];
  for (const attempt of [ 1, 2, 3 ]) {
    const [ m ] = await receive(consumer, 1, SHORT_LEASE_MS);
    require(m.messageId === id && m.deliveryAttempt === attempt,
      `message ${m.messageId} attempt ${m.deliveryAttempt}, want ${id} attempt ${attempt}`);
    earlier.push(m);
  }
  const refusal = await refused('an ack with the handle of an earlier delivery', () => consumer.ack(earlier[0]));
  await consumer.ack(earlier[2]);
  return `attempts 1, 2, 3; ack of the first delivery: ${refusal}`;
}

export async function changeInvisible(scene) {
  await scene.send('sooner');
  const consumer = await scene.simple();
  const [ first ] = await receive(consumer, 1, 120_000);
  const changed = Date.now();
  await consumer.changeInvisibleDuration(first, 2_000);
  const [ second ] = await receive(consumer, 1, SHORT_LEASE_MS);
  const after = Date.now() - changed;
  require(second.deliveryAttempt === 2 && after > 1_500, `attempt ${second.deliveryAttempt} after ${after} ms, want 2 after 2 s`);
  await consumer.changeInvisibleDuration(second, 20_000);
  await nothingComes(consumer);
  await consumer.ack(second);
  return `back after ${after} ms, then held by a longer lease`;
}

export async function tagFilter(scene) {
  for (const tag of [ 'a', 'b', 'c', undefined, 'a', 'b' ]) await scene.send(`tag ${tag}`, { tag });
  const consumer = await scene.simple(scene.name, scene.name, 'a || c');
  const messages = await receive(consumer, 3, LEASE_MS);
  const got = messages.map(m => m.body.toString()).sort().join();
  require(got === 'tag a,tag a,tag c', `got ${got}`);
  await ack(consumer, messages);
  await nothingComes(consumer);
  return '"a || c" of a, b, c and none';
}

export async function sqlFilter(scene) {
  for (const number of [ '1', '3', '12' ]) {
    await scene.send(`number ${number}`, { properties: new Map([[ 'number', number ]]) });
  }
  await scene.send('number none');
  await scene.send('number always', { tag: 'always' });
  const expression = "number >= 3 OR TAGS = 'always'";
  const consumer = await scene.simple(scene.name, scene.name, sql(expression));
  const messages = await receive(consumer, 3, LEASE_MS);
  const got = messages.map(m => m.body.toString()).sort().join();
  require(got === 'number 12,number 3,number always', `got ${got}`);
  await ack(consumer, messages);
  await nothingComes(consumer);
  return expression;
}

export async function bodies(scene) {
  const sent = {
    binary: Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
    unicode: Buffer.from('žluťoučký 馬 🐎\0\n'),
    mebibyte: Buffer.from(Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * i) >> 7)),
    byte: Buffer.alloc(1),
  };
  for (const [ kind, body ] of Object.entries(sent)) {
    await scene.send(body, { properties: new Map([[ 'kind', kind ], [ 'ключ-鍵', 'значение 値 🗝' ]]) });
  }
  const consumer = await scene.simple();
  const messages = await receive(consumer, 4, LEASE_MS);
  for (const m of messages) {
    const kind = m.properties.get('kind');
    require(m.body.equals(sent[kind]), `the ${kind} body came back changed`);
    require(!m.corrupted, `the ${kind} body is taken for corrupted`);
    require(m.properties.get('ключ-鍵') === 'значение 値 🗝', `unicode property came back as ${[ ...m.properties ]}`);
  }
  await ack(consumer, messages);
  return 'every byte value, unicode with properties, 1 MiB, 1 byte';
}

export async function illegalInput(scene) {
  const unknown = `${scene.name}-unknown`;
  const cases = {
    'empty body': () => scene.send(''),
    'body over the limit': () => scene.send(Buffer.alloc((4 << 20) + 1)),
    'illegal topic': () => scene.send('x', { topic: 'no spaces!' }),
    'unknown topic': () => scene.send('x', { topic: unknown }),
    'message group on a normal topic': () => scene.send('x', { messageGroup: 'group' }),
    'reserved property': () => scene.send('x', { properties: new Map([[ 'UNIQ_KEY', 'x' ]]) }),
    'tag with a bar': () => scene.send('x', { tag: 'a|b' }),
    'receive from an unknown topic': async () => (await scene.simple(unknown)).receive(1, SHORT_LEASE_MS),
  };
  const seen = [];
  for (const [ what, call ] of Object.entries(cases)) seen.push(`${what}: ${await refused(what, call)}`);
  await scene.send('a legal message after the illegal ones');
  return seen.join('; ');
}

/** Returns how the call was refused; fails if it was not. */
async function refused(what, call) {
  try {
    await call();
  } catch (error) {
    return String(error);
  }
  throw new Error(`${what}: accepted`);
}
