// Package config is every knob of the load generator: the options as a plain struct, and the flags that fill it.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"keygate/tests/load/traffic"
)

// Bounds of a run. They are there against slips of the finger, and against a machine left under load for good.
const (
	maxRequests    = 1_000_000_000
	maxDuration    = 6 * time.Hour // 300,000 events a second for longer would run out of numbers
	maxConcurrency = 20_000        // a loopback address has some 28,000 ports to connect from
	maxRate        = 1_000_000
	maxBatch       = 1_000 // what the batch endpoint takes
	maxPayload     = 16 << 20
	maxBody        = 64 << 20
)

// Options are one run.
type Options struct {
	Target      string // as given; see Endpoint
	AllowRemote bool
	Load        Load
	Traffic     Traffic
	Admin       Admin
	Thresholds  Thresholds
	Output      Output
}

// Load is how much, how fast, from how many connections.
type Load struct {
	Requests    int64 // 0 if Duration is set
	Duration    time.Duration
	Rate        float64 // requests a second; 0 is a closed loop
	Concurrency int
	Warmup      time.Duration
	Timeout     time.Duration // of one request
}

// Traffic is what the requests are.
type Traffic struct {
	Key          string
	KeyFile      string
	KeysFile     string
	Zipf         float64
	Bearer       bool
	Batch        int
	Duplicates   float64 // share of events, 0 to 1
	PayloadBytes int
}

// Admin is where the programs under test show their counters; several proxies are added up.
type Admin struct {
	Proxy  []string
	Writer []string
}

// Thresholds decide on the exit code; 0 is no threshold, but for MinSuccess.
type Thresholds struct {
	MinSuccess float64 // share of events, 0 to 1
	MaxP99     time.Duration
	MinRate    float64 // accepted requests a second
}

// Output is the files to write; "" is none.
type Output struct {
	JSON   string
	Report string
}

// Default is the benchmark that the comparison began with: 5,000 requests, 200 at a time, all of which must succeed.
func Default() Options {
	return Options{
		Target:     "http://127.0.0.1:8080",
		Load:       Load{Requests: 5000, Concurrency: 200, Timeout: 30 * time.Second},
		Traffic:    Traffic{Batch: 1},
		Admin:      Admin{Proxy: []string{"http://127.0.0.1:9080"}, Writer: []string{"http://127.0.0.1:9081"}},
		Thresholds: Thresholds{MinSuccess: 1},
	}
}

// Validate finds what cannot be meant; its error is a sentence for each.
func (o *Options) Validate() error {
	_, err := o.urls()
	return errors.Join(err, o.Load.validate(), o.Traffic.validate(), o.Thresholds.validate(), o.numbering())
}

// Endpoint is the URL that requests are sent to: the target, completed with the path of the events.
func (o *Options) Endpoint() (*url.URL, error) {
	u, err := plainURL("target", o.Target)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/events"
		if o.Traffic.Batch > 1 {
			u.Path = "/v1/events/batch"
		}
	}
	return u, nil
}

// urls is every URL among the options.
func (o *Options) urls() (list []*url.URL, err error) {
	add := func(flag string, texts ...string) {
		for _, text := range texts {
			u, wrong := plainURL(flag, text)
			list, err = append(list, u), errors.Join(err, wrong)
		}
	}
	add("target", o.Target)
	add("proxy-admin", o.Admin.Proxy...)
	add("writer-admin", o.Admin.Writer...)
	return list, err
}

// plainURL does not quote what it refuses: there may be a password in it.
func plainURL(flag, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("--%s must be like http://127.0.0.1:8080: plain HTTP, no user", flag)
	}
	return u, nil
}

// Address is the host and port to connect to for a URL.
func Address(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

func (l *Load) validate() error {
	return errors.Join(
		sentence(l.Requests > 0 && l.Duration > 0, "give --requests or --duration, not both"),
		sentence(l.Requests <= 0 && l.Duration <= 0 || l.Requests < 0 || l.Requests > maxRequests,
			"--requests must be from 1 to %d", maxRequests),
		sentence(l.Duration < 0 || l.Duration > maxDuration, "--duration must be at most %v", maxDuration),
		sentence(l.Warmup < 0 || l.Warmup > maxDuration, "--warmup must be at most %v", maxDuration),
		sentence(!(l.Rate >= 0 && l.Rate <= maxRate), "--rate must be at most %d requests a second", maxRate),
		sentence(l.Rate > 0 && l.Duration > 0 && l.Rate*l.Duration.Seconds() < 1, "--rate times --duration is no request"),
		sentence(l.Concurrency < 1 || l.Concurrency > maxConcurrency, "--concurrency must be from 1 to %d", maxConcurrency),
		sentence(l.Timeout < time.Millisecond || l.Timeout > time.Hour, "--timeout must be from 1ms to 1h"),
	)
}

func (t *Traffic) validate() error {
	given := 0
	for _, source := range []string{t.Key, t.KeyFile, t.KeysFile} {
		if source != "" {
			given++
		}
	}
	return errors.Join(
		sentence(given > 1, "give one of --key, --key-file and --keys"),
		sentence(t.Zipf != 0 && t.KeysFile == "", "--zipf chooses among the keys of --keys, which is missing"),
		sentence(!(t.Zipf >= 0 && t.Zipf <= 10), "--zipf must be from 0 (in turn) to 10"),
		sentence(t.Batch < 1 || t.Batch > maxBatch, "--batch must be from 1 to %d", maxBatch),
		sentence(!(t.Duplicates >= 0 && t.Duplicates <= 1), "--duplicates is a share from 0 to 1"),
		sentence(t.PayloadBytes != 0 && (t.PayloadBytes < traffic.MinPayload || t.PayloadBytes > maxPayload),
			"--payload-bytes must be 0 or from %d to %d", traffic.MinPayload, maxPayload),
		sentence(t.PayloadBytes > 0 && t.Batch > maxBody/t.PayloadBytes, "--batch times --payload-bytes exceeds %d", maxBody),
	)
}

func (t *Thresholds) validate() error {
	return errors.Join(
		sentence(!(t.MinSuccess >= 0 && t.MinSuccess <= 1), "--min-success is a share from 0 to 1"),
		sentence(t.MaxP99 < 0, "--max-p99 must not be negative"),
		sentence(!(t.MinRate >= 0), "--min-rate must not be negative"),
	)
}

// numbering keeps the events of a run within the numbers there are for them.
func (o *Options) numbering() error {
	return sentence(o.Load.Requests > traffic.MaxEvents/int64(max(o.Traffic.Batch, 1)),
		"--requests times --batch exceeds %d events", int64(traffic.MaxEvents))
}

func sentence(wrong bool, format string, args ...any) error {
	if wrong {
		return fmt.Errorf(format, args...)
	}
	return nil
}
