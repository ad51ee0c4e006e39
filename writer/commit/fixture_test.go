package commit_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
	"keygate/writer/sqlitesink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fixture is a committer that runs over a SQLite file, with a place for faults between the two.
type fixture struct {
	testing.TB
	*commit.Committer
	sink   *faultySink
	second *faultySink // nil unless it was asked for
	db     *database.DB
	stop   func() // ends Run and waits for it
}

// start runs a committer until the test ends. It returns once the sink was reached.
func start(tb testing.TB, config commit.Config) *fixture {
	tb.Helper()
	f := build(tb, config)
	f.start()
	f.await("the committer is ready", f.Ready)
	return f
}

// startWithSecond runs a committer that has a second sink.
func startWithSecond(tb testing.TB, config commit.Config) *fixture {
	tb.Helper()
	config.Second = &faultySink{}
	return start(tb, config)
}

// build makes a committer that does not run yet.
func build(tb testing.TB, config commit.Config) *fixture {
	tb.Helper()
	u := sinktest.ParseURL(tb, "sqlite:"+filepath.Join(tb.TempDir(), "keygate.db"))
	sinktest.Migrate(tb, u)
	f := &fixture{TB: tb, sink: newFaultySink(tb, u), db: sinktest.Connect(tb, u)}
	config.Sink = f.sink
	if config.Second != nil {
		f.second = newFaultySink(tb, u)
		config.Second = f.second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	f.Committer = commit.New(config)
	return f
}

func newFaultySink(tb testing.TB, u database.URL) *faultySink {
	tb.Helper()
	real := sqlitesink.New(u.Path())
	tb.Cleanup(func() {
		if err := real.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &faultySink{TB: tb, real: real}
}

func (f *fixture) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			f.Error(err)
		}
	})
	f.stop = func() {
		cancel()
		running.Wait()
	}
	f.Cleanup(func() {
		f.stop()
		sinktest.CheckTables(f, f.db)
	})
}

func (f *fixture) await(what string, condition func() bool) {
	f.Helper()
	sinktest.Await(f, what, condition)
}

// submit expects the events to be admitted, and returns their answers.
func (f *fixture) submit(events ...*event.Event) []commit.Answer {
	f.Helper()
	answers, err := f.Submit(context.Background(), events)
	if err != nil {
		f.Error(err)
		return make([]commit.Answer, len(events))
	}
	return answers
}

// submitLater submits in the background, and returns once the events are admitted.
func (f *fixture) submitLater(events ...*event.Event) <-chan []commit.Answer {
	f.Helper()
	later := make(chan []commit.Answer, 1)
	want := f.Stats().QueueRows + len(events)
	go func() { later <- f.submit(events...) }()
	f.await("the events are admitted", func() bool { return f.Stats().QueueRows == want })
	return later
}

// fill lets a commit of one event begin, and returns the gate that it stands at: what is submitted now makes a batch.
func (f *fixture) fill() *gate {
	f.Helper()
	g := f.hold()
	f.submitLater(sinktest.NewEvent("fill", ""))
	<-g.entered
	return g
}

// want expects the outcomes in their order.
func (f *fixture) want(answers []commit.Answer, want ...commit.Outcome) {
	f.Helper()
	var got []commit.Outcome
	for _, answer := range answers {
		got = append(got, answer.Outcome)
	}
	if !slices.Equal(got, want) {
		f.Errorf("got %v, want %v", got, want)
	}
}

// stored expects the number of events in the table.
func (f *fixture) stored(want int) {
	f.Helper()
	if got := sinktest.CheckTables(f, f.db); got != want {
		f.Errorf("%d events are stored, want %d", got, want)
	}
}

func (f *fixture) refused(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("got %v, want %v", err, want)
	}
}
