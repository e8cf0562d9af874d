// Sends one message, receives it, acknowledges it. Run a broker with `make run`, then here: npm ci && node greetings.mjs
import rocketmq from 'rocketmq-client-nodejs';

const { Producer, SimpleConsumer } = rocketmq;
const logger = { info() {}, warn: console.warn, error: console.error };
const broker = { endpoints: '127.0.0.1:8081', namespace: '', logger };

const producer = new Producer({ ...broker, topics: [ 'greetings-node' ] });
await producer.startup();
const receipt = await producer.send({ topic: 'greetings-node', body: Buffer.from('hello from Node.js') });
console.log('sent', receipt.messageId);

const consumer = new SimpleConsumer({
  ...broker, consumerGroup: 'greeters', awaitDuration: 5000,
  subscriptions: new Map([[ 'greetings-node', '*' ]]),
});
await consumer.startup();
for (const message of await consumer.receive(1, 30_000)) {
  console.log(`received ${message.messageId}: ${message.body}`);
  // Without this the message comes back after 30 s.
  await consumer.ack(message);
}
await consumer.shutdown();
await producer.shutdown();
process.exit(0); // the client's timers would keep the process for minutes
