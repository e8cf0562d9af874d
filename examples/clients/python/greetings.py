"""Sends one message, receives it, acknowledges it. Run a broker with `make run`, then here:
python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python greetings.py
"""

from rocketmq import ClientConfiguration, Credentials, FilterExpression, Message, Producer, SimpleConsumer

configuration = ClientConfiguration("127.0.0.1:8081", Credentials())

producer = Producer(configuration, ["greetings-python"])
producer.startup()
message = Message()
message.topic = "greetings-python"
message.body = "hello from Python".encode()
print("sent", producer.send(message).message_id)

consumer = SimpleConsumer(configuration, "greeters", {"greetings-python": FilterExpression()}, await_duration=5)
consumer.startup()
for message in consumer.receive(1, 30):
    print(f"received {message.message_id}: {message.body.decode()}")
    # Without this the message comes back after 30 s.
    consumer.ack(message)
consumer.shutdown()
producer.shutdown()
