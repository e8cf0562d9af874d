// Sends one message, receives it, acknowledges it. Run a broker with `make run`, then here: go run .
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
)

func main() {
	rmq.EnableSsl = false // the broker speaks plaintext
	config := &rmq.Config{Endpoint: "127.0.0.1:8081", ConsumerGroup: "greeters", Credentials: &credentials.SessionCredentials{}}

	producer, err := rmq.NewProducer(config, rmq.WithTopics("greetings-go"))
	check(err)
	check(producer.Start())
	receipts, err := producer.Send(context.Background(), &rmq.Message{Topic: "greetings-go", Body: []byte("hello from Go")})
	check(err)
	fmt.Println("sent", receipts[0].MessageID)

	consumer, err := rmq.NewSimpleConsumer(config,
		rmq.WithSimpleAwaitDuration(5*time.Second),
		rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{"greetings-go": rmq.SUB_ALL}))
	check(err)
	check(consumer.Start())
	messages, err := consumer.Receive(context.Background(), 1, 30*time.Second)
	check(err)
	for _, message := range messages {
		fmt.Printf("received %s: %s\n", message.GetMessageId(), message.GetBody())
		// Without this the message comes back after 30 s.
		check(consumer.Ack(context.Background(), message))
	}
	check(consumer.GracefulStop())
	check(producer.GracefulStop())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
