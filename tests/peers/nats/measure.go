package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// publishTimeout is how long an acknowledgement may take; after it nobody knows whether the message is stored.
	publishTimeout = 10 * time.Second
	// tick is the unit of /proc/PID/stat: fixed in the kernel's interface.
	tick = 10 * time.Millisecond
)

type report struct {
	Senders   int       `json:"senders"`
	Size      int       `json:"size"`
	Seconds   float64   `json:"seconds"`
	Send      operation `json:"send"`
	Receive   operation `json:"receive"`
	Ack       operation `json:"ack"`
	DriverCPU float64   `json:"driverCpuUsPerMessage"`
	ServerCPU *float64  `json:"serverCpuUsPerMessage"`
}

type operation struct {
	OK        int            `json:"ok"`
	Failed    int            `json:"failed"`
	Unknown   int            `json:"unknown"`
	PerSecond float64        `json:"perSecond"`
	Latency   latency        `json:"latencyUs"`
	Errors    map[string]int `json:"errors"`
}

type latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// tally is what one sender saw within the window.
type tally struct {
	took   []time.Duration
	errors map[string]int
}

// measure runs all senders until the window is over.
func measure(o options, streams []jetstream.JetStream, body []byte) (report, error) {
	from := time.Now().Add(o.warmup)
	to := from.Add(o.duration)
	tallies := make([]tally, o.senders)
	var senders sync.WaitGroup
	for i := range tallies {
		senders.Add(1)
		go func() {
			defer senders.Done()
			tallies[i] = send(streams[i%len(streams)], o.topic, slices.Clone(body), from, to)
		}()
	}
	time.Sleep(time.Until(from))
	driver, servers, err := cpu(o)
	if err != nil {
		return report{}, err
	}
	time.Sleep(time.Until(to))
	driverNow, serversNow, err := cpu(o)
	if err != nil {
		return report{}, err
	}
	senders.Wait()
	sends := summary(tallies, o.duration)
	each := func(spent time.Duration) float64 { return micros(spent) / float64(max(sends.OK, 1)) }
	// Nobody receives.
	none := operation{Errors: map[string]int{}}
	r := report{
		Senders: o.senders, Size: o.size, Seconds: o.duration.Seconds(),
		Send: sends, Receive: none, Ack: none, DriverCPU: each(driverNow - driver),
	}
	if len(o.serverPids) > 0 {
		spent := each(serversNow - servers)
		r.ServerCPU = &spent
	}
	return r, nil
}

// send publishes one message after the other and waits for each.
func send(js jetstream.JetStream, subject string, body []byte, from, to time.Time) tally {
	seen := tally{errors: map[string]int{}}
	for {
		began := time.Now()
		if !began.Before(to) {
			return seen
		}
		ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
		_, err := js.Publish(ctx, subject, body)
		cancel()
		now := time.Now()
		counts := !now.Before(from) && now.Before(to)
		switch {
		case err != nil && counts:
			seen.errors[err.Error()]++
		case err == nil && counts:
			seen.took = append(seen.took, now.Sub(began))
		}
		if err != nil {
			time.Sleep(retryPause)
		}
	}
}

func summary(tallies []tally, window time.Duration) operation {
	var took []time.Duration
	var sum time.Duration
	o := operation{Errors: map[string]int{}}
	for _, seen := range tallies {
		took = append(took, seen.took...)
		for text, count := range seen.errors {
			o.Errors[text] += count
			o.Unknown += count
		}
	}
	slices.Sort(took)
	o.OK = len(took)
	o.PerSecond = float64(o.OK) / window.Seconds()
	if o.OK == 0 {
		return o
	}
	for _, one := range took {
		sum += one
	}
	at := func(quantile float64) float64 { return micros(took[int(quantile*float64(o.OK-1))]) }
	o.Latency = latency{at(0), micros(sum) / float64(o.OK), at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
	return o
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// cpu is the processor time spent so far by this process and by all servers together.
func cpu(o options) (driver, servers time.Duration, err error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, 0, err
	}
	driver = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	for _, pid := range o.serverPids {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return 0, 0, fmt.Errorf("read the processor time: %w", err)
		}
		// The second field, the name, may hold anything; user and system time are the 14th and 15th.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("read the processor time: %w", err)
			}
			servers += time.Duration(ticks) * tick
		}
	}
	return driver, servers, nil
}
