// Features of the producer of half messages.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// startTransactional starts a producer that answers how its transactions ended.
func startTransactional(endpoint, topic string, answer func(*rmq.MessageView) rmq.TransactionResolution) (rmq.Producer, error) {
	producer, err := rmq.NewProducer(config(endpoint, ""), rmq.WithTopics(topic),
		rmq.WithTransactionChecker(&rmq.TransactionChecker{Check: answer}))
	if err != nil {
		return nil, err
	}
	return producer, producer.Start()
}

// sendHalf sends a half message and leaves its transaction open.
func sendHalf(producer rmq.Producer, topic, body string) (rmq.Transaction, string, error) {
	transaction := producer.BeginTransaction()
	receipts, err := producer.SendWithTransaction(context.Background(), &rmq.Message{Topic: topic, Body: []byte(body)}, transaction)
	if err != nil {
		return nil, "", fmt.Errorf("send a half message: %w", err)
	}
	return transaction, receipts[0].MessageID, nil
}

func transactions(s *scene) (string, error) {
	var asked atomic.Int32
	producer, err := startTransactional(s.endpoint, s.name, func(m *rmq.MessageView) rmq.TransactionResolution {
		if string(m.GetBody()) == "decided when asked" {
			asked.Add(1)
			return rmq.COMMIT
		}
		return rmq.UNKNOWN
	})
	if err != nil {
		return "", err
	}
	committed, _, err := sendHalf(producer, s.name, "committed")
	if err != nil {
		return "", err
	}
	rolledBack, _, err := sendHalf(producer, s.name, "rolled back")
	if err != nil {
		return "", err
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	if early, err := poll(consumer, shortLease); err != nil || len(early) > 0 {
		return "", fmt.Errorf("%d messages came before any was committed (%v)", len(early), err)
	}
	sent := time.Now()
	if _, _, err := sendHalf(producer, s.name, "decided when asked"); err != nil {
		return "", err
	}
	if err := errors.Join(committed.Commit(), rolledBack.RollBack()); err != nil {
		return "", err
	}
	if err := exactly(consumer, "committed", "decided when asked"); err != nil {
		return "", err
	}
	after := time.Since(sent)
	return fmt.Sprintf("committed, rolled back, and committed when asked, within %.0f s", after.Seconds()),
		errors.Join(check(asked.Load() == 1, "%d checks, want 1", asked.Load()), nothingComes(consumer), producer.GracefulStop())
}

func transactionProducerKilled(s *scene) (string, error) {
	line, err := killedAfterItsFirstLine("--endpoint", s.endpoint, "--half", s.name)
	id, said := strings.CutPrefix(line, "half ")
	if err != nil || !said {
		return "", fmt.Errorf("the producer to be killed said %q (%v)", line, err)
	}
	killed := time.Now()
	producer, err := startTransactional(s.endpoint, s.name, func(m *rmq.MessageView) rmq.TransactionResolution {
		if m.GetMessageId() == id {
			return rmq.COMMIT
		}
		return rmq.UNKNOWN
	})
	if err != nil {
		return "", err
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	m, err := receiveOne(consumer, 30*time.Second)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("another producer was asked and committed it within %.0f s", time.Since(killed).Seconds()),
		errors.Join(check(m.GetMessageId() == id, "message %s, want %s", m.GetMessageId(), id), ack(consumer, m), producer.GracefulStop())
}

// leaveHalf sends a half message and never ends its transaction, until it is killed.
func leaveHalf(endpoint, topic string) {
	producer, err := startTransactional(endpoint, topic, func(*rmq.MessageView) rmq.TransactionResolution { return rmq.UNKNOWN })
	if err == nil {
		var id string
		if _, id, err = sendHalf(producer, topic, "left open"); err == nil {
			fmt.Println("half", id)
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// decisions are what becomes of half messages that are sent all the time, in turns. Each body begins with its own, so that
// whoever is asked about it knows.
var decisions = []struct {
	name string
	end  func(rmq.Transaction) error // none: its producer is asked
}{
	{"commit", rmq.Transaction.Commit},
	{"commit when asked", nil},
	{rollBack, rmq.Transaction.RollBack},
	{rollBack + " when asked", nil},
}

const rollBack = "roll back"

func isRolledBack(body string) bool {
	return strings.HasPrefix(body, rollBack)
}

func decided(m *rmq.MessageView) rmq.TransactionResolution {
	if isRolledBack(string(m.GetBody())) {
		return rmq.ROLLBACK
	}
	return rmq.COMMIT
}

// sendInTransaction sends a half message and does what is decided about it.
func (s *scene) sendInTransaction(number int, body string) (string, bool, error) {
	decision := decisions[number%len(decisions)]
	transaction, id, err := sendHalf(s.producer, s.name, decision.name+": "+body)
	if err == nil && decision.end != nil {
		err = decision.end(transaction)
	}
	return id, !isRolledBack(decision.name), err
}
