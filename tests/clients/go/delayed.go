// Features of delayed messages.

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// delay is how long a message is held back: longer than it takes to look that it does not come at once.
const delay = 5 * time.Second

func (s *scene) sendDelayed(body string, at time.Time) (*rmq.SendReceipt, error) {
	message := &rmq.Message{Topic: s.name, Body: []byte(body)}
	message.SetDelayTimestamp(at)
	receipts, err := s.producer.Send(context.Background(), message)
	if err != nil {
		return nil, fmt.Errorf("send a delayed message: %w", err)
	}
	return receipts[0], nil
}

func delayed(s *scene) (string, error) {
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	at := time.Now().Add(delay)
	if _, err := s.sendDelayed("later", at); err != nil {
		return "", err
	}
	m, err := receiveOne(consumer, 30*time.Second)
	if err != nil {
		return "", err
	}
	late := time.Since(at)
	return fmt.Sprintf("%d ms after its time", late.Milliseconds()),
		errors.Join(check(late >= 0, "%v before its time", -late), ack(consumer, m), nothingComes(consumer))
}

func recall(s *scene) (string, error) {
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	receipt, err := s.sendDelayed("recalled", time.Now().Add(delay))
	if err != nil {
		return "", err
	}
	id, err := s.producer.Recall(context.Background(), s.name, receipt.RecallHandle)
	if err != nil {
		return "", fmt.Errorf("recall: %w", err)
	}
	_, again := s.producer.Recall(context.Background(), s.name, "nonsense")
	return "a recalled message does not come", errors.Join(
		check(id == receipt.MessageID, "recalled %s, want %s", id, receipt.MessageID),
		check(again != nil, "nonsense was recalled"), nothingComes(consumer))
}
