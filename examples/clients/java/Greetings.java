import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;

/** Sends one message, receives it, acknowledges it. Run a broker with `make run`, then here: mvn -q compile exec:java */
public final class Greetings {
    public static void main(String[] args) throws Exception {
        ClientServiceProvider client = ClientServiceProvider.loadService();
        ClientConfiguration configuration = ClientConfiguration.newBuilder()
            .setEndpoints("127.0.0.1:8081")
            .enableSsl(false) // the broker speaks plaintext
            .build();

        try (Producer producer = client.newProducerBuilder().setClientConfiguration(configuration)
                .setTopics("greetings-java").build();
             SimpleConsumer consumer = client.newSimpleConsumerBuilder().setClientConfiguration(configuration)
                .setConsumerGroup("greeters")
                .setAwaitDuration(Duration.ofSeconds(5))
                .setSubscriptionExpressions(Map.of("greetings-java", FilterExpression.SUB_ALL))
                .build()) {
            System.out.println("sent " + producer.send(client.newMessageBuilder().setTopic("greetings-java")
                .setBody("hello from Java".getBytes(StandardCharsets.UTF_8)).build()).getMessageId());

            for (MessageView message : consumer.receive(1, Duration.ofSeconds(30))) {
                String body = StandardCharsets.UTF_8.decode(message.getBody()).toString();
                System.out.println("received " + message.getMessageId() + ": " + body);
                // Without this the message comes back after 30 s.
                consumer.ack(message);
            }
        }
    }
}
