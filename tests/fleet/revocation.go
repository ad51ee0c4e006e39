package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

const (
	pollPause   = 2 * time.Millisecond
	revokers    = 2                // at work at the same time, so that revocations meet each other, too
	missing     = 10 * time.Second // then a key that is still let through counts as missed
	otherKeys   = 1000
	connections = 8 // of customers to each proxy
)

// way is how a change is told.
type way struct {
	Name   string
	metric string // label of the exported histogram
	table  table
	// before is what happens to the truth; tell is what is measured. It says whether everybody is known to have heard.
	before func(ctx context.Context, r *revoker, k key) error
	tell   func(ctx context.Context, r *revoker, k key) (complete bool, err error)
}

func update(ctx context.Context, r *revoker, k key) error { return r.fleet.table.revoke(ctx, r.db, k) }

func nothing(context.Context, *revoker, key) error { return nil }

func byUpdate(ctx context.Context, r *revoker, k key) (bool, error) { return false, update(ctx, r, k) }

func byEndpoint(ctx context.Context, r *revoker, k key) (bool, error) {
	r.turn++
	complete, err := r.fleet.proxies[r.turn%len(r.fleet.proxies)].invalidate(ctx, k.prefix)
	if err == nil && !complete {
		err = errors.New("an invalidation was not confirmed by every proxy")
	}
	return complete, err
}

func byDEL(ctx context.Context, r *revoker, k key) (bool, error) {
	n, err := r.fleet.operator.Del(ctx, "org:prefix:"+k.prefix).Result()
	if err == nil && n != 1 {
		err = errors.New("a key in use has no record in Redis")
	}
	return false, err
}

var ways = []way{
	{"UPDATE of keygate's table", "change_log", ownTable, nothing, byUpdate},
	{"UPDATE of a foreign table with the trigger", "change_log", watchedTable, nothing, byUpdate},
	{"the endpoint, after an UPDATE of a foreign table", "endpoint", foreignTable, update, byEndpoint},
	{"DEL in Redis, after an UPDATE of a foreign table", "del", foreignTable, update, byDEL},
}

// revocation is what was seen of one.
type revocation struct {
	refused  time.Duration // by the last proxy, since before the change
	told     time.Duration // since before the change until the statement or call had returned
	passed   time.Duration // since before the change until the last request was sent that any proxy let through
	missed   bool
	unknown  int // proxies that first refused with 503, because they could not find out within half a second
	untimely int // requests that were let through although they were sent after everybody was known to have heard
}

// revoker revokes one key after the other and watches each proxy by a connection of its own.
type revoker struct {
	fleet   *fleet
	db      *pgx.Conn
	clients []*client
	turn    int
}

func newRevoker(ctx context.Context, f *fleet) (*revoker, error) {
	db, err := pgx.Connect(ctx, f.url)
	r := &revoker{fleet: f, db: db}
	for _, one := range f.proxies {
		r.clients = append(r.clients, newClient(one.addr))
	}
	return r, err
}

func (r *revoker) close() {
	for _, c := range r.clients {
		c.close()
	}
	if r.db != nil {
		_ = r.db.Close(context.Background())
	}
}

// revoke has every proxy hold a copy of a key in use, revokes it, and watches.
func (r *revoker) revoke(ctx context.Context, w way, k key) (seen revocation, err error) {
	for _, c := range r.clients {
		for range 2 { // the second one is answered from memory
			if status, err := c.ask(k.text); err != nil || !passes(status) {
				return seen, fmt.Errorf("a good key is answered %d: %w", status, err)
			}
		}
	}
	if err := w.before(ctx, r, k); err != nil {
		return seen, err
	}
	refusals := make([]refusal, len(r.clients))
	var watching sync.WaitGroup
	for i, c := range r.clients {
		watching.Go(func() { refusals[i] = watch(ctx, c, k, every(pollPause), missing) })
	}
	<-time.After(rand.N(5 * time.Millisecond)) // in step with nothing
	began := time.Now()
	complete, err := w.tell(ctx, r, k)
	told := time.Now()
	watching.Wait()
	seen.told = told.Sub(began)
	for _, got := range refusals {
		if err = errors.Join(err, got.err); got.status == 0 {
			seen.missed = true
			continue
		}
		if got.refused.Before(began) {
			err = errors.Join(err, fmt.Errorf("a good key was refused with %d", got.status))
		}
		if got.status == http.StatusServiceUnavailable {
			seen.unknown++
		}
		seen.refused = max(seen.refused, got.refused.Sub(began))
		seen.passed = max(seen.passed, got.passed.Sub(began))
		if complete && got.passed.After(told) {
			seen.untimely++
		}
	}
	return seen, err
}

// measureWay revokes keys by one way under traffic, and asks for all of them once more in the end.
func measureWay(ctx context.Context, b *bench, w way, count int, rate float64) (found wayResult, err error) {
	keys, err := mint(count + otherKeys)
	if err != nil {
		return found, err
	}
	f, err := b.launch(ctx, plan{table: w.table, size: fleetSize, keys: keys})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	doomed, good := keys[:count], keys[count:]
	if wrong, err := f.knows(good, true); err != nil || wrong > 0 {
		return found, fmt.Errorf("%d good keys are refused: %w", wrong, err)
	}
	c, err := f.customers(ctx, good, connections)
	if err != nil {
		return found, err
	}
	defer c.close()
	before, err := f.exported(ctx, w.metric)
	if err != nil {
		return found, err
	}
	var all []revocation
	begun := time.Now()
	saw, err := c.meanwhile(ctx, rate, func(ctx context.Context) (err error) {
		all, err = revokeAll(ctx, f, w, doomed)
		return err
	})
	if err != nil {
		return found, err
	}
	back, err := f.knows(doomed, false)
	if err != nil {
		return found, err
	}
	after, err := f.exported(ctx, w.metric)
	fmt.Fprintf(os.Stderr, "revocations: %s: %d in %v\n", w.Name, len(all), time.Since(begun).Round(time.Second))
	return newWayResult(w, all, saw, back, after.since(before)), err
}

func revokeAll(ctx context.Context, f *fleet, w way, doomed []key) ([]revocation, error) {
	all := make([]revocation, len(doomed))
	group, ctx := errgroup.WithContext(ctx)
	for n := range revokers {
		group.Go(func() error {
			r, err := newRevoker(ctx, f)
			defer r.close()
			for i := n; i < len(doomed) && err == nil; i += revokers {
				all[i], err = r.revoke(ctx, w, doomed[i])
			}
			return err
		})
	}
	return all, group.Wait()
}
