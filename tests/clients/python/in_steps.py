"""A producer of half messages that does what standard input says, a line at a time, and says what it did: whoever runs it
can strike between any two steps of a transaction."""

import sys
import threading
import time

from rocketmq import TransactionChecker, TransactionResolution

from scene import new_producer
from transaction_features import send_half

# Between two tries to end a transaction, in seconds.
BETWEEN_ENDS = 0.1


def is_rolled_back(body):
    return body.startswith("roll back")


def say(what, body):
    # One write: several threads say something.
    sys.stdout.write(f"{what} {body}\n")
    sys.stdout.flush()


class Checker(TransactionChecker):
    """Says what it is asked about, and answers when it may."""

    def __init__(self):
        self.answers = {}

    def may_answer(self, body):
        # One event whichever thread asks first.
        return self.answers.setdefault(body, threading.Event())

    def check(self, message):
        body = message.body.decode()
        say("asked", body)
        self.may_answer(body).wait()
        return TransactionResolution.ROLLBACK if is_rolled_back(body) else TransactionResolution.COMMIT


def end(transaction, body):
    while True:
        try:
            transaction.rollback() if is_rolled_back(body) else transaction.commit()
        except Exception as error:
            print(f"end {body}: {error}", file=sys.stderr, flush=True)
            time.sleep(BETWEEN_ENDS)
        else:
            return say("ended", body)


def in_steps(endpoint, topic):
    """Does what standard input says, until it ends; ../README.md lists the commands."""
    checker = Checker()
    producer = new_producer(endpoint, [topic], checker)
    say("ready", topic)
    open_transactions = {}
    for line in sys.stdin:
        command, body = line.rstrip("\n").split(" ", 1)
        if command == "send":
            open_transactions[body], _ = send_half(producer, topic, body)
            say("stored", body)
        elif command == "end":
            threading.Thread(target=end, args=(open_transactions[body], body), daemon=True).start()
        elif command == "answer":
            checker.may_answer(body).set()
        else:
            raise ValueError(f"no command {command!r}")
