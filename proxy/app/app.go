// Package app wires the proxy: what is built, in which order it starts, and the same order backwards when it stops.
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
	"golang.org/x/sync/errgroup"

	"keygate/proxy/auth"
	"keygate/proxy/auth/memstore"
	"keygate/proxy/auth/redisstore"
	"keygate/proxy/config"
	"keygate/proxy/forward"
	"keygate/proxy/server"
	"keygate/proxy/verify"
	"keygate/shared/admin"
	"keygate/shared/certificate"
	"keygate/shared/lifecycle"
	"keygate/shared/trust"
)

// App is a proxy.
type App struct {
	cfg      config.Config
	log      *slog.Logger
	registry *prometheus.Registry
	secrets  *trust.Secrets
	started  time.Time

	memory   *memstore.Store
	negative *memstore.Store
	redis    *redisstore.Cache // nil without one
	source   *source
	resolver *auth.Resolver
	forward  *forward.Forwarder
	tls      *certificate.Keeper // nil without one
	edge     *server.Server
	verify   *verify.Server // nil unless asked for
	admin    *admin.Server

	serving atomic.Bool // until the stop was asked for
	reached atomic.Bool // source or Redis have answered once
}

// Open builds a proxy and opens its listeners; what it returns must be Run. The database is asked once: one that is not
// migrated, or a query that does not fit it, is an error. That it or Redis cannot be reached is an error only if they
// are needed now.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger, needServers bool) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, registry: prometheus.NewRegistry(), started: time.Now()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.serving.Store(true)
	for _, build := range []func() error{a.buildTiers, a.buildResolver, a.buildForwarder, a.openCertificate, a.buildListeners} {
		if err := build(); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	if err := a.proveSource(ctx); err != nil && (needServers || !isTransient(err)) {
		return nil, errors.Join(err, a.close())
	}
	if needServers && a.redis != nil {
		if err := a.redis.Prove(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	if err := a.listen(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// listener is one of the proxy's.
type listener interface {
	Listen() error
	Close() error
}

// listen opens all listeners or none.
func (a *App) listen() error {
	all := []listener{a.edge, a.admin}
	if a.verify != nil {
		all = append(all, a.verify)
	}
	for i, one := range all {
		if err := one.Listen(); err != nil {
			for _, open := range all[:i] {
				err = errors.Join(err, open.Close())
			}
			return err
		}
	}
	return nil
}

// Scheme is how clients are served: http or https.
func (a *App) Scheme() string {
	if a.tls == nil {
		return "http"
	}
	return "https"
}

// Addr is where clients are served, AdminAddr where operators are, VerifyAddr where other proxies ask; nil if they do not.
func (a *App) Addr() net.Addr      { return a.edge.Addr() }
func (a *App) AdminAddr() net.Addr { return a.admin.Addr() }
func (a *App) VerifyAddr() net.Addr {
	if a.verify == nil {
		return nil
	}
	return a.verify.Addr()
}

// Run serves until ctx ends and what was accepted has been answered. It closes everything that Open opened.
func (a *App) Run(ctx context.Context) error {
	behind := []lifecycle.Part{a.admin.Run, a.resolver.Run, a.followSource, a.paceCollector}
	if a.redis != nil {
		behind = append(behind, func(ctx context.Context) error { return a.redis.Run(ctx, a.heard) })
	}
	if a.tls != nil {
		behind = append(behind, a.tls.Run)
	}
	err := lifecycle.Serve(ctx, a.serve, behind...)
	a.log.Info("stopped")
	return errors.Join(err, a.close())
}

// serve answers clients until ctx ends.
func (a *App) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { a.serving.Store(false) })()
	a.awaitChanges(ctx)
	listeners := []any{"clients", a.Addr().String(), "admin", a.AdminAddr().String()}
	front, ctx := errgroup.WithContext(ctx)
	front.Go(func() error { return a.edge.Run(ctx) })
	if a.verify != nil {
		listeners = append(listeners, "verify", a.VerifyAddr().String())
		front.Go(func() error { return a.verify.Run(ctx) })
	}
	a.log.Info("serving", listeners...)
	err := front.Wait()
	a.forward.Close()
	return err
}

// hearingPatience is how long to wait for who tells of changes before serving without them.
const hearingPatience = time.Second

// awaitChanges waits until changes are heard. What is answered before other proxies' invalidations are, nobody could take
// back; what is learned before the change log has been read may be in it, and would have to be looked up again.
func (a *App) awaitChanges(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, hearingPatience)
	defer cancel()
	heard := func() bool { return a.source.following() && (a.redis == nil || a.redis.Subscribed()) }
	for !heard() && pause(ctx, hearingPatience/100) {
	}
}

// heard passes on what Redis tells.
func (a *App) heard(c auth.Change) {
	a.reached.Store(true)
	a.resolver.Heard(c)
}

// close frees what was built, the last first. Listeners of a proxy that ran are closed already.
func (a *App) close() error {
	var errs []error
	if a.forward != nil {
		a.forward.Close()
	}
	if a.resolver != nil {
		a.resolver.Close()
	}
	if a.source != nil {
		a.source.Close()
	}
	if a.redis != nil {
		errs = append(errs, a.redis.Close())
	}
	for _, store := range []*memstore.Store{a.negative, a.memory} {
		if store != nil {
			errs = append(errs, store.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}
