"""Features of the producer and the simple consumer."""

import time

from rocketmq.grpc_protocol import FilterType

from scene import LEASE, QUIET, SHORT_LEASE, ack, nothing_comes, receive, refused, require


def send_receive_ack(scene):
    count = 10
    sent = {scene.send(f"body {i}", tag="tag", keys=["key", f"key-{i}"], properties={"number": str(i)}): i
            for i in range(count)}
    consumer = scene.simple()
    messages = receive(consumer, count, LEASE)
    for m in messages:
        require(m.message_id in sent, f"message {m.message_id} was never sent or came twice")
        i = sent.pop(m.message_id)
        require(m.body == f"body {i}".encode(), f"body {m.body} of message {i}")
        require(m.tag == "tag", f"tag {m.tag}")
        require(set(m.keys) == {"key", f"key-{i}"}, f"keys {m.keys}")
        require(m.properties.get("number") == str(i), f"properties {m.properties}")
        require(m.topic == scene.name, f"topic {m.topic}")
        require(m.delivery_attempt == 1, f"attempt {m.delivery_attempt}, want 1")
        require(not m.corrupted, "taken for corrupted")
    ack(consumer, messages)
    consumer.shutdown()
    return f"{count} messages"


def no_redelivery_after_ack(scene):
    for i in range(3):
        scene.send(str(i))
    consumer = scene.simple()
    ack(consumer, receive(consumer, 3, SHORT_LEASE))
    nothing_comes(consumer)
    return f"quiet for {QUIET} s after acks of leases of {SHORT_LEASE} s"


def redelivery_without_ack(scene):
    sent = scene.send("come back")
    consumer = scene.simple()
    earlier = []
    for attempt in (1, 2, 3):
        m = receive(consumer, 1, SHORT_LEASE)[0]
        require((m.message_id, m.delivery_attempt) == (sent, attempt),
                f"message {m.message_id} attempt {m.delivery_attempt}, want {sent} attempt {attempt}")
        earlier.append(m)
    refusal = refused("an ack with the handle of an earlier delivery", lambda: consumer.ack(earlier[0]))
    consumer.ack(earlier[2])
    return f"attempts 1, 2, 3; ack of the first delivery: {refusal}"


def change_invisible(scene):
    scene.send("sooner")
    consumer = scene.simple()
    first = receive(consumer, 1, 120)[0]
    changed = time.monotonic()
    consumer.change_invisible_duration(first, 2)
    second = receive(consumer, 1, SHORT_LEASE)[0]
    after = time.monotonic() - changed
    require(second.delivery_attempt == 2 and after > 1.5,
            f"attempt {second.delivery_attempt} after {after:.1f} s, want 2 after 2 s")
    consumer.change_invisible_duration(second, 20)
    nothing_comes(consumer)
    consumer.ack(second)
    return f"back after {after:.1f} s, then held by a longer lease"


def tag_filter(scene):
    for tag in ("a", "b", "c", None, "a", "b"):
        scene.send(f"tag {tag}", tag=tag)
    consumer = scene.simple(expression="a || c")
    messages = receive(consumer, 3, LEASE)
    got = sorted(m.body for m in messages)
    require(got == [b"tag a", b"tag a", b"tag c"], f"got {got}")
    ack(consumer, messages)
    nothing_comes(consumer)
    return '"a || c" of a, b, c and none'


def sql_filter(scene):
    for number in ("1", "3", "12"):
        scene.send(f"number {number}", properties={"number": number})
    scene.send("number none")
    scene.send("number always", tag="always")
    expression = "number >= 3 OR TAGS = 'always'"
    consumer = scene.simple(expression=expression, kind=FilterType.SQL)
    messages = receive(consumer, 3, LEASE)
    got = sorted(m.body for m in messages)
    require(got == [b"number 12", b"number 3", b"number always"], f"got {got}")
    ack(consumer, messages)
    nothing_comes(consumer)
    return expression


def bodies(scene):
    sent = {
        "binary": bytes(range(256)),
        "unicode": "žluťoučký 馬 🐎\0\n".encode(),
        "mebibyte": bytes((i * i >> 7) & 0xFF for i in range(1 << 20)),
        "byte": b"\0",
    }
    for kind, body in sent.items():
        scene.send(body, properties={"kind": kind, "ключ-鍵": "значение 値 🗝"})
    consumer = scene.simple()
    messages = receive(consumer, len(sent), LEASE)
    for m in messages:
        kind = m.properties["kind"]
        require(m.body == sent[kind] and not m.corrupted, f"the {kind} body came back changed")
        require(m.properties["ключ-鍵"] == "значение 値 🗝", f"unicode property came back as {m.properties}")
    ack(consumer, messages)
    return "every byte value, unicode with properties, 1 MiB, 1 byte"


def illegal_input(scene):
    unknown = f"{scene.name}-unknown"
    cases = {
        "empty body": lambda: scene.send(""),
        "body over the limit": lambda: scene.send(bytes((4 << 20) + 1)),
        "illegal topic": lambda: scene.send("x", topic="no spaces!"),
        "unknown topic": lambda: scene.send("x", topic=unknown),
        "message group on a normal topic": lambda: scene.send("x", group="group"),
        "reserved property": lambda: scene.send("x", properties={"UNIQ_KEY": "x"}),
        "tag with a bar": lambda: scene.send("x", tag="a|b"),
        "receive from an unknown topic": lambda: scene.simple(topic=unknown).receive(1, SHORT_LEASE),
    }
    seen = [f"{what}: {refused(what, call)}" for what, call in cases.items()]
    scene.send("a legal message after the illegal ones")
    return "; ".join(seen)
