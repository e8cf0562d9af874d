package dev.reliablequeue.clients;

import static dev.reliablequeue.clients.Scene.PATIENCE;
import static dev.reliablequeue.clients.Scene.receive;
import static dev.reliablequeue.clients.Scene.require;
import static dev.reliablequeue.clients.Scene.text;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;

/** Features of the push consumer, and the consumer that is killed. */
final class PushFeatures {
    /** How long the long handler takes: longer than a lease. */
    static final long HANDLER_SECONDS = Long.parseLong(System.getenv().getOrDefault("RQ_LONG_HANDLER_SECONDS", "50"));

    private PushFeatures() {
    }

    /** The next element, or a failure that says what did not come. */
    private static <T> T next(BlockingQueue<T> queue, String what) throws InterruptedException {
        T element = queue.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        require(element != null, "%s did not come in %s", what, PATIENCE);
        return element;
    }

    static String pushConsumer(Scene scene) throws Exception {
        int count = 20;
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        try (PushConsumer consumer = scene.push(message -> {
            seen.add(message.getMessageId().toString());
            return ConsumeResult.SUCCESS;
        })) {
            Set<String> missing = new HashSet<>();
            for (int i = 0; i < count; i++) {
                missing.add(scene.send("" + i));
            }
            while (!missing.isEmpty()) {
                String id = next(seen, missing.size() + " of " + count + " messages");
                require(missing.remove(id), "message %s came twice or was never sent", id);
            }
        }
        require(seen.isEmpty(), "a message came twice");
        return count + " messages, each once";
    }

    static String failingUntilDeadLetter(Scene scene) throws Exception {
        BlockingQueue<Integer> attempts = new LinkedBlockingQueue<>();
        PushConsumer consumer = scene.push(message -> {
            attempts.add(message.getDeliveryAttempt());
            return ConsumeResult.FAILURE;
        });
        String id = scene.send("nobody wants it");
        for (int want = 1; want <= 3; want++) {
            int attempt = next(attempts, "attempt " + want);
            require(attempt == want, "attempt %d came, want %d", attempt, want);
        }
        MessageView dead = deadLetter(scene);
        require(dead.getMessageId().toString().equals(id) && text(dead).equals("nobody wants it"),
            "dead letter %s %s, want %s", dead.getMessageId(), text(dead), id);
        require(attempts.isEmpty(), "an attempt came after the last one");
        consumer.close();
        return "dead letter after attempts 1, 2, 3";
    }

    /** Waits for the dead-letter topic, which the first dead letter makes, and takes the first message. */
    private static MessageView deadLetter(Scene scene) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (true) {
            try (SimpleConsumer consumer = scene.simple("%DLQ%" + scene.name(), scene.name() + "-reader", "*")) {
                MessageView message = receive(consumer, 1, Scene.LEASE).get(0);
                consumer.ack(message);
                return message;
            } catch (ClientException | IllegalStateException e) {
                if (System.nanoTime() > deadline) {
                    throw e;
                }
                TimeUnit.MILLISECONDS.sleep(500);
            }
        }
    }

    /** Fails the third message of one message group once and the fourth of another twice. */
    static String fifoOrder(Scene scene) throws Exception {
        int perGroup = 5;
        Map<String, Integer> failures = new HashMap<>(Map.of("a 2", 1, "b 3", 2));
        Map<String, Integer> done = new HashMap<>(Map.of("a", 0, "b", 0));
        CompletableFuture<Void> finished = new CompletableFuture<>();
        PushConsumer consumer = scene.push(message -> {
            synchronized (done) {
                String body = text(message);
                String group = body.substring(0, 1);
                if (Integer.parseInt(body.substring(2)) != done.get(group)) {
                    finished.completeExceptionally(new AssertionError(
                        body + " came while " + done.get(group) + " of its message group is not done"));
                }
                if (failures.merge(body, -1, Integer::sum) >= 0) {
                    return ConsumeResult.FAILURE;
                }
                if (done.merge(group, 1, Integer::sum) == perGroup && done.values().stream().allMatch(n -> n == perGroup)) {
                    finished.complete(null);
                }
                return ConsumeResult.SUCCESS;
            }
        });
        for (int i = 0; i < perGroup; i++) {
            for (String group : new String[] {"a", "b"}) {
                scene.send(scene.message(group + " " + i).setMessageGroup(group).build());
            }
        }
        try {
            finished.get(2 * PATIENCE.toSeconds(), TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new AssertionError("only " + done + " of 5 done");
        }
        consumer.close();
        return "2 message groups of 5 in order through 3 failures";
    }

    static String longHandler(Scene scene) throws Exception {
        AtomicInteger deliveries = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(1);
        PushConsumer consumer = scene.push(message -> {
            deliveries.incrementAndGet();
            try {
                TimeUnit.SECONDS.sleep(HANDLER_SECONDS);
            } catch (InterruptedException e) {
                return ConsumeResult.FAILURE;
            }
            done.countDown();
            return ConsumeResult.SUCCESS;
        });
        scene.send("long work");
        require(done.await(PATIENCE.toSeconds() + HANDLER_SECONDS, TimeUnit.SECONDS), "the handler did not end");
        TimeUnit.SECONDS.sleep(Scene.QUIET.toSeconds());
        require(deliveries.get() == 1, "%d deliveries", deliveries.get());
        consumer.close();
        return HANDLER_SECONDS + " s in the handler, one delivery";
    }

    /** Kills a consumer in the middle of a message: another one must get it. */
    static String consumerKilled(Scene scene) throws Exception {
        String id = scene.send("survive");
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process holder = new ProcessBuilder(java, "-Duser.home=" + System.getProperty("user.home"), "-cp",
            System.getProperty("java.class.path"), Main.class.getName(), "--endpoint", scene.endpoint(), "--hold",
            scene.name(), scene.name()).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String line = new BufferedReader(new InputStreamReader(holder.getInputStream())).readLine();
        holder.destroyForcibly().waitFor();
        require(("held " + id).equals(line), "the consumer to be killed said %s, want held %s", line, id);
        long killed = System.nanoTime();
        BlockingQueue<MessageView> got = new LinkedBlockingQueue<>();
        PushConsumer consumer = scene.push(message -> {
            got.add(message);
            return ConsumeResult.SUCCESS;
        });
        MessageView message = got.poll(2 * PATIENCE.toSeconds(), TimeUnit.SECONDS);
        require(message != null, "nobody got the message after the kill");
        require(message.getMessageId().toString().equals(id) && message.getDeliveryAttempt() == 2,
            "message %s attempt %d, want %s attempt 2", message.getMessageId(), message.getDeliveryAttempt(), id);
        long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - killed);
        consumer.close();
        return "another consumer got it after " + seconds + " s";
    }

    /** Takes a message and never finishes with it, until the process is killed. */
    static void holdMessage(String endpoint, String topic, String group) throws Exception {
        CountDownLatch never = new CountDownLatch(1);
        PushConsumer consumer = Scene.push(endpoint, topic, group, message -> {
            System.out.println("held " + message.getMessageId());
            try {
                never.await();
            } catch (InterruptedException e) {
                return ConsumeResult.FAILURE;
            }
            return ConsumeResult.SUCCESS;
        });
        never.await();
        consumer.close();
    }
}
