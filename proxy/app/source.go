package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/auth/keyquery"
	"keygate/proxy/auth/pgsource"
	"keygate/proxy/auth/sqlitesource"
	"keygate/proxy/config"
	"keygate/shared/database"
)

// adapter is the truth about keys in one of the two databases.
type adapter interface {
	auth.Source
	auth.Directory
	// Open proves that the source can be asked. What wraps keyquery.Err is not mended by waiting.
	Open(ctx context.Context) error
	HasChangeLog(ctx context.Context) (bool, error)
	Close()
}

// follower is the way in for what is committed there.
type follower interface {
	auth.Changes
	Connected() bool
}

// source is an adapter with what the wiring knows of it.
type source struct {
	adapter
	follower follower
	url      database.URL
	ownTable bool // else a foreign table, by --key-query
	// proveListening is nil unless notifications come by a URL of their own. Then one that hears none is a mistake; else
	// there may be a pooler, and changes are polled for.
	proveListening func(context.Context) error

	proved  atomic.Bool // it has answered once, and is as it has to be
	follows atomic.Bool // there is a change log
}

func newSource(cfg *config.Config, log *slog.Logger, reg prometheus.Registerer) (*source, error) {
	url, err := database.Parse(cfg.Keys.DatabaseURL)
	if err != nil {
		return nil, err
	}
	alg, err := auth.ParseAlg(cfg.Keys.Hash)
	if err != nil {
		return nil, err
	}
	s := &source{url: url, ownTable: cfg.Keys.Query == ""}
	replay := cfg.Redis.TTL + cfg.Cache.StaleIfError // as long as Redis may hold what was filled while nobody listened
	if url.Dialect() == database.SQLite {
		sqlite := sqlitesource.New(sqlitesource.Config{
			Path: url.Path(), KeyQuery: cfg.Keys.Query, Alg: alg, Concurrency: cfg.Source.Concurrency, Replay: replay,
			Logger: log, Metrics: sqlitesource.NewMetrics(reg),
		})
		s.adapter, s.follower = sqlite, sqlite.Follower()
		return s, nil
	}
	postgres, err := pgsource.New(pgsource.Config{
		URL: url.ConnString(), ListenURL: cfg.Keys.ListenDatabaseURL, KeyQuery: cfg.Keys.Query, Alg: alg,
		Concurrency: cfg.Source.Concurrency, Replay: replay, Logger: log, Metrics: pgsource.NewMetrics(reg),
	})
	if err != nil {
		return nil, err
	}
	s.adapter, s.follower = postgres, postgres.Follower()
	if cfg.Keys.ListenDatabaseURL != "" {
		s.proveListening = postgres.ProveListening
	}
	return s, nil
}

// isTransient says whether a database may be as it has to be later. What an operator has to mend is not transient.
func isTransient(err error) bool {
	for _, lasting := range []error{migrations.ErrPending, migrations.ErrNewer, keyquery.Err, pgsource.ErrDeaf} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// proveTimeout bounds one attempt to reach the database.
const proveTimeout = 5 * time.Second

// prove asks the database once whether keys can be looked up in it.
func (s *source) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	if s.ownTable {
		if err := s.checkMigrated(ctx); err != nil {
			return err
		}
	}
	if err := s.Open(ctx); err != nil {
		return err
	}
	follows, err := s.HasChangeLog(ctx)
	if err != nil {
		return err
	}
	if follows && s.proveListening != nil {
		if err := s.proveListening(ctx); err != nil {
			return err
		}
	}
	s.follows.Store(follows)
	s.proved.Store(true)
	return nil
}

func (s *source) checkMigrated(ctx context.Context) error {
	db, err := database.Open(ctx, s.url)
	if err != nil {
		return err
	}
	defer db.Close()
	return migrations.Check(ctx, db, migrations.Changelog, migrations.Auth)
}

// following says whether changes are heard, where there are any to hear.
func (s *source) following() bool { return !s.follows.Load() || s.follower.Connected() }

// proveSource asks the database once.
func (a *App) proveSource(ctx context.Context) error {
	if err := a.source.prove(ctx); err != nil {
		return fmt.Errorf("looking for keys in %s: %w", a.source.url, err)
	}
	a.reached.Store(true)
	return nil
}

// proveRetry is how often a database that is away is looked for.
const proveRetry = time.Second

// followSource waits for the database, and then passes on what is committed there, until ctx ends.
func (a *App) followSource(ctx context.Context) error {
	for waiting := false; !a.source.proved.Load(); waiting = true {
		err := a.proveSource(ctx)
		switch {
		case err == nil:
			a.log.Info("the database answers", "database", a.source.url.String())
		case !isTransient(err):
			return err
		case !waiting:
			a.log.Warn("waiting for the database", "error", err)
		}
		if err != nil && !pause(ctx, proveRetry) {
			return ctx.Err()
		}
	}
	if err := a.awaitLog(ctx); err != nil {
		return err
	}
	return a.source.follower.Run(ctx, a.resolver.Changed)
}

// logRetry is how often a change log is looked for where there is none: the bound for who makes one while proxies run.
const logRetry = 2 * time.Second

// awaitLog returns once there is a change log, or ctx ends. One that cannot be heard is no reason to end a proxy that runs.
func (a *App) awaitLog(ctx context.Context) error {
	if a.source.follows.Load() {
		return nil
	}
	a.log.Info("the database has no change log: changes of keys are seen by invalidation, DEL or age")
	for told := false; ; {
		if !pause(ctx, logRetry) {
			return ctx.Err()
		}
		err := a.source.prove(ctx)
		switch {
		case a.source.follows.Load():
			a.log.Info("the database has a change log now")
			return nil
		case err != nil && !isTransient(err) && !told:
			told = true
			a.log.Error("looking for a change log", "error", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
