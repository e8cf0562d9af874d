"""Features of the push consumer, and the consumer that is killed."""

import os
import queue
import subprocess
import sys
import threading
import time

from rocketmq import ConsumeResult

from scene import LEASE, PATIENCE, QUIET, receive, require, start_push


# How long the long handler takes, in seconds: longer than a lease.
HANDLER_TIME = int(os.environ.get("RQ_LONG_HANDLER_SECONDS", "50"))


def following(messages, what, patience=PATIENCE):
    """The next element, or a failure that says what did not come."""
    try:
        return messages.get(timeout=patience)
    except queue.Empty:
        raise AssertionError(f"{what} did not come in {patience} s") from None


def push_consumer(scene):
    count = 20
    seen = queue.Queue()

    def handle(message):
        seen.put(message.message_id)
        return ConsumeResult.SUCCESS

    consumer = scene.push(handle)
    missing = {scene.send(str(i)) for i in range(count)}
    while missing:
        message_id = following(seen, f"{len(missing)} of {count} messages")
        require(message_id in missing, f"message {message_id} came twice or was never sent")
        missing.remove(message_id)
    consumer.shutdown()
    require(seen.empty(), "a message came twice")
    return f"{count} messages, each once"


def failing_until_dead_letter(scene):
    attempts = queue.Queue()

    def handle(message):
        attempts.put(message.delivery_attempt)
        return ConsumeResult.FAILURE

    scene.push(handle)
    sent = scene.send("nobody wants it")
    for want in (1, 2, 3):
        attempt = following(attempts, f"attempt {want}")
        require(attempt == want, f"attempt {attempt} came, want {want}")
    dead = dead_letter(scene)
    require(dead.message_id == sent and dead.body == b"nobody wants it", f"dead letter {dead.message_id}, want {sent}")
    require(attempts.empty(), "an attempt came after the last one")
    return "dead letter after attempts 1, 2, 3"


def dead_letter(scene):
    """Waits for the dead-letter topic, which the first dead letter makes, and takes the first message."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            consumer = scene.simple(topic=f"%DLQ%{scene.name}", group=f"{scene.name}-reader")
            message = receive(consumer, 1, LEASE)[0]
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
            continue
        consumer.ack(message)
        return message


def fifo_order(scene):
    """Fails the third message of one message group once and the fourth of another twice."""
    per_group = 5
    failures = {"a 2": 1, "b 3": 2}
    done = {"a": 0, "b": 0}
    lock = threading.Lock()
    finished = queue.Queue()

    def handle(message):
        with lock:
            body = message.body.decode()
            group, number = body.split()
            if int(number) != done[group]:
                finished.put(f"{body} came while {done[group]} of its message group is not done")
            if failures.get(body, 0) > 0:
                failures[body] -= 1
                return ConsumeResult.FAILURE
            done[group] += 1
            if done == {"a": per_group, "b": per_group}:
                finished.put(None)
            return ConsumeResult.SUCCESS

    scene.push(handle)
    for i in range(per_group):
        for group in ("a", "b"):
            scene.send(f"{group} {i}", group=group)
    try:
        disorder = finished.get(timeout=2 * PATIENCE)
    except queue.Empty:
        disorder = f"only {done} of {per_group} done in {2 * PATIENCE} s"
    require(disorder is None, disorder)
    return "2 message groups of 5 in order through 3 failures"


def long_handler(scene):
    starts, ends = queue.Queue(), queue.Queue()

    def handle(message):
        starts.put(message.message_id)
        time.sleep(HANDLER_TIME)
        ends.put(message.message_id)
        return ConsumeResult.SUCCESS

    scene.push(handle)
    scene.send("long work")
    following(ends, "the end of the handler", PATIENCE + HANDLER_TIME)
    time.sleep(QUIET)
    require(starts.qsize() == 1, f"{starts.qsize()} deliveries")
    return f"{HANDLER_TIME} s in the handler, one delivery"


def consumer_killed(scene):
    """Kills a consumer in the middle of a message: another one must get it."""
    sent = scene.send("survive")
    holder = subprocess.Popen(
        [sys.executable, sys.argv[0], "--endpoint", scene.endpoint, "--hold", scene.name, scene.name],
        stdout=subprocess.PIPE, text=True)
    line = holder.stdout.readline().strip()
    holder.kill()
    holder.wait()
    require(line == f"held {sent}", f"the consumer to be killed said {line}, want held {sent}")
    killed = time.monotonic()
    got = queue.Queue()

    def handle(message):
        got.put(message)
        return ConsumeResult.SUCCESS

    scene.push(handle)
    message = following(got, "the message of the killed consumer", 2 * PATIENCE)
    require((message.message_id, message.delivery_attempt) == (sent, 2),
            f"message {message.message_id} attempt {message.delivery_attempt}, want {sent} attempt 2")
    return f"another consumer got it after {time.monotonic() - killed:.0f} s"


def hold_message(endpoint, topic, group):
    """Takes a message and never finishes with it, until the process is killed."""
    never = threading.Event()

    def handle(message):
        print(f"held {message.message_id}", flush=True)
        never.wait()

    start_push(endpoint, topic, group, handle)
    never.wait()
