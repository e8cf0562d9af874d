// What a feature works with: its own topic and consumer group of the same name, and clients of the official library
// with the settings every feature shares.

import rocketmq from 'rocketmq-client-nodejs';

const { FilterExpression, Producer, PushConsumer, SimpleConsumer } = rocketmq;

// How long a message that must come may take.
export const PATIENCE_MS = 60_000;
// How long nothing may come where nothing must; longer than the leases that are left to lapse.
export const QUIET_MS = 7_000;
// The invisible duration of messages that are to come back.
export const SHORT_LEASE_MS = 3_000;
export const LEASE_MS = 30_000;
// The long-polling time of the consumers.
const AWAIT_MS = 5_000;

const silent = { info() {}, warn() {}, error() {}, debug() {} };

export function sleep(ms) {
  return new Promise(resolve => setTimeout(resolve, ms));
}

export function require(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** Waits until the condition holds; fails with what it says otherwise. */
export async function until(condition, otherwise, patience = PATIENCE_MS) {
  for (const deadline = Date.now() + patience; !condition(); await sleep(50)) {
    require(Date.now() < deadline, `${otherwise()} after ${patience} ms`);
  }
}

/** The client does not export the names of its filter types: 2 is SQL. */
export function sql(expression) {
  return new FilterExpression(expression, 2);
}

/** Given several topics, this client misses settings that arrive before the last route: a broker has to repeat them. */
export async function newProducer(endpoints, topics, checker) {
  const producer = new Producer({ endpoints, namespace: '', topics, checker, logger: silent });
  await producer.startup();
  return producer;
}

export async function startPush(endpoints, topic, consumerGroup, consume) {
  const consumer = new PushConsumer({
    endpoints, namespace: '', consumerGroup, logger: silent, longPollingTimeout: AWAIT_MS,
    subscriptions: new Map([[ topic, '*' ]]), messageListener: { consume },
  });
  await consumer.startup();
  return consumer;
}

export class Scene {
  constructor(endpoint, name, producer) {
    Object.assign(this, { endpoint, name, producer });
  }

  async simple(topic = this.name, consumerGroup = this.name, expression = '*') {
    const consumer = new SimpleConsumer({
      endpoints: this.endpoint, namespace: '', consumerGroup, logger: silent, awaitDuration: AWAIT_MS,
      subscriptions: new Map([[ topic, expression ]]),
    });
    await consumer.startup();
    return consumer;
  }

  push(consume) {
    return startPush(this.endpoint, this.name, this.name, consume);
  }

  /** Sends a message and returns its id. */
  async send(body, options = {}) {
    const receipt = await this.producer.send({ topic: this.name, body: Buffer.from(body), ...options });
    return receipt.messageId;
  }
}

/** Collects so many messages, each delivered once. */
export async function receive(consumer, count, lease) {
  const all = [];
  for (const deadline = Date.now() + PATIENCE_MS; all.length < count;) {
    require(Date.now() < deadline, `${all.length} of ${count} messages came in ${PATIENCE_MS} ms`);
    all.push(...await poll(consumer, lease));
  }
  require(all.length === count, `${all.length} messages came where ${count} were sent`);
  return all;
}

/** Receives once; nothing there is no error. */
export async function poll(consumer, lease) {
  try {
    return await consumer.receive(16, lease);
  } catch (error) {
    if (error.code === 40401) return [];
    throw error;
  }
}

/** Fails if a message comes within the quiet time. */
export async function nothingComes(consumer) {
  for (const end = Date.now() + QUIET_MS; Date.now() < end;) {
    for (const message of await poll(consumer, SHORT_LEASE_MS)) {
      throw new Error(`message ${message.messageId} came again, attempt ${message.deliveryAttempt}`);
    }
  }
}

export async function ack(consumer, messages) {
  for (const message of messages) await consumer.ack(message);
}
