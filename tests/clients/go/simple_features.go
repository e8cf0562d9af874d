// Features of the producer and the simple consumer.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

func sendReceiveAck(s *scene) (string, error) {
	const count = 10
	sent := map[string]string{}
	for i := range count {
		body := fmt.Sprintf("body %d", i)
		message := &rmq.Message{Topic: s.name, Body: []byte(body)}
		message.SetTag("tag")
		message.SetKeys("key", fmt.Sprintf("key-%d", i))
		message.AddProperty("number", fmt.Sprint(i))
		id, err := s.sendMessage(message)
		if err != nil {
			return "", err
		}
		sent[id] = body
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	messages, err := receive(consumer, count, 30*time.Second)
	if err != nil {
		return "", err
	}
	for _, m := range messages {
		body, known := sent[m.GetMessageId()]
		delete(sent, m.GetMessageId())
		number := strings.TrimPrefix(body, "body ")
		if err := errors.Join(
			check(known, "message %s was never sent or came twice", m.GetMessageId()),
			check(string(m.GetBody()) == body, "body %q, want %q", m.GetBody(), body),
			check(m.GetTag() != nil && *m.GetTag() == "tag", "tag lost"),
			check(slices.Equal(m.GetKeys(), []string{"key", "key-" + number}), "keys %v", m.GetKeys()),
			check(m.GetProperties()["number"] == number, "properties %v", m.GetProperties()),
			check(m.GetTopic() == s.name, "topic %s", m.GetTopic()),
			check(m.GetDeliveryAttempt() == 1, "attempt %d, want 1", m.GetDeliveryAttempt()),
			check(time.Since(*m.GetBornTimestamp()).Abs() < time.Minute, "born at %v", m.GetBornTimestamp()),
		); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d messages", count), errors.Join(ack(consumer, messages...), consumer.GracefulStop())
}

func noRedeliveryAfterAck(s *scene) (string, error) {
	for i := range 3 {
		if _, err := s.send(fmt.Sprint(i)); err != nil {
			return "", err
		}
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	messages, err := receive(consumer, 3, shortLease)
	if err != nil {
		return "", err
	}
	if err := ack(consumer, messages...); err != nil {
		return "", err
	}
	return fmt.Sprintf("quiet for %v after acks of %v leases", quiet, shortLease), nothingComes(consumer)
}

func redeliveryWithoutAck(s *scene) (string, error) {
	id, err := s.send("come back")
	if err != nil {
		return "", err
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	for attempt := int32(1); attempt <= 3; attempt++ {
		m, err := receiveOne(consumer, shortLease)
		if err != nil {
			return "", err
		}
		if m.GetMessageId() != id || m.GetDeliveryAttempt() != attempt {
			return "", fmt.Errorf("message %s attempt %d came, want %s attempt %d", m.GetMessageId(), m.GetDeliveryAttempt(), id, attempt)
		}
		if attempt == 3 {
			return "attempts 1, 2, 3", ack(consumer, m)
		}
	}
	return "", nil
}

func changeInvisible(s *scene) (string, error) {
	const longLease = 120 * time.Second
	if _, err := s.send("sooner"); err != nil {
		return "", err
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	first, err := receiveOne(consumer, longLease)
	if err != nil {
		return "", err
	}
	changed := time.Now()
	if err := consumer.ChangeInvisibleDuration(first, 2*time.Second); err != nil {
		return "", fmt.Errorf("shorten: %w", err)
	}
	second, err := receiveOne(consumer, shortLease)
	if err != nil {
		return "", err
	}
	after := time.Since(changed)
	if second.GetDeliveryAttempt() != 2 || after < 1500*time.Millisecond {
		return "", fmt.Errorf("attempt %d after %v, want 2 after 2s", second.GetDeliveryAttempt(), after)
	}
	if err := consumer.ChangeInvisibleDuration(second, 20*time.Second); err != nil {
		return "", fmt.Errorf("lengthen: %w", err)
	}
	if err := nothingComes(consumer); err != nil {
		return "", fmt.Errorf("the lengthened lease: %w", err)
	}
	return fmt.Sprintf("back after %v, then held by a longer lease", after.Round(100*time.Millisecond)), ack(consumer, second)
}

func tagFilter(s *scene) (string, error) {
	for _, tag := range []string{"a", "b", "c", "", "a", "b"} {
		message := &rmq.Message{Topic: s.name, Body: []byte("tag " + tag)}
		if tag != "" {
			message.SetTag(tag)
		}
		if _, err := s.sendMessage(message); err != nil {
			return "", err
		}
	}
	consumer, err := s.simple(s.name, s.name, "a || c")
	if err != nil {
		return "", err
	}
	if err := exactly(consumer, "tag a", "tag a", "tag c"); err != nil {
		return "", err
	}
	return `"a || c" of a, b, c and none`, nothingComes(consumer)
}

func sqlFilter(s *scene) (string, error) {
	for _, number := range []string{"1", "3", "12", "", "always"} {
		message := &rmq.Message{Topic: s.name, Body: []byte("number " + number)}
		if number == "always" {
			message.SetTag(number)
		} else if number != "" {
			message.AddProperty("number", number)
		}
		if _, err := s.sendMessage(message); err != nil {
			return "", err
		}
	}
	const expression = "number >= 3 OR TAGS = 'always'"
	consumer, err := s.simpleBy(s.name, s.name, rmq.NewFilterExpressionWithType(expression, rmq.SQL92))
	if err != nil {
		return "", err
	}
	if err := exactly(consumer, "number 12", "number 3", "number always"); err != nil {
		return "", err
	}
	return expression, nothingComes(consumer)
}

func bodies(s *scene) (string, error) {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	mebibyte := make([]byte, 1<<20)
	for i := range mebibyte {
		mebibyte[i] = byte(i * i >> 7)
	}
	sent := map[string][]byte{"binary": binary, "unicode": []byte("žluťoučký 馬 🐎\u0000\n"), "mebibyte": mebibyte, "byte": {0}}
	const key, value = "ключ-鍵", "значение 値 🗝"
	for _, kind := range slices.Sorted(maps.Keys(sent)) {
		message := &rmq.Message{Topic: s.name, Body: sent[kind]}
		message.AddProperty("kind", kind)
		message.AddProperty(key, value)
		if _, err := s.sendMessage(message); err != nil {
			return "", fmt.Errorf("%s: %w", kind, err)
		}
	}
	consumer, err := s.simple(s.name, s.name, "*")
	if err != nil {
		return "", err
	}
	messages, err := receive(consumer, len(sent), 60*time.Second)
	if err != nil {
		return "", err
	}
	for _, m := range messages {
		kind := m.GetProperties()["kind"]
		if !bytes.Equal(m.GetBody(), sent[kind]) {
			return "", fmt.Errorf("the %s body came back changed (%d bytes, %d sent)", kind, len(m.GetBody()), len(sent[kind]))
		}
		if m.GetProperties()[key] != value {
			return "", fmt.Errorf("unicode property came back as %v", m.GetProperties())
		}
	}
	return "every byte value, unicode with properties, 1 MiB, 1 byte", ack(consumer, messages...)
}

func illegalInput(s *scene) (string, error) {
	unknown := s.name + "-unknown"
	grouped := &rmq.Message{Topic: s.name, Body: []byte("x")}
	grouped.SetMessageGroup("group")
	reserved := &rmq.Message{Topic: s.name, Body: []byte("x")}
	reserved.AddProperty("UNIQ_KEY", "x")
	piped := &rmq.Message{Topic: s.name, Body: []byte("x")}
	piped.SetTag("a|b")
	cases := []struct {
		what    string
		message *rmq.Message
	}{
		{"empty body", &rmq.Message{Topic: s.name, Body: []byte{}}},
		{"body over the limit", &rmq.Message{Topic: s.name, Body: make([]byte, 4<<20+1)}},
		{"illegal topic", &rmq.Message{Topic: "no spaces!", Body: []byte("x")}},
		{"unknown topic", &rmq.Message{Topic: unknown, Body: []byte("x")}},
		{"message group on a normal topic", grouped},
		{"reserved property", reserved},
		{"tag with a bar", piped},
	}
	var seen []string
	for _, c := range cases {
		_, err := s.producer.Send(context.Background(), c.message)
		if err == nil {
			return "", fmt.Errorf("%s: accepted", c.what)
		}
		seen = append(seen, fmt.Sprintf("%s: %v", c.what, err))
	}
	consumer, err := s.simple(unknown, s.name, "*")
	if err == nil {
		_, err = poll(consumer, shortLease)
	}
	if err == nil {
		return "", errors.New("receiving from an unknown topic: accepted")
	}
	seen = append(seen, fmt.Sprintf("receive from an unknown topic: %v", err))
	if _, err := s.send("still works"); err != nil {
		return "", fmt.Errorf("a legal message after the illegal ones: %w", err)
	}
	return strings.Join(seen, "; "), nil
}
