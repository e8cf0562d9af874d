package dev.reliablequeue.clients;

import static dev.reliablequeue.clients.Scene.CLIENT;
import static dev.reliablequeue.clients.Scene.LEASE;
import static dev.reliablequeue.clients.Scene.SHORT_LEASE;
import static dev.reliablequeue.clients.Scene.ack;
import static dev.reliablequeue.clients.Scene.nothingComes;
import static dev.reliablequeue.clients.Scene.receive;
import static dev.reliablequeue.clients.Scene.require;
import static dev.reliablequeue.clients.Scene.text;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/** Features of the producer of half messages. */
final class TransactionFeatures {
    private TransactionFeatures() {
    }

    static Producer producer(String endpoint, String topic, TransactionChecker checker) throws ClientException {
        return CLIENT.newProducerBuilder().setClientConfiguration(Scene.configuration(endpoint)).setTopics(topic)
            .setTransactionChecker(checker).build();
    }

    /** Sends a half message, leaves its transaction open and returns the message id. */
    static String sendHalf(Producer producer, Transaction transaction, String topic, String body)
        throws ClientException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        Message message = CLIENT.newMessageBuilder().setTopic(topic).setBody(bytes).build();
        return producer.send(message, transaction).getMessageId().toString();
    }

    static String transactions(Scene scene) throws Exception {
        AtomicInteger asked = new AtomicInteger();
        try (Producer producer = producer(scene.endpoint(), scene.name(), message -> {
            if (!text(message).equals("decided when asked")) {
                return TransactionResolution.UNKNOWN;
            }
            asked.incrementAndGet();
            return TransactionResolution.COMMIT;
        })) {
            Transaction committed = producer.beginTransaction();
            sendHalf(producer, committed, scene.name(), "committed");
            Transaction rolledBack = producer.beginTransaction();
            sendHalf(producer, rolledBack, scene.name(), "rolled back");
            try (SimpleConsumer consumer = scene.simple()) {
                List<MessageView> early = consumer.receive(16, SHORT_LEASE);
                require(early.isEmpty(), "%d messages came before any was committed", early.size());
                long sent = System.nanoTime();
                sendHalf(producer, producer.beginTransaction(), scene.name(), "decided when asked");
                committed.commit();
                rolledBack.rollback();
                List<MessageView> messages = receive(consumer, 2, LEASE);
                long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - sent);
                List<String> got = messages.stream().map(Scene::text).sorted().toList();
                require(got.equals(List.of("committed", "decided when asked")) && asked.get() == 1, "got %s after %d checks",
                    got, asked.get());
                ack(consumer, messages);
                nothingComes(consumer);
                return "committed, rolled back, and committed when asked, within " + seconds + " s";
            }
        }
    }

    static String producerKilled(Scene scene) throws Exception {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process holder = new ProcessBuilder(java, "-Duser.home=" + System.getProperty("user.home"), "-cp",
            System.getProperty("java.class.path"), Main.class.getName(), "--endpoint", scene.endpoint(), "--half",
            scene.name()).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String line = new BufferedReader(new InputStreamReader(holder.getInputStream())).readLine();
        holder.destroyForcibly().waitFor();
        require(line != null && line.startsWith("half "), "the producer to be killed said %s", line);
        String id = line.substring("half ".length());
        long killed = System.nanoTime();
        try (Producer producer = producer(scene.endpoint(), scene.name(),
            message -> message.getMessageId().toString().equals(id) ? TransactionResolution.COMMIT : TransactionResolution.UNKNOWN);
            SimpleConsumer consumer = scene.simple()) {
            List<MessageView> messages = receive(consumer, 1, LEASE);
            require(messages.get(0).getMessageId().toString().equals(id), "message %s, want %s",
                messages.get(0).getMessageId(), id);
            ack(consumer, messages);
            long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - killed);
            return "another producer was asked and committed it within " + seconds + " s";
        }
    }

    /** Sends a half message and never ends its transaction, until the process is killed. */
    static void leaveHalf(String endpoint, String topic) throws Exception {
        Producer producer = producer(endpoint, topic, message -> TransactionResolution.UNKNOWN);
        System.out.println("half " + sendHalf(producer, producer.beginTransaction(), topic, "left open"));
        new CountDownLatch(1).await();
        producer.close();
    }
}
