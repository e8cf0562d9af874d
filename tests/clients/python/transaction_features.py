"""Features of the producer of half messages."""

import subprocess
import sys
import threading
import time

from rocketmq import Message, TransactionChecker, TransactionResolution

from scene import LEASE, SHORT_LEASE, ack, new_producer, nothing_comes, receive, require


class Checker(TransactionChecker):
    """Commits what the condition wants, and does not know of anything else."""

    def __init__(self, commits):
        self.commits = commits
        self.asked = 0

    def check(self, message):
        if self.commits(message):
            self.asked += 1
            return TransactionResolution.COMMIT
        return TransactionResolution.TRANSACTION_RESOLUTION_UNSPECIFIED


def send_half(producer, topic, body):
    """Sends a half message, leaves its transaction open and returns it with the message id."""
    transaction = producer.begin_transaction()
    message = Message()
    message.topic = topic
    message.body = body.encode()
    return transaction, producer.send(message, transaction).message_id


def transactions(scene):
    checker = Checker(lambda message: message.body == b"decided when asked")
    producer = new_producer(scene.endpoint, [scene.name], checker)
    committed, _ = send_half(producer, scene.name, "committed")
    rolled_back, _ = send_half(producer, scene.name, "rolled back")
    consumer = scene.simple()
    early = consumer.receive(16, SHORT_LEASE)
    require(not early, f"{len(early)} messages came before any was committed")
    sent = time.monotonic()
    send_half(producer, scene.name, "decided when asked")
    committed.commit()
    rolled_back.rollback()
    messages = receive(consumer, 2, LEASE)
    after = time.monotonic() - sent
    got = sorted(message.body.decode() for message in messages)
    require(got == ["committed", "decided when asked"] and checker.asked == 1,
            f"got {got} after {checker.asked} checks")
    ack(consumer, messages)
    nothing_comes(consumer)
    consumer.shutdown()
    producer.shutdown()
    return f"committed, rolled back, and committed when asked, within {after:.0f} s"


def producer_killed(scene):
    holder = subprocess.Popen([sys.executable, "-B", sys.argv[0], "--endpoint", scene.endpoint, "--half", scene.name],
                              stdout=subprocess.PIPE, text=True)
    line = holder.stdout.readline().strip()
    holder.kill()
    holder.wait()
    require(line.startswith("half "), f"the producer to be killed said {line!r}")
    message_id = line.removeprefix("half ")
    killed = time.monotonic()
    producer = new_producer(scene.endpoint, [scene.name], Checker(lambda message: message.message_id == message_id))
    consumer = scene.simple()
    messages = receive(consumer, 1, LEASE)
    require(messages[0].message_id == message_id, f"message {messages[0].message_id}, want {message_id}")
    ack(consumer, messages)
    consumer.shutdown()
    producer.shutdown()
    return f"another producer was asked and committed it within {time.monotonic() - killed:.0f} s"


def leave_half(endpoint, topic):
    """Sends a half message and never ends its transaction, until the process is killed."""
    producer = new_producer(endpoint, [topic], Checker(lambda _: False))
    _, message_id = send_half(producer, topic, "left open")
    print(f"half {message_id}", flush=True)
    threading.Event().wait()
