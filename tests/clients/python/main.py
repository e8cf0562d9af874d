"""Checks a broker with the official Python client: one JSON line a feature, exit code 1 when one fails.

It must never create topics or groups: whoever runs it prepares them (see ../README.md).
"""

import argparse
import json
import os
import queue
import sys
import threading
import traceback

import delayed_features as delay
import in_steps
import push_features as push
import simple_features as simple
import transaction_features as transaction
from scene import Scene, new_producer

# How long one feature may take, in seconds, before it counts as failed.
FEATURE_DEADLINE = 150 + push.HANDLER_TIME

FEATURES = {
    "send-receive-ack": simple.send_receive_ack,
    "no-redelivery-after-ack": simple.no_redelivery_after_ack,
    "redelivery-without-ack": simple.redelivery_without_ack,
    "change-invisible": simple.change_invisible,
    "consumer-killed-while-processing": push.consumer_killed,
    "push-consumer": push.push_consumer,
    "failing-push-consumer-until-dead-letter": push.failing_until_dead_letter,
    "fifo-order-through-failures": push.fifo_order,
    "tag-filter": simple.tag_filter,
    "sql-filter": simple.sql_filter,
    "delayed": delay.delayed,
    "recall": delay.recall,
    "bodies": simple.bodies,
    "errors": simple.illegal_input,
    "transactions": transaction.transactions,
    "transaction-producer-killed": transaction.producer_killed,
    "long-handler-auto-renew": push.long_handler,
}


def run_feature(name, scene, reports):
    try:
        line = {"feature": name, "result": "pass", "detail": FEATURES[name](scene)}
    except Exception as error:
        line = {"feature": name, "result": "fail", "detail": f"{type(error).__name__}: {error}"}
    reports.put(line)


def run_features(endpoint, run_id, names):
    # It could not say how the transactions of other producers ended: it must not be one of their topics.
    plain = [name for name in names if not name.startswith("transaction")]
    producer = new_producer(endpoint, [f"{run_id}-{name}" for name in plain])
    reports = queue.Queue()
    for name in names:
        scene = Scene(endpoint, f"{run_id}-{name}", producer)
        threading.Thread(target=run_feature, args=(name, scene, reports), daemon=True).start()
    missing, passed = set(names), True
    while missing:
        try:
            line = reports.get(timeout=FEATURE_DEADLINE)
        except queue.Empty:
            line = {"feature": min(missing), "result": "fail", "detail": f"not done after {FEATURE_DEADLINE} s"}
        missing.discard(line["feature"])
        passed = passed and line["result"] != "fail"
        print(json.dumps(line, ensure_ascii=False), flush=True)
    producer.shutdown()
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", default="127.0.0.1:8081")
    parser.add_argument("--run-id", default="")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--in-steps", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.hold:
        push.hold_message(arguments.endpoint, *arguments.names)
    if arguments.half:
        transaction.leave_half(arguments.endpoint, *arguments.names)
    if arguments.in_steps:
        try:
            in_steps.in_steps(arguments.endpoint, *arguments.names)
        except Exception:
            traceback.print_exc()
            # The client's threads would keep it.
            os._exit(1)
        os._exit(0)
    passed = run_features(arguments.endpoint, arguments.run_id, arguments.names or list(FEATURES))
    sys.stdout.flush()
    # Consumers of failed features keep threads that never end.
    os._exit(0 if passed else 1)


if __name__ == "__main__":
    main()
