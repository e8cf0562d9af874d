// Command load puts waiting senders on a JetStream cluster: each publishes a message and waits until the stream, three
// copies in files, has acknowledged it. It takes the options of `rq bench` that it needs and prints what `rq bench -o json`
// prints, so that both are read alike.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// replicas of the stream.
	replicas = 3
	// readyDeadline is how long the servers may take to find each other and to elect leaders.
	readyDeadline = 2 * time.Minute
	// retryPause goes before another attempt at what the servers cannot do yet.
	retryPause = 200 * time.Millisecond
)

type options struct {
	endpoints        string
	topic            string
	senders          int
	connections      int
	size             int
	duration, warmup time.Duration
	serverPids       []string
}

func main() {
	var o options
	flag.StringVar(&o.endpoints, "endpoint", "127.0.0.1:4222", "addresses of all servers, with commas")
	flag.StringVar(&o.topic, "topic", "bench", "stream and subject to publish to; made unless it exists")
	flag.IntVar(&o.senders, "senders", 64, "senders, each with one message under way")
	flag.IntVar(&o.connections, "connections", 4, "connections that the senders share")
	flag.IntVar(&o.size, "size", 1024, "bytes of a body")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "measure for so long")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "load before the measurement")
	flag.Func("server-pid", "process whose processor time is reported; may be repeated", func(pid string) error {
		o.serverPids = append(o.serverPids, pid)
		return nil
	})
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	// One thread for the work, as `rq bench` has: the processors are for the servers.
	runtime.GOMAXPROCS(1)
	leader, err := prepare(o)
	if err != nil {
		return err
	}
	streams := make([]jetstream.JetStream, o.connections)
	for i := range streams {
		connection, err := nats.Connect(leader)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", leader, err)
		}
		defer connection.Close()
		if streams[i], err = jetstream.New(connection); err != nil {
			return err
		}
	}
	body := make([]byte, o.size)
	if _, err := rand.Read(body); err != nil {
		return err
	}
	report, err := measure(o, streams, body)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(report)
}

// prepare makes the stream and returns the address of the server that leads it: as with a master, clients go to it
// directly.
func prepare(o options) (string, error) {
	deadline := time.Now().Add(readyDeadline)
	for {
		leader, err := tryPrepare(o)
		if err == nil || time.Now().After(deadline) {
			return leader, err
		}
		time.Sleep(retryPause)
	}
}

func tryPrepare(o options) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	connection, err := nats.Connect(o.endpoints)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", o.endpoints, err)
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		return "", err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:     o.topic,
		Subjects: []string{o.topic},
		Storage:  jetstream.FileStorage,
		Replicas: replicas,
	})
	if err != nil {
		return "", fmt.Errorf("make the stream: %w", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return "", fmt.Errorf("look at the stream: %w", err)
	}
	if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != replicas-1 {
		return "", fmt.Errorf("the stream has no leader with %d followers yet", replicas-1)
	}
	for _, follower := range info.Cluster.Replicas {
		if !follower.Current {
			return "", fmt.Errorf("%s has not all of the stream yet", follower.Name)
		}
	}
	for _, endpoint := range strings.Split(o.endpoints, ",") {
		server, err := nats.Connect(endpoint)
		if err != nil {
			return "", fmt.Errorf("connect to %s: %w", endpoint, err)
		}
		name := server.ConnectedServerName()
		server.Close()
		if name == info.Cluster.Leader {
			return endpoint, nil
		}
	}
	return "", fmt.Errorf("%s leads the stream and is none of %s", info.Cluster.Leader, o.endpoints)
}
