// Features of the producer of half messages.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
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
	messages, err := receive(consumer, 2, 30*time.Second)
	if err != nil {
		return "", err
	}
	after := time.Since(sent)
	var got []string
	for _, m := range messages {
		got = append(got, string(m.GetBody()))
	}
	slices.Sort(got)
	if want := []string{"committed", "decided when asked"}; !slices.Equal(got, want) || asked.Load() != 1 {
		return "", fmt.Errorf("got %v after %d checks, want %v after 1", got, asked.Load(), want)
	}
	if err := ack(consumer, messages...); err != nil {
		return "", err
	}
	return fmt.Sprintf("committed, rolled back, and committed when asked, within %.0f s", after.Seconds()),
		errors.Join(nothingComes(consumer), producer.GracefulStop())
}

func transactionProducerKilled(s *scene) (string, error) {
	holder := exec.Command(os.Args[0], "--endpoint", s.endpoint, "--half", s.name)
	holder.Stderr = os.Stderr
	output, err := holder.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := holder.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	killErr := holder.Process.Kill()
	_ = holder.Wait()
	id, said := strings.CutPrefix(strings.TrimSpace(line), "half ")
	if err != nil || killErr != nil || !said {
		return "", fmt.Errorf("the producer to be killed said %q (%v, %v)", line, err, killErr)
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
