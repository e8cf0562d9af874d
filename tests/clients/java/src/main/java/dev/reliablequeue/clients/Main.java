package dev.reliablequeue.clients;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.rocketmq.client.apis.producer.Producer;

/**
 * Checks a broker with the official Java client: one JSON line a feature, exit code 1 when one fails. It must never
 * create topics or groups: whoever runs it prepares them (see ../README.md).
 */
public final class Main {
    /** How long one feature may take before it counts as failed. */
    private static final long FEATURE_DEADLINE_SECONDS = 150 + PushFeatures.HANDLER_SECONDS;

    interface Feature {
        /** Returns what is worth telling; throws when the feature fails. */
        String run(Scene scene) throws Exception;
    }

    private static final Map<String, Feature> FEATURES = new LinkedHashMap<>();

    static {
        FEATURES.put("send-receive-ack", SimpleFeatures::sendReceiveAck);
        FEATURES.put("no-redelivery-after-ack", SimpleFeatures::noRedeliveryAfterAck);
        FEATURES.put("redelivery-without-ack", SimpleFeatures::redeliveryWithoutAck);
        FEATURES.put("change-invisible", SimpleFeatures::changeInvisible);
        FEATURES.put("consumer-killed-while-processing", PushFeatures::consumerKilled);
        FEATURES.put("push-consumer", PushFeatures::pushConsumer);
        FEATURES.put("failing-push-consumer-until-dead-letter", PushFeatures::failingUntilDeadLetter);
        FEATURES.put("fifo-order-through-failures", PushFeatures::fifoOrder);
        FEATURES.put("tag-filter", SimpleFeatures::tagFilter);
        FEATURES.put("sql-filter", SimpleFeatures::sqlFilter);
        FEATURES.put("delayed", DelayedFeatures::delayed);
        FEATURES.put("recall", DelayedFeatures::recall);
        FEATURES.put("bodies", SimpleFeatures::bodies);
        FEATURES.put("errors", SimpleFeatures::illegalInput);
        FEATURES.put("transactions", TransactionFeatures::transactions);
        FEATURES.put("transaction-producer-killed", TransactionFeatures::producerKilled);
        FEATURES.put("long-handler-auto-renew", PushFeatures::longHandler);
    }

    private Main() {
    }

    public static void main(String[] args) throws Exception {
        String endpoint = "127.0.0.1:8081";
        String runId = "";
        List<String> names = new ArrayList<>();
        boolean hold = false;
        boolean half = false;
        boolean inSteps = false;
        for (int i = 0; i < args.length; i++) {
            switch (args[i]) {
                case "--endpoint" -> endpoint = args[++i];
                case "--run-id" -> runId = args[++i];
                case "--hold" -> hold = true;
                case "--half" -> half = true;
                case "--in-steps" -> inSteps = true;
                default -> names.add(args[i]);
            }
        }
        if (hold) {
            PushFeatures.holdMessage(endpoint, names.get(0), names.get(1));
            return;
        }
        if (half) {
            TransactionFeatures.leaveHalf(endpoint, names.get(0));
            return;
        }
        if (inSteps) {
            try {
                new InSteps(endpoint, names.get(0)).run();
                System.exit(0);
            } catch (Exception e) {
                e.printStackTrace();
                System.exit(1);
            }
        }
        // The client's own threads are no daemons.
        System.exit(runFeatures(endpoint, runId, names) ? 0 : 1);
    }

    private static boolean runFeatures(String endpoint, String runId, List<String> names) throws Exception {
        ExecutorService threads = Executors.newCachedThreadPool();
        Map<String, Future<String>> running = new LinkedHashMap<>();
        FEATURES.forEach((name, feature) -> {
            if (names.isEmpty() || names.contains(name)) {
                running.put(name, threads.submit(() -> runFeature(feature, endpoint, runId + "-" + name)));
            }
        });
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(FEATURE_DEADLINE_SECONDS);
        boolean passed = true;
        for (Map.Entry<String, Future<String>> entry : running.entrySet()) {
            passed &= report(entry.getKey(), entry.getValue(), deadline);
        }
        return passed;
    }

    /**
     * Each feature has a producer of its own: the client up to 5.2.1 writes to its telemetry stream without a lock, so
     * that first sends to several topics at once can garble it (apache/rocketmq-clients has the lock since).
     */
    private static String runFeature(Feature feature, String endpoint, String name) throws Exception {
        try (Producer producer = Scene.newProducer(endpoint)) {
            return feature.run(new Scene(endpoint, name, producer));
        }
    }

    private static boolean report(String feature, Future<String> outcome, long deadline) throws InterruptedException {
        String result = "fail";
        String detail;
        try {
            detail = outcome.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
            result = "pass";
        } catch (TimeoutException e) {
            detail = "not done after " + FEATURE_DEADLINE_SECONDS + " s";
        } catch (ExecutionException e) {
            detail = String.valueOf(e.getCause());
        }
        System.out.printf("{\"feature\": %s, \"result\": %s, \"detail\": %s}%n", quote(feature), quote(result), quote(detail));
        return result.equals("pass");
    }

    private static String quote(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (c < 0x20) {
                json.append(String.format("\\u%04x", (int) c));
            } else {
                json.append(c);
            }
        }
        return json.append('"').toString();
    }
}
