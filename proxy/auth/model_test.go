package auth_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// The model knows of each key every truth that there has been, and of each proxy how far it has been told. Whatever a
// look-up answers must have been true at some time since the last change that its proxy had heard of when it began;
// or it must be "unknown". What happens is drawn at random, from a seed that is printed.
type model struct {
	truth    *truth
	server   *servers.RedisServer
	operator *redis.Client
	proxies  []*proxy
	keys     []*modelKey
	random   *rand.Rand
	faults   faultSet

	answers, unknown atomic.Int64
}

type faultSet struct {
	name   string
	source bool // the source goes down and comes back
	redis  bool // Redis is flushed, restarted, frozen, and cuts subscriptions off
}

type modelKey struct {
	testKey
	mu     sync.Mutex
	truths []told // by version
	told   []int  // by proxy: the version up to which it has been told
}

// committing notes a truth that is about to be committed, and returns its version.
func (k *modelKey) committing(t told) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.truths = append(k.truths, t)
	return len(k.truths) - 1
}

func (k *modelKey) tell(proxy, version int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told[proxy] = max(k.told[proxy], version)
}

func (k *modelKey) floor(proxy int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told[proxy]
}

// since returns what has been true since a version.
func (k *modelKey) since(version int) []told {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]told(nil), k.truths[version:]...)
}

const modelProxies, modelKeys = 3, 6

func TestRandomSchedulesAgainstAModel(t *testing.T) {
	for _, faults := range []faultSet{
		{"healthy", false, false}, {"source fails", true, false}, {"Redis fails", false, true}, {"both fail", true, true},
	} {
		t.Run(faults.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			if text := os.Getenv("KEYGATE_TEST_SEED"); text != "" {
				var err error
				if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			m := newModel(t, seed, faults)
			steps := m.run(t)
			m.converges(t)
			t.Logf("%d steps, %d answers, %d unknown", steps, m.answers.Load(), m.unknown.Load())
			if t.Failed() {
				t.Logf("KEYGATE_TEST_SEED=%d", seed)
			}
		})
	}
}

func newModel(t *testing.T, seed uint64, faults faultSet) *model {
	t.Helper()
	m := &model{truth: newTruth(t), server: servers.StartRedis(t), random: rand.New(rand.NewPCG(seed, 1)), faults: faults}
	m.operator = operator(t, m.server)
	for i := range modelProxies {
		m.proxies = append(m.proxies, newProxy(t, settings{
			truth: m.truth, redis: m.server, id: strconv.Itoa(i), redisTimeout: 200 * time.Millisecond,
			change: func(cfg *auth.Config) {
				cfg.CacheTTL, cfg.SharedTTL, cfg.SourceRate = 50*time.Millisecond, 300*time.Millisecond, 100_000
			},
		}))
	}
	for range modelKeys {
		k := &modelKey{testKey: m.truth.create(t), told: make([]int, modelProxies)}
		k.truths = []told{{auth.Allowed, "org-1"}}
		for _, p := range m.proxies {
			expect(t, "before the schedule", p.settled(t, k.testKey), auth.Allowed)
		}
		m.keys = append(m.keys, k)
	}
	return m
}

// run lets clients ask and the operator act until the time is over.
func (m *model) run(t *testing.T) (steps int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range m.proxies {
		random := rand.New(rand.NewPCG(m.random.Uint64(), 2))
		clients.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				m.ask(t, ctx, i, m.keys[random.IntN(len(m.keys))])
				runtime.Gosched() // the operator is to get a word in
			}
		})
	}
	for began := time.Now(); time.Since(began) < modelLasts && !t.Failed(); steps++ {
		m.step(t)
	}
	cancel()
	clients.Wait()
	return steps
}

// ask has one client look up one key, and judges the answer.
func (m *model) ask(t *testing.T, ctx context.Context, proxy int, k *modelKey) {
	floor := k.floor(proxy)
	d := m.proxies[proxy].Resolve(ctx, k.text)
	m.answers.Add(1)
	if d.Outcome() == auth.Unknown {
		m.unknown.Add(1)
		return
	}
	possible := k.since(floor)
	for _, truth := range possible {
		if tell(d) == truth {
			return
		}
	}
	t.Errorf("proxy %d answered %v (last known: %v), but since it was told: %v", proxy, tell(d), d.LastKnown, possible)
}

// step is one act of the operator.
func (m *model) step(t *testing.T) {
	t.Helper()
	k := m.keys[m.random.IntN(len(m.keys))]
	switch n := m.random.IntN(20); {
	case n < 12:
		m.mutate(t, k)
	case n < 14:
		m.proxies[m.random.IntN(len(m.proxies))].Heard(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	case n < 17 && m.faults.source:
		down := m.random.IntN(2) == 0
		for _, p := range m.proxies {
			p.source.down.Store(down)
		}
	case n == 17 && m.faults.redis:
		command(t, m.operator, "flushall")
	case n == 18 && m.faults.redis:
		command(t, m.operator, "client", "kill", "type", "pubsub")
		m.awaitLinks(t)
	case n == 19 && m.faults.redis && m.random.IntN(4) == 0:
		m.server.Kill()
		m.server.Start()
		m.awaitLinks(t)
	}
}

// awaitLinks waits until every proxy hears again.
func (m *model) awaitLinks(t *testing.T) {
	t.Helper()
	for _, p := range m.proxies {
		authtest.Eventually(t, "subscription", func() bool {
			return m.operator.Ping(t.Context()).Err() == nil && p.cache.Subscribed()
		})
	}
	m.resettle(t)
}

// resettle settles although links may go down meanwhile and swallow a marker.
func (m *model) resettle(t *testing.T) {
	t.Helper()
	for _, p := range m.proxies {
		mark := p.heard.Mark()
		authtest.Eventually(t, "marker", func() bool {
			marker := mint(t).prefix
			_ = m.operator.Set(t.Context(), redisstore.DefaultKeyPrefix+marker, "a marker", time.Minute).Err()
			for _, c := range p.heard.Since(mark) {
				if c.Verb == auth.Look {
					for _, prefix := range c.Prefixes {
						if value, _ := m.operator.Get(t.Context(), redisstore.DefaultKeyPrefix+prefix).Result(); value == "a marker" {
							return true
						}
					}
				}
			}
			return false
		})
	}
}

// mutate commits a new truth and lets it be heard by one of the ways in.
func (m *model) mutate(t *testing.T, k *modelKey) {
	t.Helper()
	next := told{auth.Revoked, ""}
	version := len(k.since(0))
	org := fmt.Sprintf("org-%s-%d", k.prefix[len(k.prefix)-4:], version)
	m.truth.exec(t, "insert into organizations (id, name) values ($1, 'x')", org)
	enabled := m.random.IntN(3) > 0
	if enabled {
		next = told{auth.Allowed, org}
	}
	k.committing(next)
	m.truth.exec(t, "update api_keys set org_id = $1, enabled = $2 where prefix = $3", org, enabled, k.prefix)
	remove := auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}}
	switch m.random.IntN(4) {
	case 0: // nobody is told
	case 1: // the change log, on some of them
		for i, p := range m.proxies {
			if m.random.IntN(2) == 0 {
				p.Changed(remove)
				k.tell(i, version)
			}
		}
	case 2: // the endpoint
		i := m.random.IntN(len(m.proxies))
		m.proxies[i].Changed(remove)
		k.tell(i, version)
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		if got, err := m.proxies[i].cache.Invalidate(ctx, remove.Scope); err == nil && got.Confirmed >= len(m.proxies) {
			for i := range m.proxies {
				k.tell(i, version)
			}
		}
	case 3: // a DEL, which is silent where nothing stands
		n, err := m.operator.Del(t.Context(), redisstore.DefaultKeyPrefix+k.prefix).Result()
		if err == nil && n == 1 && !(m.faults.source && m.faults.redis) {
			if m.faults.redis {
				m.resettle(t)
			} else {
				settle(t, m.operator, m.proxies...)
			}
			for i := range m.proxies {
				k.tell(i, version)
			}
		}
	}
}

// converges checks that with everything healed and told, everybody answers with what is true now.
func (m *model) converges(t *testing.T) {
	t.Helper()
	for _, p := range m.proxies {
		p.source.down.Store(false)
	}
	for _, k := range m.keys {
		for _, p := range m.proxies {
			p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
		}
		truths := k.since(0)
		for _, p := range m.proxies {
			authtest.Eventually(t, "convergence", func() bool {
				d := p.Resolve(t.Context(), k.text)
				return d.Outcome() == auth.Unknown || tell(d) == truths[len(truths)-1] && !d.LastKnown
			})
		}
	}
}
