"""What a feature works with: its own topic and consumer group of the same name, and clients of the official library
with the settings every feature shares. Times are in seconds."""

import time

from rocketmq import (ClientConfiguration, Credentials, FilterExpression, Message, MessageListener, Producer,
                      PushConsumer, SimpleConsumer)
from rocketmq.grpc_protocol import FilterType

# How long a message that must come may take.
PATIENCE = 60
# How long nothing may come where nothing must; longer than the leases that are left to lapse.
QUIET = 7
# The invisible duration of messages that are to come back.
SHORT_LEASE = 3
LEASE = 30
# The long-polling time of the simple consumers.
AWAIT = 5


def require(holds, otherwise):
    if not holds:
        raise AssertionError(otherwise)


def configuration(endpoint):
    return ClientConfiguration(endpoint, Credentials())


def new_producer(endpoint, topics, checker=None):
    producer = Producer(configuration(endpoint), topics, checker)
    producer.startup()
    return producer


class Listener(MessageListener):
    def __init__(self, handle):
        self.handle = handle

    def consume(self, message):
        return self.handle(message)


def start_push(endpoint, topic, group, handle):
    consumer = PushConsumer(configuration(endpoint), group, Listener(handle), {topic: FilterExpression()})
    consumer.startup()
    return consumer


class Scene:
    def __init__(self, endpoint, name, producer):
        self.endpoint = endpoint
        self.name = name
        self.producer = producer

    def simple(self, topic=None, group=None, expression="*", kind=FilterType.TAG):
        consumer = SimpleConsumer(configuration(self.endpoint), group or self.name,
                                  {topic or self.name: FilterExpression(expression, kind)}, await_duration=AWAIT)
        consumer.startup()
        return consumer

    def push(self, handle):
        return start_push(self.endpoint, self.name, self.name, handle)

    def send(self, body, topic=None, tag=None, keys=(), group=None, properties=None):
        """Sends a message and returns its id."""
        message = Message()
        message.topic = topic or self.name
        message.body = body.encode() if isinstance(body, str) else body
        if tag is not None:
            message.tag = tag
        for key in keys:
            message.keys = key
        if group is not None:
            message.message_group = group
        for key, value in (properties or {}).items():
            message.add_property(key, value)
        return self.producer.send(message).message_id


def receive(consumer, count, lease):
    """Collects so many messages, each delivered once."""
    messages = []
    deadline = time.monotonic() + PATIENCE
    while len(messages) < count:
        require(time.monotonic() < deadline, f"{len(messages)} of {count} messages came in {PATIENCE} s")
        messages += consumer.receive(16, lease)
    require(len(messages) == count, f"{len(messages)} messages came where {count} were sent")
    return messages


def nothing_comes(consumer):
    """Fails if a message comes within the quiet time."""
    end = time.monotonic() + QUIET
    while time.monotonic() < end:
        for message in consumer.receive(16, SHORT_LEASE):
            raise AssertionError(f"message {message.message_id} came again, attempt {message.delivery_attempt}")


def ack(consumer, messages):
    for message in messages:
        consumer.ack(message)


def refused(what, call):
    """Returns how the call was refused; fails if it was not."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"{what}: accepted")
