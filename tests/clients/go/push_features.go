// Features of the push consumer, and the consumer that is killed.

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

func pushConsumer(s *scene) (string, error) {
	const count = 20
	seen := make(chan string, 2*count)
	consumer, err := s.push(func(m *rmq.MessageView) rmq.ConsumerResult {
		seen <- m.GetMessageId()
		return rmq.SUCCESS
	})
	if err != nil {
		return "", err
	}
	want := map[string]bool{}
	for i := range count {
		id, err := s.send(fmt.Sprint(i))
		if err != nil {
			return "", err
		}
		want[id] = true
	}
	for range count {
		select {
		case id := <-seen:
			if !want[id] {
				return "", fmt.Errorf("message %s came twice or was never sent", id)
			}
			delete(want, id)
		case <-time.After(patience):
			return "", fmt.Errorf("%d of %d messages did not come in %v", len(want), count, patience)
		}
	}
	if err := consumer.GracefulStop(); err != nil {
		return "", fmt.Errorf("stop: %w", err)
	}
	return fmt.Sprintf("%d messages, each once", count), check(len(seen) == 0, "a message came twice")
}

func failingUntilDeadLetter(s *scene) (string, error) {
	attempts := make(chan int32, 100)
	_, err := s.push(func(m *rmq.MessageView) rmq.ConsumerResult {
		attempts <- m.GetDeliveryAttempt()
		return rmq.FAILURE
	})
	if err != nil {
		return "", err
	}
	id, err := s.send("nobody wants it")
	if err != nil {
		return "", err
	}
	for want := int32(1); want <= 3; want++ {
		select {
		case attempt := <-attempts:
			if attempt != want {
				return "", fmt.Errorf("attempt %d came, want %d", attempt, want)
			}
		case <-time.After(patience):
			return "", fmt.Errorf("attempt %d did not come in %v", want, patience)
		}
	}
	dead, err := s.deadLetter()
	if err != nil {
		return "", err
	}
	if dead.GetMessageId() != id || string(dead.GetBody()) != "nobody wants it" {
		return "", fmt.Errorf("dead letter %s %q, want %s", dead.GetMessageId(), dead.GetBody(), id)
	}
	return "dead letter after attempts 1, 2, 3", check(len(attempts) == 0, "an attempt came after the last one")
}

// deadLetter waits for the dead-letter topic, which the first dead letter makes, and takes the first message.
func (s *scene) deadLetter() (*rmq.MessageView, error) {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		var consumer rmq.SimpleConsumer
		if consumer, err = s.simple("%DLQ%"+s.name, s.name+"-reader", "*"); err != nil {
			continue
		}
		message, err := receiveOne(consumer, 30*time.Second)
		if err != nil {
			return nil, err
		}
		return message, ack(consumer, message)
	}
	return nil, fmt.Errorf("no dead-letter topic after %v: %w", patience, err)
}

// fifoOrder fails the third message of one message group once and the fourth of another twice.
func fifoOrder(s *scene) (string, error) {
	const perGroup = 5
	failures := map[string]int{"a 2": 1, "b 3": 2}
	var lock sync.Mutex
	next := map[string]int{"a": 0, "b": 0}
	finished := make(chan error, 1)
	end := func(err error) {
		select {
		case finished <- err:
		default:
		}
	}
	_, err := s.push(func(m *rmq.MessageView) rmq.ConsumerResult {
		lock.Lock()
		defer lock.Unlock()
		body := string(m.GetBody())
		group, number, _ := strings.Cut(body, " ")
		if n, _ := strconv.Atoi(number); n != next[group] {
			end(fmt.Errorf("%q came while %d of its message group is not done", body, next[group]))
		}
		if failures[body] > 0 {
			failures[body]--
			return rmq.FAILURE
		}
		next[group]++
		if next["a"] == perGroup && next["b"] == perGroup {
			end(nil)
		}
		return rmq.SUCCESS
	})
	if err != nil {
		return "", err
	}
	for i := range perGroup {
		for _, group := range []string{"a", "b"} {
			message := &rmq.Message{Topic: s.name, Body: fmt.Appendf(nil, "%s %d", group, i)}
			message.SetMessageGroup(group)
			if _, err := s.sendMessage(message); err != nil {
				return "", err
			}
		}
	}
	select {
	case err := <-finished:
		return "2 message groups of 5 in order through 3 failures", err
	case <-time.After(2 * patience):
		lock.Lock()
		defer lock.Unlock()
		return "", fmt.Errorf("only %v of 5 done in %v", next, 2*patience)
	}
}

// handlerTime is how long the long handler takes: longer than a lease.
func handlerTime() time.Duration {
	seconds, err := strconv.Atoi(os.Getenv("RQ_LONG_HANDLER_SECONDS"))
	if err != nil {
		seconds = 50
	}
	return time.Duration(seconds) * time.Second
}

func longHandler(s *scene) (string, error) {
	starts := make(chan struct{}, 10)
	done := make(chan struct{}, 10)
	_, err := s.push(func(m *rmq.MessageView) rmq.ConsumerResult {
		starts <- struct{}{}
		time.Sleep(handlerTime())
		done <- struct{}{}
		return rmq.SUCCESS
	})
	if err != nil {
		return "", err
	}
	if _, err := s.send("long work"); err != nil {
		return "", err
	}
	select {
	case <-done:
	case <-time.After(patience + handlerTime()):
		return "", fmt.Errorf("the handler did not end")
	}
	time.Sleep(quiet)
	return fmt.Sprintf("%v in the handler, one delivery", handlerTime()), check(len(starts) == 1, "%d deliveries", len(starts))
}

// consumerKilled kills a consumer in the middle of a message: another one must get it.
func consumerKilled(s *scene) (string, error) {
	id, err := s.send("survive")
	if err != nil {
		return "", err
	}
	line, err := killedAfterItsFirstLine("--endpoint", s.endpoint, "--hold", s.name, s.name)
	if err != nil || line != "held "+id {
		return "", fmt.Errorf("the consumer to be killed said %q (%v), want held %s", line, err, id)
	}
	killed := time.Now()
	got := make(chan *rmq.MessageView, 10)
	if _, err := s.push(func(m *rmq.MessageView) rmq.ConsumerResult {
		got <- m
		return rmq.SUCCESS
	}); err != nil {
		return "", err
	}
	select {
	case m := <-got:
		return fmt.Sprintf("another consumer got it after %.0f s", time.Since(killed).Seconds()),
			check(m.GetMessageId() == id && m.GetDeliveryAttempt() == 2, "message %s attempt %d, want %s attempt 2", m.GetMessageId(), m.GetDeliveryAttempt(), id)
	case <-time.After(2 * patience):
		return "", fmt.Errorf("nobody got the message %v after the kill", 2*patience)
	}
}

// holdMessage takes a message and never finishes with it, until it is killed.
func holdMessage(endpoint, topic, group string) {
	if _, err := startPush(endpoint, topic, group, func(m *rmq.MessageView) rmq.ConsumerResult {
		fmt.Println("held", m.GetMessageId())
		select {}
	}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}
