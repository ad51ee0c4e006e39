package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"keygate/tests/link"
	"keygate/tests/programs"
)

const fleetSize = 4

// fleet is proxies that share a table of keys and a Redis.
type fleet struct {
	*bench
	table   table
	url     string    // of the database
	db      *pgx.Conn // the operator's
	proxies []*proxy
}

// proxy is one of a fleet. Its links are nil unless the fleet was started with some.
type proxy struct {
	*programs.Program
	addr   string // of the data path
	verify string // of the door that forwards nothing
	admin  string // the URL of the admin listener
	redis  *link.Link
	sql    *link.Link
}

// visitor asks admin listeners.
var visitor = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// plan is what a fleet is made of.
type plan struct {
	table  table
	size   int
	keys   []key // to be stored
	linked bool  // what proxies say to Redis and PostgreSQL can be held back
	flags  []string
}

// launch starts a fleet on empty tiers, and returns once all of it is ready.
func (b *bench) launch(ctx context.Context, p plan) (f *fleet, err error) {
	f = &fleet{bench: b, table: p.table}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	if err := b.operator.FlushAll(ctx).Err(); err != nil {
		return f, err
	}
	if f.url, err = b.database(ctx); err != nil {
		return f, err
	}
	if len(p.table.migrate) > 0 {
		env := []string{"DATABASE_URL=" + f.url}
		if _, err := b.command(ctx, env, append([]string{"migrate"}, p.table.migrate...)...); err != nil {
			return f, err
		}
	}
	if f.db, err = pgx.Connect(ctx, f.url); err != nil {
		return f, err
	}
	if _, err := f.db.Exec(ctx, p.table.schema); err != nil {
		return f, err
	}
	if err := p.table.fill(ctx, f.db, p.keys); err != nil {
		return f, err
	}
	for range p.size {
		if err := f.add(p); err != nil {
			return f, err
		}
	}
	for _, one := range f.proxies {
		if err := one.awaitReadiness(ctx); err != nil {
			return f, err
		}
	}
	return f, nil
}

// add starts one more proxy.
func (f *fleet) add(p plan) (err error) {
	one := &proxy{}
	database, cache := f.url, f.Redis.Addr()
	if p.linked {
		parsed, err := url.Parse(f.url)
		if err != nil {
			return err
		}
		if one.sql, err = link.New(parsed.Host, nil); err != nil {
			return err
		}
		if one.redis, err = link.New(f.Redis.Addr(), nil); err != nil {
			return err
		}
		parsed.Host, cache = one.sql.Addr(), one.redis.Addr()
		database = parsed.String()
	}
	if one.addr, err = programs.FreeAddress(); err != nil {
		return err
	}
	if one.verify, err = programs.FreeAddress(); err != nil {
		return err
	}
	admin, err := programs.FreeAddress()
	if err != nil {
		return err
	}
	one.admin = "http://" + admin
	env := []string{"DATABASE_URL=" + database, "REDIS_URL=redis://" + cache + "/0", "TRUST_SECRET=a secret of the fleet alone"}
	args := []string{"serve", "--listen", one.addr, "--verify-listen", one.verify, "--admin-listen", admin,
		"--upstream", "http://" + f.stub.Address}
	args = append(append(args, f.table.flags...), p.flags...)
	launch := programs.Launch{Path: filepath.Join(f.Dir, "proxy"), Args: args, Env: env}
	if one.Program, err = programs.Start(f.Dir, "proxy", launch); err != nil {
		return err
	}
	f.proxies = append(f.proxies, one)
	return nil
}

// stop ends the proxies.
func (f *fleet) stop() error {
	var err error
	for _, one := range f.proxies {
		for _, l := range []*link.Link{one.redis, one.sql} {
			if l != nil {
				l.Close() // first, so that no shutdown waits for what a cut holds back
			}
		}
		err = errors.Join(err, one.Stop(patience))
	}
	if f.db != nil {
		err = errors.Join(err, f.db.Close(context.Background()))
	}
	return err
}

func (p *proxy) awaitReadiness(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.Await(ctx, "readiness", p.ready)
}

func (p *proxy) ready() bool {
	response, err := visitor.Get(p.admin + "/readyz")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var body struct{ Degraded []string }
	err = json.NewDecoder(response.Body).Decode(&body)
	return err == nil && response.StatusCode == http.StatusOK && len(body.Degraded) == 0
}

// invalidate calls the proxy's endpoint, and says whether every proxy has confirmed.
func (p *proxy) invalidate(ctx context.Context, prefixes ...string) (complete bool, err error) {
	text, err := json.Marshal(map[string][]string{"prefixes": prefixes})
	if err != nil {
		return false, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.admin+"/v1/cache/invalidate", bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := visitor.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	var report struct{ Complete bool }
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil || response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("an invalidation is answered %s: %w", response.Status, err)
	}
	return report.Complete, nil
}

// knows has every proxy answer for keys, and wants each let through or refused.
func (f *fleet) knows(keys []key, through bool) (wrong int, err error) {
	for _, one := range f.proxies {
		c := newClient(one.addr)
		for _, k := range keys {
			status, err := c.ask(k.text)
			if err != nil {
				return wrong, err
			}
			// Where everybody asks at once, half a second may be too short for a look-up.
			for began := time.Now(); through && status == http.StatusServiceUnavailable && time.Since(began) < patience; {
				if status, err = c.ask(k.text); err != nil {
					return wrong, err
				}
			}
			if passes(status) != through {
				wrong++
			}
		}
		c.close()
	}
	return wrong, nil
}
