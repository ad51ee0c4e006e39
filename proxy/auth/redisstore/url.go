package redisstore

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// errURL never shows the URL, or the library's words about it, because both may hold a password.
var errURL = errors.New("the Redis URL is not understood: " +
	"write redis://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DB][?PARAMETERS], " +
	"rediss:// for TLS or unix://PATH, with characters such as / in a password percent-encoded")

const (
	// A dial waits longer than any request does: a handshake over TLS to another zone that takes 80 ms is used by the
	// requests after the one that began it.
	dialTimeout = time.Second
	// Each look-up has a connection to itself for a fraction of a millisecond: 16 carry some 50,000 a second.
	poolSize = 16
	// So many are kept open, because to connect takes longer on a busy machine than a request waits.
	warmConns = 4
	// What no request waits for (heartbeats, confirmations, evictions) is worth more patience than a look-up.
	slowTimeout = time.Second
	// A record is some 300 bytes. The library's 32 KiB, twice for each connection, would be a megabyte for nothing.
	bufferSize = 4 << 10
)

// options reads a URL as go-redis does, with more hosts than one, and these parameters of ours:
//
//	master_name                             the hosts are Sentinels, which know the master of that name
//	sentinel_username, sentinel_password    the Sentinels' own; the URL's are the master's
//	cluster=true                            a cluster, of which only one host is named; several hosts are one anyway
//	addr=HOST:PORT                          a further host, repeatable
func options(text string) (*redis.UniversalOptions, error) {
	single, more := splitHosts(text)
	u, err := url.Parse(single)
	if err != nil || strings.Contains(u.Path, "@") {
		return nil, errURL
	}
	query := u.Query()
	take := func(name string) string {
		value := query.Get(name)
		query.Del(name)
		return value
	}
	more = append(more, query["addr"]...)
	query.Del("addr")
	o := &redis.UniversalOptions{
		MasterName:       take("master_name"),
		SentinelUsername: take("sentinel_username"),
		SentinelPassword: take("sentinel_password"),
	}
	cluster := take("cluster")
	if cluster != "" {
		if o.IsClusterMode, err = strconv.ParseBool(cluster); err != nil || o.MasterName != "" {
			return nil, errURL
		}
	}
	u.RawQuery = query.Encode()
	base, err := redis.ParseURL(u.String())
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "redis: unexpected option"):
		return nil, errors.New("the Redis URL has an unknown parameter: " + strings.TrimPrefix(err.Error(), "redis: "))
	case err != nil:
		return nil, errURL
	}
	o.Addrs = []string{base.Addr}
	for _, host := range more {
		addr, err := withPort(host)
		if err != nil {
			return nil, errURL
		}
		o.Addrs = append(o.Addrs, addr)
	}
	fill(o, base)
	return o, nil
}

// splitHosts takes the second and further hosts out of a URL.
func splitHosts(text string) (single string, more []string) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme == "unix" {
		return text, nil
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndex(rest[:end], "@") + 1
	hosts := strings.Split(rest[at:end], ",")
	return scheme + "://" + rest[:at] + hosts[0] + rest[end:], hosts[1:]
}

func withPort(host string) (string, error) {
	u, err := url.Parse("//" + host)
	if err != nil || u.Host != host || u.Hostname() == "" {
		return "", errURL
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379")), nil
}

// fill takes over what the URL says and fixes the rest.
func fill(o *redis.UniversalOptions, base *redis.Options) {
	o.DB, o.Username, o.Password = base.DB, base.Username, base.Password
	o.ClientName, o.TLSConfig = base.ClientName, base.TLSConfig
	if o.TLSConfig != nil && len(o.Addrs) > 1 {
		o.TLSConfig.ServerName = "" // each host is verified under its own name
	}
	o.PoolSize, o.MinIdleConns = cmp.Or(base.PoolSize, poolSize), cmp.Or(base.MinIdleConns, warmConns)
	o.MaxIdleConns, o.MaxActiveConns = base.MaxIdleConns, base.MaxActiveConns
	o.ConnMaxIdleTime, o.ConnMaxLifetime = base.ConnMaxIdleTime, base.ConnMaxLifetime

	o.Protocol = 2
	o.DisableIdentity = true
	o.ContextTimeoutEnabled = true
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = slowTimeout, slowTimeout, slowTimeout
	o.DialTimeout = dialTimeout
	o.MaxRetries = -1   // the contract: nothing is retried
	o.DialerRetries = 1 // a refused connection is news at once, not after four more attempts
	o.PipelinePoolSize = -1
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
}
