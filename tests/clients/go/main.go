// Command client checks a broker with the official Go client: one JSON line a feature, exit code 1 when one fails.
// It must never create topics or groups: whoever runs it prepares them (see ../README.md).
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// featureDeadline is how long one feature may take, beyond the long handler, before it counts as failed.
const featureDeadline = 150 * time.Second

// scene is what a feature works with: its own topic and consumer group of the same name.
type scene struct {
	endpoint string
	name     string
	producer rmq.Producer
}

type feature struct {
	name string
	run  func(*scene) (string, error)
}

var features = []feature{
	{"send-receive-ack", sendReceiveAck},
	{"no-redelivery-after-ack", noRedeliveryAfterAck},
	{"redelivery-without-ack", redeliveryWithoutAck},
	{"change-invisible", changeInvisible},
	{"consumer-killed-while-processing", consumerKilled},
	{"push-consumer", pushConsumer},
	{"failing-push-consumer-until-dead-letter", failingUntilDeadLetter},
	{"fifo-order-through-failures", fifoOrder},
	{"tag-filter", tagFilter},
	{"sql-filter", sqlFilter},
	{"delayed", delayed},
	{"recall", recall},
	{"bodies", bodies},
	{"errors", illegalInput},
	{"transactions", transactions},
	{"transaction-producer-killed", transactionProducerKilled},
	{"long-handler-auto-renew", longHandler},
}

type report struct {
	Feature string `json:"feature"`
	Result  string `json:"result"`
	Detail  string `json:"detail"`
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:8081", "address of the broker")
	runID := flag.String("run-id", "", "prefix of topics and groups")
	hold := flag.Bool("hold", false, "take one message of TOPIC in GROUP and never finish")
	half := flag.Bool("half", false, "send a half message to TOPIC and never end its transaction")
	going := flag.Bool("keep-going", false, "send to TOPIC and consume it in GROUP until standard input ends")
	inTransactions := flag.Bool("in-transactions", false, "with --keep-going: send half messages, end some of them, and be asked about the others")
	steps := flag.Bool("in-steps", false, "produce half messages to TOPIC as standard input says, a command a line")
	lasting := flag.Duration("for", 0, "with --keep-going: for so long, whatever standard input does")
	file := flag.String("print", "", "print a file, byte for byte: an image without a shell has no other way")
	asleep := flag.Bool("stay", false, "do nothing until killed, so that files of the pod can be printed")
	flag.Parse()
	if *asleep {
		select {}
	}
	if *file != "" {
		if err := printFile(*file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	rmq.EnableSsl = false
	if *hold {
		holdMessage(*endpoint, flag.Arg(0), flag.Arg(1))
		return
	}
	if *half {
		leaveHalf(*endpoint, flag.Arg(0))
		return
	}
	if *steps {
		if err := inSteps(*endpoint, flag.Arg(0)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if *going {
		detail, err := keepGoing(*endpoint, flag.Arg(0), flag.Arg(1), *lasting, *inTransactions)
		if !say("keep-going", detail, err) {
			os.Exit(1)
		}
		return
	}
	wanted := map[string]bool{}
	for _, name := range flag.Args() {
		wanted[name] = true
	}
	if !runFeatures(*endpoint, *runID, wanted) {
		os.Exit(1)
	}
}

func printFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, file)
	return errors.Join(err, file.Close())
}

func runFeatures(endpoint, runID string, wanted map[string]bool) bool {
	var topics []string
	for _, f := range features {
		// It could not say how the transactions of other producers ended: it must not be one of their topics.
		if !strings.HasPrefix(f.name, "transaction") {
			topics = append(topics, runID+"-"+f.name)
		}
	}
	producer, err := newProducer(endpoint, topics...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the producer did not start:", err)
		return false
	}
	reports := make(chan report)
	var running sync.WaitGroup
	for _, f := range features {
		if len(wanted) > 0 && !wanted[f.name] {
			continue
		}
		running.Add(1)
		go func() {
			defer running.Done()
			reports <- runFeature(f, &scene{endpoint, runID + "-" + f.name, producer})
		}()
	}
	go func() { running.Wait(); close(reports) }()
	passed := true
	for r := range reports {
		line, _ := json.Marshal(r)
		fmt.Println(string(line))
		passed = passed && r.Result != "fail"
	}
	if err := producer.GracefulStop(); err != nil {
		fmt.Fprintln(os.Stderr, "the producer did not stop:", err)
		return false
	}
	return passed
}

// say reports what came of a single task.
func say(task, detail string, err error) bool {
	r := report{task, "pass", detail}
	if err != nil {
		r = report{task, "fail", fmt.Sprintf("%s: %v", detail, err)}
	}
	line, _ := json.Marshal(r)
	fmt.Println(string(line))
	return err == nil
}

func runFeature(f feature, s *scene) report {
	type outcome struct {
		detail string
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		detail, err := f.run(s)
		done <- outcome{detail, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return report{f.name, "fail", o.err.Error()}
		}
		return report{f.name, "pass", o.detail}
	case <-time.After(featureDeadline + handlerTime()):
		return report{f.name, "fail", fmt.Sprintf("not done after %v", featureDeadline+handlerTime())}
	}
}
