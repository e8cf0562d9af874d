package dev.reliablequeue.clients;

import static dev.reliablequeue.clients.Scene.text;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/**
 * A producer of half messages that does what standard input says, a line at a time, and says what it did: whoever runs it
 * can strike between any two steps of a transaction. ../README.md lists the commands.
 */
final class InSteps {
    private static final long BETWEEN_ENDS_MILLIS = 100;

    private final String topic;
    private final Producer producer;
    /** By body: what its checks wait for. */
    private final Map<String, CompletableFuture<Void>> answers = new ConcurrentHashMap<>();
    private final Map<String, Transaction> open = new HashMap<>();

    InSteps(String endpoint, String topic) throws ClientException {
        this.topic = topic;
        producer = TransactionFeatures.producer(endpoint, topic, this::check);
    }

    /** Returns when standard input ends. */
    void run() throws IOException, ClientException {
        say("ready", topic);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] parts = line.split(" ", 2);
            String body = parts[1];
            switch (parts[0]) {
                case "send" -> {
                    Transaction transaction = producer.beginTransaction();
                    TransactionFeatures.sendHalf(producer, transaction, topic, body);
                    open.put(body, transaction);
                    say("stored", body);
                }
                case "end" -> {
                    Transaction transaction = open.get(body);
                    new Thread(() -> end(transaction, body)).start();
                }
                case "answer" -> answer(body).complete(null);
                default -> throw new IllegalArgumentException("no command " + parts[0]);
            }
        }
    }

    private CompletableFuture<Void> answer(String body) {
        return answers.computeIfAbsent(body, ignored -> new CompletableFuture<>());
    }

    private TransactionResolution check(MessageView message) {
        String body = text(message);
        say("asked", body);
        answer(body).join();
        return isRolledBack(body) ? TransactionResolution.ROLLBACK : TransactionResolution.COMMIT;
    }

    private static void end(Transaction transaction, String body) {
        while (true) {
            try {
                if (isRolledBack(body)) {
                    transaction.rollback();
                } else {
                    transaction.commit();
                }
                say("ended", body);
                return;
            } catch (ClientException | RuntimeException e) {
                System.err.println("end " + body + ": " + e);
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(BETWEEN_ENDS_MILLIS);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static boolean isRolledBack(String body) {
        return body.startsWith("roll back");
    }

    private static void say(String what, String body) {
        System.out.println(what + " " + body);
    }
}
