package dev.reliablequeue.clients;

import static dev.reliablequeue.clients.Scene.LEASE;
import static dev.reliablequeue.clients.Scene.SHORT_LEASE;
import static dev.reliablequeue.clients.Scene.ack;
import static dev.reliablequeue.clients.Scene.bytes;
import static dev.reliablequeue.clients.Scene.nothingComes;
import static dev.reliablequeue.clients.Scene.receive;
import static dev.reliablequeue.clients.Scene.require;
import static dev.reliablequeue.clients.Scene.text;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;

/** Features of the producer and the simple consumer. */
final class SimpleFeatures {
    private SimpleFeatures() {
    }

    static String sendReceiveAck(Scene scene) throws Exception {
        int count = 10;
        Map<String, Integer> sent = new HashMap<>();
        for (int i = 0; i < count; i++) {
            sent.put(scene.send(scene.message("body " + i).setTag("tag").setKeys("key", "key-" + i)
                .addProperty("number", "" + i).build()), i);
        }
        try (SimpleConsumer consumer = scene.simple()) {
            List<MessageView> messages = receive(consumer, count, LEASE);
            for (MessageView message : messages) {
                Integer i = sent.remove(message.getMessageId().toString());
                require(i != null, "message %s was never sent or came twice", message.getMessageId());
                require(text(message).equals("body " + i), "body %s of message %d", text(message), i);
                require(message.getTag().equals(Optional.of("tag")), "tag %s", message.getTag());
                require(List.copyOf(message.getKeys()).equals(List.of("key", "key-" + i)), "keys %s", message.getKeys());
                require(message.getProperties().equals(Map.of("number", "" + i)), "properties %s", message.getProperties());
                require(message.getTopic().equals(scene.name()), "topic %s", message.getTopic());
                require(message.getDeliveryAttempt() == 1, "attempt %d, want 1", message.getDeliveryAttempt());
                require(Math.abs(System.currentTimeMillis() - message.getBornTimestamp()) < 60_000,
                    "born at %d", message.getBornTimestamp());
            }
            ack(consumer, messages);
        }
        return count + " messages";
    }

    static String noRedeliveryAfterAck(Scene scene) throws Exception {
        for (int i = 0; i < 3; i++) {
            scene.send("" + i);
        }
        SimpleConsumer consumer = scene.simple();
        ack(consumer, receive(consumer, 3, SHORT_LEASE));
        nothingComes(consumer);
        return "quiet for " + Scene.QUIET + " after acks of leases of " + SHORT_LEASE;
    }

    static String redeliveryWithoutAck(Scene scene) throws Exception {
        String id = scene.send("come back");
        SimpleConsumer consumer = scene.simple();
        List<MessageView> earlier = new ArrayList<>();
        for (int attempt = 1; attempt <= 3; attempt++) {
            MessageView message = receive(consumer, 1, SHORT_LEASE).get(0);
            require(message.getMessageId().toString().equals(id) && message.getDeliveryAttempt() == attempt,
                "message %s attempt %d, want %s attempt %d", message.getMessageId(), message.getDeliveryAttempt(), id, attempt);
            earlier.add(message);
        }
        String refusal = refused("an ack with the handle of an earlier delivery", () -> {
            consumer.ack(earlier.get(0));
            return null;
        });
        consumer.ack(earlier.get(2));
        return "attempts 1, 2, 3; ack of the first delivery: " + refusal;
    }

    static String changeInvisible(Scene scene) throws Exception {
        scene.send("sooner");
        SimpleConsumer consumer = scene.simple();
        MessageView first = receive(consumer, 1, Duration.ofSeconds(120)).get(0);
        long changed = System.nanoTime();
        consumer.changeInvisibleDuration(first, Duration.ofSeconds(2));
        MessageView second = receive(consumer, 1, SHORT_LEASE).get(0);
        Duration after = Duration.ofNanos(System.nanoTime() - changed);
        require(second.getDeliveryAttempt() == 2 && after.toMillis() > 1500, "attempt %d after %s, want 2 after 2 s",
            second.getDeliveryAttempt(), after);
        consumer.changeInvisibleDuration(second, Duration.ofSeconds(20));
        nothingComes(consumer);
        consumer.ack(second);
        return String.format("back after %d ms, then held by a longer lease", after.toMillis());
    }

    static String tagFilter(Scene scene) throws Exception {
        for (String tag : List.of("a", "b", "c", "", "a", "b")) {
            MessageBuilder message = scene.message("tag " + tag);
            scene.send(tag.isEmpty() ? message.build() : message.setTag(tag).build());
        }
        SimpleConsumer consumer = scene.simple(scene.name(), scene.name(), "a || c");
        List<MessageView> messages = receive(consumer, 3, LEASE);
        List<String> got = messages.stream().map(Scene::text).sorted().toList();
        require(got.equals(List.of("tag a", "tag a", "tag c")), "got %s", got);
        ack(consumer, messages);
        nothingComes(consumer);
        return "\"a || c\" of a, b, c and none";
    }

    static String sqlFilter(Scene scene) throws Exception {
        for (String number : List.of("1", "3", "12")) {
            scene.send(scene.message("number " + number).addProperty("number", number).build());
        }
        scene.send("number none");
        scene.send(scene.message("number always").setTag("always").build());
        String expression = "number >= 3 OR TAGS = 'always'";
        FilterExpression filter = new FilterExpression(expression, FilterExpressionType.SQL92);
        SimpleConsumer consumer = scene.simple(scene.name(), scene.name(), filter);
        List<MessageView> messages = receive(consumer, 3, LEASE);
        List<String> got = messages.stream().map(Scene::text).sorted().toList();
        require(got.equals(List.of("number 12", "number 3", "number always")), "got %s", got);
        ack(consumer, messages);
        nothingComes(consumer);
        return expression;
    }

    static String bodies(Scene scene) throws Exception {
        byte[] binary = new byte[256];
        for (int i = 0; i < binary.length; i++) {
            binary[i] = (byte) i;
        }
        byte[] mebibyte = new byte[1 << 20];
        for (int i = 0; i < mebibyte.length; i++) {
            mebibyte[i] = (byte) (i * i >> 7);
        }
        byte[] unicode = "žluťoučký 馬 🐎\0\n".getBytes(StandardCharsets.UTF_8);
        Map<String, byte[]> sent = Map.of("binary", binary, "unicode", unicode, "mebibyte", mebibyte, "byte", new byte[1]);
        for (Map.Entry<String, byte[]> body : sent.entrySet()) {
            scene.send(scene.message(body.getValue()).addProperty("kind", body.getKey())
                .addProperty("ключ-鍵", "значение 値 🗝").build());
        }
        SimpleConsumer consumer = scene.simple();
        List<MessageView> messages = receive(consumer, sent.size(), LEASE);
        for (MessageView message : messages) {
            String kind = message.getProperties().get("kind");
            require(Arrays.equals(bytes(message), sent.get(kind)), "the %s body came back changed", kind);
            require("значение 値 🗝".equals(message.getProperties().get("ключ-鍵")),
                "unicode property came back as %s", message.getProperties());
        }
        ack(consumer, messages);
        return "every byte value, unicode with properties, 1 MiB, 1 byte";
    }

    static String illegalInput(Scene scene) throws Exception {
        String unknown = scene.name() + "-unknown";
        Map<String, Callable<Object>> cases = new LinkedHashMap<>();
        cases.put("empty body", () -> scene.send(scene.message("").build()));
        cases.put("body over the limit", () -> scene.send(scene.message(new byte[(4 << 20) + 1]).build()));
        cases.put("illegal topic", () -> scene.send(scene.message("x").setTopic("no spaces!").build()));
        cases.put("unknown topic", () -> scene.send(scene.message("x").setTopic(unknown).build()));
        cases.put("message group on a normal topic", () -> scene.send(scene.message("x").setMessageGroup("group").build()));
        cases.put("reserved property", () -> scene.send(scene.message("x").addProperty("UNIQ_KEY", "x").build()));
        cases.put("tag with a bar", () -> scene.send(scene.message("x").setTag("a|b").build()));
        cases.put("receive from an unknown topic",
            () -> scene.simple(unknown, scene.name(), "*").receive(1, SHORT_LEASE));
        List<String> seen = new ArrayList<>();
        for (Map.Entry<String, Callable<Object>> illegal : cases.entrySet()) {
            seen.add(illegal.getKey() + ": " + refused(illegal.getKey(), illegal.getValue()));
        }
        scene.send("a legal message after the illegal ones");
        return String.join("; ", seen);
    }

    /** Returns how the call was refused; fails if it was not. */
    private static String refused(String what, Callable<Object> call) {
        try {
            call.call();
        } catch (Exception e) {
            return e.toString();
        }
        throw new AssertionError(what + ": accepted");
    }
}
