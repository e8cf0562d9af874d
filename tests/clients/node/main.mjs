// Checks a broker with the official Node.js client: one JSON line a feature, exit code 1 when one fails.
// It must never create topics or groups: whoever runs it prepares them (see ../README.md).

import { parseArgs } from 'node:util';
import { inSteps } from './in_steps.mjs';
import { newProducer, Scene } from './scene.mjs';
import * as delay from './delayed_features.mjs';
import * as push from './push_features.mjs';
import * as simple from './simple_features.mjs';
import * as transaction from './transaction_features.mjs';

// How long one feature may take before it counts as failed.
const FEATURE_DEADLINE_MS = 150_000 + push.HANDLER_MS;

const FEATURES = {
  'send-receive-ack': simple.sendReceiveAck,
  'no-redelivery-after-ack': simple.noRedeliveryAfterAck,
  'redelivery-without-ack': simple.redeliveryWithoutAck,
  'change-invisible': simple.changeInvisible,
  'consumer-killed-while-processing': push.consumerKilled,
  'push-consumer': push.pushConsumer,
  'failing-push-consumer-until-dead-letter': push.failingUntilDeadLetter,
  'fifo-order-through-failures': push.fifoOrder,
  'tag-filter': simple.tagFilter,
  'sql-filter': simple.sqlFilter,
  delayed: delay.delayed,
  recall: delay.recall,
  bodies: simple.bodies,
  errors: simple.illegalInput,
  transactions: transaction.transactions,
  'transaction-producer-killed': transaction.producerKilled,
  'long-handler-auto-renew': push.longHandler,
};

async function report(feature, outcome) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${FEATURE_DEADLINE_MS} ms`)), FEATURE_DEADLINE_MS);
  });
  let line;
  try {
    line = { feature, result: 'pass', detail: await Promise.race([ outcome, late ]) };
  } catch (error) {
    line = { feature, result: 'fail', detail: String(error) };
  }
  clearTimeout(timer);
  console.log(JSON.stringify(line));
  return line.result === 'pass';
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    endpoint: { type: 'string', default: '127.0.0.1:8081' },
    'run-id': { type: 'string', default: '' },
    half: { type: 'boolean', default: false },
    hold: { type: 'boolean', default: false },
    'in-steps': { type: 'boolean', default: false },
  },
});
if (values.hold) {
  await push.holdMessage(values.endpoint, ...positionals);
} else if (values.half) {
  await transaction.leaveHalf(values.endpoint, ...positionals);
} else if (values['in-steps']) {
  await inSteps(values.endpoint, ...positionals);
} else {
  const wanted = Object.entries(FEATURES).filter(([ name ]) => positionals.length === 0 || positionals.includes(name));
  // It could not say how the transactions of other producers ended: it must not be one of their topics.
  const plain = wanted.filter(([ name ]) => !name.startsWith('transaction'));
  const producer = await newProducer(values.endpoint, plain.map(([ name ]) => `${values['run-id']}-${name}`));
  const passed = await Promise.all(wanted.map(([ name, run ]) =>
    report(name, run(new Scene(values.endpoint, `${values['run-id']}-${name}`, producer)))));
  await producer.shutdown();
  // Consumers of failed features may still run.
  process.exit(passed.every(Boolean) ? 0 : 1);
}
