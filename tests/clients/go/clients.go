// Producers and consumers of the official client, started with the settings every feature shares.

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

const (
	// await is the long-polling time of the simple consumers.
	await = 5 * time.Second
	// patience is how long a message that must come may take.
	patience = 60 * time.Second
	// quiet is how long nothing may come where nothing must; longer than the leases that are left to lapse.
	quiet = 7 * time.Second
	// shortLease is the invisible duration of messages that are to come back.
	shortLease = 3 * time.Second
)

func config(endpoint, group string) *rmq.Config {
	return &rmq.Config{Endpoint: endpoint, ConsumerGroup: group, Credentials: &credentials.SessionCredentials{}}
}

func newProducer(endpoint string, topics ...string) (rmq.Producer, error) {
	producer, err := rmq.NewProducer(config(endpoint, ""), rmq.WithTopics(topics...))
	if err != nil {
		return nil, err
	}
	return producer, producer.Start()
}

func (s *scene) simple(topic, group, expression string) (rmq.SimpleConsumer, error) {
	return s.simpleBy(topic, group, rmq.NewFilterExpression(expression))
}

func (s *scene) simpleBy(topic, group string, filter *rmq.FilterExpression) (rmq.SimpleConsumer, error) {
	consumer, err := rmq.NewSimpleConsumer(config(s.endpoint, group),
		rmq.WithSimpleAwaitDuration(await),
		rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: filter}))
	if err != nil {
		return nil, err
	}
	return consumer, consumer.Start()
}

func startPush(endpoint, topic, group string, handle func(*rmq.MessageView) rmq.ConsumerResult) (rmq.PushConsumer, error) {
	consumer, err := rmq.NewPushConsumer(config(endpoint, group),
		rmq.WithPushAwaitDuration(await),
		rmq.WithPushSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}),
		rmq.WithPushMessageListener(&rmq.FuncMessageListener{Consume: handle}),
		rmq.WithPushConsumptionThreadCount(20))
	if err != nil {
		return nil, err
	}
	return consumer, consumer.Start()
}

func (s *scene) push(handle func(*rmq.MessageView) rmq.ConsumerResult) (rmq.PushConsumer, error) {
	return startPush(s.endpoint, s.name, s.name, handle)
}

// send sends a body to the scene's topic and returns the message id.
func (s *scene) send(body string) (string, error) {
	return s.sendMessage(&rmq.Message{Topic: s.name, Body: []byte(body)})
}

func (s *scene) sendMessage(message *rmq.Message) (string, error) {
	receipts, err := s.producer.Send(context.Background(), message)
	if err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	if len(receipts) != 1 || receipts[0].MessageID == "" {
		return "", fmt.Errorf("send: one receipt with a message id expected, got %v", receipts)
	}
	return receipts[0].MessageID, nil
}

// poll receives once; nothing there is no error.
func poll(consumer rmq.SimpleConsumer, lease time.Duration) ([]*rmq.MessageView, error) {
	messages, err := consumer.Receive(context.Background(), 16, lease)
	var status *rmq.ErrRpcStatus
	if errors.As(err, &status) && status.Code == int32(v2.Code_MESSAGE_NOT_FOUND) {
		return nil, nil
	}
	return messages, err
}

// receive collects count messages, each delivered once.
func receive(consumer rmq.SimpleConsumer, count int, lease time.Duration) ([]*rmq.MessageView, error) {
	var all []*rmq.MessageView
	for deadline := time.Now().Add(patience); len(all) < count; {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d messages came in %v", len(all), count, patience)
		}
		messages, err := poll(consumer, lease)
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		all = append(all, messages...)
	}
	if len(all) > count {
		return nil, fmt.Errorf("%d messages came where %d were sent", len(all), count)
	}
	return all, nil
}

func receiveOne(consumer rmq.SimpleConsumer, lease time.Duration) (*rmq.MessageView, error) {
	messages, err := receive(consumer, 1, lease)
	if err != nil {
		return nil, err
	}
	return messages[0], nil
}

// exactly receives and acks messages with these bodies, given in their order by byte.
func exactly(consumer rmq.SimpleConsumer, want ...string) error {
	messages, err := receive(consumer, len(want), 30*time.Second)
	if err != nil {
		return err
	}
	var got []string
	for _, m := range messages {
		got = append(got, string(m.GetBody()))
	}
	slices.Sort(got)
	return errors.Join(check(slices.Equal(got, want), "got %v, want %v", got, want), ack(consumer, messages...))
}

// nothingComes fails if a message comes within the quiet time.
func nothingComes(consumer rmq.SimpleConsumer) error {
	for end := time.Now().Add(quiet); time.Now().Before(end); {
		messages, err := poll(consumer, shortLease)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if len(messages) > 0 {
			m := messages[0]
			return fmt.Errorf("message %s came again, attempt %d", m.GetMessageId(), m.GetDeliveryAttempt())
		}
	}
	return nil
}

func ack(consumer rmq.SimpleConsumer, messages ...*rmq.MessageView) error {
	for _, message := range messages {
		if err := consumer.Ack(context.Background(), message); err != nil {
			return fmt.Errorf("ack: %w", err)
		}
	}
	return nil
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
