"""Features of delayed messages."""

import time

from rocketmq import Message

from scene import LEASE, ack, nothing_comes, receive, refused, require

# How long a message is held back, in seconds: longer than it takes to look that it does not come at once.
DELAY = 5


def send_delayed(scene, body, at):
    message = Message()
    message.topic = scene.name
    message.body = body.encode()
    # This client takes seconds, whatever its documentation says.
    message.delivery_timestamp = at
    return scene.producer.send(message)


def delayed(scene):
    consumer = scene.simple()
    at = int(time.time()) + DELAY
    send_delayed(scene, "later", at)
    messages = receive(consumer, 1, LEASE)
    late = time.time() - at
    require(late >= 0, f"{-late} s before its time")
    ack(consumer, messages)
    nothing_comes(consumer)
    consumer.shutdown()
    return f"{late * 1000:.0f} ms after its time"


def recall(scene):
    consumer = scene.simple()
    receipt = send_delayed(scene, "recalled", int(time.time()) + DELAY)
    recalled = scene.producer.recall_message(scene.name, receipt.recall_handle)
    require(recalled == receipt.message_id, f"recalled {recalled}, want {receipt.message_id}")
    refused("nonsense", lambda: scene.producer.recall_message(scene.name, "nonsense"))
    nothing_comes(consumer)
    consumer.shutdown()
    return "a recalled message does not come"
