// Package app wires the writer: what is built, in which order it starts, and the same order backwards when it stops.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/valyala/fasthttp"

	"keygate/shared/admin"
	"keygate/shared/build"
	"keygate/shared/database"
	"keygate/shared/lifecycle"
	"keygate/shared/serving"
	"keygate/shared/trust"
	"keygate/writer/commit"
	"keygate/writer/config"
	"keygate/writer/pgsink"
	"keygate/writer/server"
	"keygate/writer/sqlitesink"
)

// App is a writer.
type App struct {
	cfg      config.Config
	log      *slog.Logger
	registry *prometheus.Registry
	started  time.Time

	url       database.URL
	sink      commit.Sink
	second    commit.Sink // nil on SQLite, which has one writer
	closeSink func() error
	commit    *commit.Committer
	events    *server.Server
	admin     *admin.Server

	serving atomic.Bool // until the stop was asked for
	checked atomic.Bool // the database has the tables that it has to have
}

// Open builds a writer and opens its listeners; what it returns must be Run. The database is asked once: one that is not
// migrated is an error. One that cannot be reached is an error only if it is needed now.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger, needDatabase bool) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, registry: prometheus.NewRegistry(), started: time.Now()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.serving.Store(true)
	if err := a.build(); err != nil {
		return nil, err
	}
	if err := a.checkDatabase(ctx); err != nil && (needDatabase || !isTransient(err)) {
		return nil, errors.Join(err, a.closeSink())
	}
	if err := a.events.Listen(); err != nil {
		return nil, errors.Join(err, a.closeSink())
	}
	if err := a.admin.Listen(); err != nil {
		return nil, errors.Join(err, a.events.Close(), a.closeSink())
	}
	return a, nil
}

func (a *App) build() (err error) {
	secrets, err := trust.Parse(a.cfg.TrustSecret)
	if err != nil {
		return err
	}
	if err := a.buildSink(); err != nil {
		return err
	}
	a.commit = commit.New(commit.Config{
		Sink: a.sink, Second: a.second, QueueRows: a.cfg.QueueRows, QueueBytes: a.cfg.QueueBytes, RideOut: a.cfg.RideOut,
		Logger: a.log, Registerer: a.registry,
	})
	a.events = server.New(server.Config{
		Address: a.cfg.Listen, OrgHeader: a.cfg.OrgHeader, Secrets: secrets, Commit: a.commit,
		MaxBody: a.cfg.MaxBody, MaxArriving: a.cfg.QueueBytes, DrainDelay: a.cfg.DrainDelay,
		Logger: a.log, Metrics: serving.NewMetrics(a.registry, "writer"),
	})
	a.admin = admin.New(admin.Config{
		Program: "writer", Listen: a.cfg.AdminListen, Token: a.cfg.AdminToken,
		Ready: a.ready, Gatherer: a.registry, Stats: a.stats,
		Headline: []string{"events_total.accepted", "commit_seconds.p99", "batch_rows.p50", "queue_rows"},
		Build:    build.Info(), Logger: a.log,
	})
	return nil
}

func (a *App) buildSink() (err error) {
	if a.url, err = database.Parse(a.cfg.DatabaseURL); err != nil {
		return err
	}
	if a.url.Dialect() == database.SQLite {
		sink := sqlitesink.New(a.url.Path())
		a.sink, a.closeSink = sink, sink.Close
		return nil
	}
	first, err := pgsink.New(pgsink.Config{URL: a.url, Logger: a.log})
	if err != nil {
		return err
	}
	second, err := pgsink.New(pgsink.Config{URL: a.url, Logger: a.log})
	if err != nil {
		return err
	}
	a.sink, a.second = first, second
	a.closeSink = func() error { first.Close(); second.Close(); return nil }
	return nil
}

// Addr is where events are taken, AdminAddr where operators are served.
func (a *App) Addr() net.Addr      { return a.events.Addr() }
func (a *App) AdminAddr() net.Addr { return a.admin.Addr() }

// Handle answers a request that a proxy in the same process has signed. It may be called as long as Run runs.
func (a *App) Handle(ctx *fasthttp.RequestCtx) { a.events.Handle(ctx) }

// Run serves until ctx ends and every event that was accepted has been answered. It closes everything that Open opened.
func (a *App) Run(ctx context.Context) error {
	err := lifecycle.Serve(ctx, a.serve, a.admin.Run, a.commit.Run, a.awaitDatabase)
	a.log.Info("stopped")
	if closing := a.closeSink(); closing != nil {
		err = errors.Join(err, fmt.Errorf("closing the database: %w", closing))
	}
	return err
}

// serve takes events until ctx ends.
func (a *App) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { a.serving.Store(false) })()
	a.log.Info("serving", "events", a.Addr().String(), "admin", a.AdminAddr().String(), "database", a.url.String())
	return a.events.Run(ctx)
}

// Close frees a writer that is not going to run.
func (a *App) Close() error { return errors.Join(a.admin.Close(), a.events.Close(), a.closeSink()) }

// ready says whether events can be expected to be stored.
func (a *App) ready() (ok bool, degraded []string) {
	stats := a.commit.Stats()
	if stats.Outage != nil {
		degraded = append(degraded, "database")
	}
	return a.serving.Load() && a.checked.Load() && a.commit.Ready(), degraded
}

func (a *App) stats() any {
	ready, degraded := a.ready()
	figures := admin.Snapshot(a.registry, "keygate_writer_")
	figures["commit"] = a.commit.Stats()
	figures["uptime_seconds"] = time.Since(a.started).Seconds()
	figures["ready"] = ready
	figures["degraded"] = append([]string{}, degraded...)
	return figures
}
