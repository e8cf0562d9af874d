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
	owed     map[string]bool // acknowledged sends that are to come, by message id
	came     map[string]bool
	again    int
	wrong    []string     // bodies that should not have come
	failures atomic.Int64 // calls that failed
}

// sender sends a body, which begins with its number. The message id, and whether the message is to come.
type sender func(number int, body string) (id string, comes bool, err error)

// keepGoing sends and consumes for so long, or without a time until standard input ends, and then consumes what is owed.
func keepGoing(endpoint, topic, group string, lasting time.Duration, inTransactions bool) (string, error) {
	s := &scene{endpoint: endpoint, name: topic}
	var err error
	next := func(_ int, body string) (string, bool, error) {
		id, err := s.send(body)
		return id, true, err
	}
	if inTransactions {
		s.producer, err = startTransactional(endpoint, topic, decided)
		next = s.sendInTransaction
	} else {
		s.producer, err = newProducer(endpoint, topic)
	}
	if err != nil {
		return "", fmt.Errorf("start the producer: %w", err)
	}
	consumer, err := s.simple(topic, group, "*")
	if err != nil {
		return "", fmt.Errorf("start the consumer: %w", err)
	}
	l := &ledger{owed: map[string]bool{}, came: map[string]bool{}}
	var stop, over atomic.Bool
	var sending, consuming sync.WaitGroup
	for name := range senders {
		begin(&sending, func() { l.send(next, name, &stop) })
	}
	begin(&consuming, func() { l.consume(consumer, &over) })
	if lasting > 0 {
		time.Sleep(lasting)
	} else {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	stop.Store(true)
	sending.Wait()
	if inTransactions {
		// A stream of this client that broke is opened again with its next settings, up to five minutes later. Until then
		// another instance of the producer is there to be asked, as in a service with more than one.
		if _, err := startTransactional(endpoint, topic, decided); err != nil {
			return "", fmt.Errorf("start another producer: %w", err)
		}
	}
	for deadline := time.Now().Add(drained); l.missing() > 0 && time.Now().Before(deadline); {
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

func (l *ledger) send(next sender, name int, stop *atomic.Bool) {
	for number := 0; !stop.Load(); number++ {
		id, comes, err := next(number, fmt.Sprintf("sender %d, message %d", name, number))
		if err != nil {
			l.failures.Add(1)
		}
		// A message may be stored although a later call about it failed.
		if id != "" && comes {
			l.Lock()
			l.owed[id] = true
			if len(l.owed) == 1 {
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
			if body := string(message.GetBody()); isRolledBack(body) {
				l.wrong = append(l.wrong, body)
			}
			l.Unlock()
			if err := consumer.Ack(context.Background(), message); err != nil {
				l.failures.Add(1)
			}
		}
	}
}

// missing counts acknowledged messages that have not come yet.
func (l *ledger) missing() int {
	l.Lock()
	defer l.Unlock()
	missing := 0
	for id := range l.owed {
		if !l.came[id] {
			missing++
		}
	}
	return missing
}

func (l *ledger) verdict() (string, error) {
	missing := l.missing()
	l.Lock()
	defer l.Unlock()
	return fmt.Sprintf("%d sends acknowledged, %d messages came, %d of them again, %d calls failed", len(l.owed), len(l.came), l.again, l.failures.Load()),
		errors.Join(
			check(missing == 0, "%d acknowledged messages never came", missing),
			check(len(l.wrong) == 0, "came although they were rolled back: %q", l.wrong),
			check(len(l.owed) > 0, "nothing was sent"))
}
