package dev.reliablequeue.clients;

import static dev.reliablequeue.clients.Scene.LEASE;
import static dev.reliablequeue.clients.Scene.ack;
import static dev.reliablequeue.clients.Scene.nothingComes;
import static dev.reliablequeue.clients.Scene.receive;
import static dev.reliablequeue.clients.Scene.require;

import java.time.Duration;
import java.util.List;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.SendReceipt;

/** Features of delayed messages. */
final class DelayedFeatures {
    /** How long a message is held back: longer than it takes to look that it does not come at once. */
    private static final Duration DELAY = Duration.ofSeconds(5);

    private DelayedFeatures() {
    }

    private static SendReceipt send(Scene scene, String body, long at) throws ClientException {
        return scene.producer().send(scene.message(body).setDeliveryTimestamp(at).build());
    }

    static String delayed(Scene scene) throws Exception {
        try (SimpleConsumer consumer = scene.simple()) {
            long at = System.currentTimeMillis() + DELAY.toMillis();
            send(scene, "later", at);
            List<MessageView> messages = receive(consumer, 1, LEASE);
            long late = System.currentTimeMillis() - at;
            require(late >= 0, "%d ms before its time", -late);
            ack(consumer, messages);
            nothingComes(consumer);
            return late + " ms after its time";
        }
    }

    static String recall(Scene scene) throws Exception {
        try (SimpleConsumer consumer = scene.simple()) {
            SendReceipt receipt = send(scene, "recalled", System.currentTimeMillis() + DELAY.toMillis());
            String recalled = scene.producer().recallMessage(scene.name(), receipt.getRecallHandle()).getMessageId()
                .toString();
            require(recalled.equals(receipt.getMessageId().toString()), "recalled %s, want %s", recalled,
                receipt.getMessageId());
            boolean refused = false;
            try {
                scene.producer().recallMessage(scene.name(), "nonsense");
            } catch (ClientException expected) {
                refused = true;
            }
            require(refused, "nonsense was recalled");
            nothingComes(consumer);
            return "a recalled message does not come";
        }
    }
}
