// Sending and consuming through whatever happens to the brokers, until told to stop or for a given time.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

const (
	// between is from one send of a sender to its next.
	between = 20 * time.Millisecond
	senders = 2
	// lease is long enough for a receive that a failover holds up.
	lease = 10 * time.Second
	// drained is how long what is owed may take once nothing is sent any more.
	drained = 90 * time.Second
)

// ledger is what was promised to the senders and what came of it. Whether an ack holds is not told: the client's Ack
// ignores the status of the answer, so that a message that comes again may rightly do so.
type ledger struct {
	sync.Mutex
	sent     map[string]bool // acknowledged sends by message id
	came     map[string]bool
	again    int
	failures atomic.Int64 // calls that failed
}

// keepGoing sends and consumes for so long, or without a time until standard input ends, and then consumes what is owed.
func keepGoing(endpoint, topic, group string, lasting time.Duration) (string, error) {
	s := &scene{endpoint: endpoint, name: topic}
	var err error
	if s.producer, err = newProducer(endpoint, topic); err != nil {
		return "", fmt.Errorf("start the producer: %w", err)
	}
	consumer, err := s.simple(topic, group, "*")
	if err != nil {
		return "", fmt.Errorf("start the consumer: %w", err)
	}
	l := &ledger{sent: map[string]bool{}, came: map[string]bool{}}
	var stop, over atomic.Bool
	var sending, consuming sync.WaitGroup
	for sender := range senders {
		begin(&sending, func() { l.send(s, sender, &stop) })
	}
	begin(&consuming, func() { l.consume(consumer, &over) })
	if lasting > 0 {
		time.Sleep(lasting)
	} else {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	stop.Store(true)
	sending.Wait()
	for deadline := time.Now().Add(drained); l.owed() > 0 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	over.Store(true)
	consuming.Wait()
	return l.verdict()
}

func begin(group *sync.WaitGroup, work func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		work()
	}()
}

func (l *ledger) send(s *scene, sender int, stop *atomic.Bool) {
	for number := 0; !stop.Load(); number++ {
		id, err := s.send(fmt.Sprintf("sender %d, message %d", sender, number))
		if err != nil {
			l.failures.Add(1)
		} else {
			l.Lock()
			l.sent[id] = true
			if len(l.sent) == 1 {
				say("keep-going", "it sends", nil)
			}
			l.Unlock()
		}
		time.Sleep(between)
	}
}

func (l *ledger) consume(consumer rmq.SimpleConsumer, over *atomic.Bool) {
	for !over.Load() {
		messages, err := poll(consumer, lease)
		if err != nil {
			l.failures.Add(1)
			time.Sleep(between)
			continue
		}
		for _, message := range messages {
			l.Lock()
			if l.came[message.GetMessageId()] {
				l.again++
			}
			l.came[message.GetMessageId()] = true
			l.Unlock()
			if err := consumer.Ack(context.Background(), message); err != nil {
				l.failures.Add(1)
			}
		}
	}
}

// owed counts acknowledged messages that have not come yet.
func (l *ledger) owed() int {
	l.Lock()
	defer l.Unlock()
	owed := 0
	for id := range l.sent {
		if !l.came[id] {
			owed++
		}
	}
	return owed
}

func (l *ledger) verdict() (string, error) {
	owed := l.owed()
	l.Lock()
	defer l.Unlock()
	return fmt.Sprintf("%d sends acknowledged, %d messages came, %d of them again, %d calls failed", len(l.sent), len(l.came), l.again, l.failures.Load()),
		errors.Join(
			check(owed == 0, "%d acknowledged messages never came", owed),
			check(len(l.sent) > 0, "nothing was sent"))
}
