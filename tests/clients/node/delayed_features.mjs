// Features of delayed messages.

import { ack, LEASE_MS, nothingComes, receive, require } from './scene.mjs';

// How long a message is held back: longer than it takes to look that it does not come at once.
const DELAY_MS = 5_000;

function sendDelayed(scene, body, at) {
  return scene.producer.send({ topic: scene.name, body: Buffer.from(body), deliveryTimestamp: new Date(at) });
}

export async function delayed(scene) {
  const consumer = await scene.simple();
  const at = Date.now() + DELAY_MS;
  await sendDelayed(scene, 'later', at);
  const messages = await receive(consumer, 1, LEASE_MS);
  const late = Date.now() - at;
  require(late >= 0, `${-late} ms before its time`);
  await ack(consumer, messages);
  await nothingComes(consumer);
  await consumer.shutdown();
  return `${late} ms after its time`;
}

export async function recall(scene) {
  const consumer = await scene.simple();
  const receipt = await sendDelayed(scene, 'recalled', Date.now() + DELAY_MS);
  const { messageId } = await scene.producer.recallMessage(scene.name, receipt.recallHandle);
  require(messageId === receipt.messageId, `recalled ${messageId}, want ${receipt.messageId}`);
  const refused = await scene.producer.recallMessage(scene.name, 'nonsense').then(() => false, () => true);
  require(refused, 'nonsense was recalled');
  await nothingComes(consumer);
  await consumer.shutdown();
  return 'a recalled message does not come';
}
