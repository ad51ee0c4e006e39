package redisstore

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"keygate/shared/trust"
)

// DefaultKeyPrefix is what stands before the public prefix in a key's name, unless configured.
const DefaultKeyPrefix = "org:prefix:"

// Config is what a Cache needs. All of it must be set, but for Secrets.
type Config struct {
	// URL is redis://, rediss:// or unix://, with the parameters of go-redis; see options.
	URL       string
	KeyPrefix string // never empty: every key that begins with it is taken for a record

	RedisTTL     time.Duration // a record is believed fresh no longer than this after the source was read
	StaleIfError time.Duration // how much longer it is kept
	Timeout      time.Duration // for one round trip of Get, Lease, Store and Release; 50 ms serves

	ProxyID string        // unique among the living: two that share one would not hear each other
	Alive   time.Duration // for how long this proxy may hold copies that answer, once it is silent: cache TTL + 3 s

	Secrets *trust.Secrets
	Logger  *slog.Logger
	Metrics *Metrics
}

func (c *Config) check() error {
	switch {
	case c.KeyPrefix == "":
		return errors.New("the Redis key prefix may not be empty")
	case c.ProxyID == "":
		return errors.New("a proxy needs an id among its fleet")
	case c.RedisTTL <= 0 || c.Timeout <= 0 || c.Alive <= 0:
		return errors.New("the Redis TTL, time-out and heartbeat limit must be positive")
	}
	return nil
}

// names are the keys and channels of one fleet.
type names struct {
	record  string // before a public prefix
	floor   string
	proxies string
	bus     string
}

func newNames(keyPrefix string, db int) names {
	base := "keygate:"
	if keyPrefix != DefaultKeyPrefix {
		base += keyPrefix
	}
	n := names{record: keyPrefix, floor: base + "floor", proxies: base + "proxies", bus: base + "bus"}
	if db != 0 { // databases separate keys, but not channels
		n.bus += "@" + strconv.Itoa(db)
	}
	return n
}

// mailbox is the channel that only proxy hears.
func (n names) mailbox(proxy string) string { return n.bus + ":" + proxy }
