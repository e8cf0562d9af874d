// A producer of half messages that does what standard input says, a line at a time, and says what it did: whoever runs it
// can strike between any two steps of a transaction.

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// inSteps does what standard input says, until it ends; ../README.md lists the commands.
func inSteps(endpoint, topic string) error {
	var told sync.Mutex
	say := func(what, body string) {
		told.Lock()
		defer told.Unlock()
		fmt.Println(what, body)
	}
	var answers sync.Map // by body: a channel that is closed when its checks are to be answered
	answer := func(body string) chan struct{} {
		known, _ := answers.LoadOrStore(body, make(chan struct{}))
		return known.(chan struct{})
	}
	producer, err := startTransactional(endpoint, topic, func(m *rmq.MessageView) rmq.TransactionResolution {
		body := string(m.GetBody())
		say("asked", body)
		<-answer(body)
		return decided(m)
	})
	if err != nil {
		return err
	}
	say("ready", topic)
	open := map[string]rmq.Transaction{}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		command, body, _ := strings.Cut(commands.Text(), " ")
		switch command {
		case "send":
			if open[body], _, err = sendHalf(producer, topic, body); err != nil {
				return err
			}
			say("stored", body)
		case "end":
			end := open[body].Commit
			if isRolledBack(body) {
				end = open[body].RollBack
			}
			go func() {
				for err := end(); err != nil; err = end() {
					fmt.Fprintln(os.Stderr, "end", body, err)
					time.Sleep(between)
				}
				say("ended", body)
			}()
		case "answer":
			close(answer(body))
		default:
			return fmt.Errorf("no command %q", command)
		}
	}
	return commands.Err()
}
