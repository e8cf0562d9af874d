package dev.reliablequeue.clients;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;

/**
 * What a feature works with: its own topic and consumer group of the same name, and clients with the settings every
 * feature shares.
 */
record Scene(String endpoint, String name, Producer producer) {
    /** How long a message that must come may take. */
    static final Duration PATIENCE = Duration.ofSeconds(60);
    /** How long nothing may come where nothing must; longer than the leases that are left to lapse. */
    static final Duration QUIET = Duration.ofSeconds(7);
    /** The invisible duration of messages that are to come back. */
    static final Duration SHORT_LEASE = Duration.ofSeconds(3);
    static final Duration LEASE = Duration.ofSeconds(30);
    /** The long-polling time of the simple consumers. */
    private static final Duration AWAIT = Duration.ofSeconds(5);
    static final ClientServiceProvider CLIENT = ClientServiceProvider.loadService();

    static ClientConfiguration configuration(String endpoint) {
        return ClientConfiguration.newBuilder().setEndpoints(endpoint).enableSsl(false).build();
    }

    static Producer newProducer(String endpoint) throws ClientException {
        return CLIENT.newProducerBuilder().setClientConfiguration(configuration(endpoint)).build();
    }

    SimpleConsumer simple(String topic, String group, String expression) throws ClientException {
        return simple(topic, group, new FilterExpression(expression));
    }

    SimpleConsumer simple(String topic, String group, FilterExpression filter) throws ClientException {
        return CLIENT.newSimpleConsumerBuilder()
            .setClientConfiguration(configuration(endpoint))
            .setConsumerGroup(group)
            .setAwaitDuration(AWAIT)
            .setSubscriptionExpressions(Map.of(topic, filter))
            .build();
    }

    SimpleConsumer simple() throws ClientException {
        return simple(name, name, "*");
    }

    static PushConsumer push(String endpoint, String topic, String group, MessageListener listener)
        throws ClientException {
        return CLIENT.newPushConsumerBuilder()
            .setClientConfiguration(configuration(endpoint))
            .setConsumerGroup(group)
            .setSubscriptionExpressions(Map.of(topic, FilterExpression.SUB_ALL))
            .setMessageListener(listener)
            .build();
    }

    PushConsumer push(MessageListener listener) throws ClientException {
        return push(endpoint, name, name, listener);
    }

    MessageBuilder message(byte[] body) {
        return CLIENT.newMessageBuilder().setTopic(name).setBody(body);
    }

    MessageBuilder message(String body) {
        return message(body.getBytes(StandardCharsets.UTF_8));
    }

    /** Sends a message and returns its id. */
    String send(Message message) throws ClientException {
        return producer.send(message).getMessageId().toString();
    }

    String send(String body) throws ClientException {
        return send(message(body).build());
    }

    /** Collects so many messages, each delivered once. */
    static List<MessageView> receive(SimpleConsumer consumer, int count, Duration lease) throws ClientException {
        List<MessageView> all = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (all.size() < count) {
            require(System.nanoTime() < deadline, "%d of %d messages came in %s", all.size(), count, PATIENCE);
            all.addAll(consumer.receive(16, lease));
        }
        require(all.size() == count, "%d messages came where %d were sent", all.size(), count);
        return all;
    }

    /** Fails if a message comes within the quiet time. */
    static void nothingComes(SimpleConsumer consumer) throws ClientException {
        long end = System.nanoTime() + QUIET.toNanos();
        while (System.nanoTime() < end) {
            for (MessageView message : consumer.receive(16, SHORT_LEASE)) {
                throw new AssertionError("message " + message.getMessageId() + " came again, attempt "
                    + message.getDeliveryAttempt());
            }
        }
    }

    static void ack(SimpleConsumer consumer, List<MessageView> messages) throws ClientException {
        for (MessageView message : messages) {
            consumer.ack(message);
        }
    }

    static byte[] bytes(MessageView message) {
        ByteBuffer body = message.getBody();
        byte[] bytes = new byte[body.remaining()];
        body.get(bytes);
        return bytes;
    }

    static String text(MessageView message) {
        return new String(bytes(message), StandardCharsets.UTF_8);
    }

    static void require(boolean holds, String otherwise, Object... arguments) {
        if (!holds) {
            throw new AssertionError(String.format(otherwise, arguments));
        }
    }
}
