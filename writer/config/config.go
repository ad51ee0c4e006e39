// Package config holds every knob of the writer, what it is without being turned, and which settings do not go together.
package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"keygate/shared/database"
	"keygate/shared/flags"
	"keygate/shared/trust"
)

// Config is the writer's settings. Default gives all of them a value; the flags say what each means.
type Config struct {
	Listen      string
	AdminListen string
	LogLevel    string
	LogFormat   string

	DatabaseURL  string
	TrustSecret  string
	TrustNetwork bool
	AdminToken   string
	OrgHeader    string

	RideOut    time.Duration
	QueueRows  int
	QueueBytes int
	MaxBody    int
	DrainDelay time.Duration
}

// Default returns the settings of a writer that nobody configured.
func Default() Config {
	return Config{
		Listen:      "127.0.0.1:8081",
		AdminListen: "127.0.0.1:9081",
		LogLevel:    "info",
		LogFormat:   "text",
		OrgHeader:   "X-Org-Id",
		RideOut:     10 * time.Second,
		QueueRows:   16384,
		QueueBytes:  64 << 20,
		MaxBody:     8 << 20,
	}
}

// Flags declares every setting.
func (c *Config) Flags(set *flags.Set) {
	set.Section("Listeners")
	set.String("listen", &c.Listen, "take events from the proxy on this host:port or unix:PATH")
	set.String("admin-listen", &c.AdminListen, "serve health, metrics and figures on this host:port or unix:PATH")
	set.Secret("admin-token", &c.AdminToken, "callers of the admin listener must present this as bearer token")
	set.Section("Trust")
	set.Secret("trust-secret", &c.TrustSecret,
		"believe what is signed with this, the proxy's own; two, separated by a comma, while one replaces the other")
	set.Bool("trust-network", &c.TrustNetwork, "without a secret: believe whoever can connect")
	set.String("org-header", &c.OrgHeader, "the header that tells the organization")
	set.Section("Storage")
	set.String("database-url", &c.DatabaseURL, "store events here: postgres://… or sqlite:PATH")
	set.Duration("ride-out", &c.RideOut, "keep events waiting while the database is away, this long at most")
	set.Int("queue-rows", &c.QueueRows, "hold at most this many events that are not stored yet")
	set.Bytes("queue-bytes", &c.QueueBytes, "hold at most this much of them, and as much of requests that are still arriving")
	set.Bytes("max-body", &c.MaxBody, "the largest request body")
	set.Section("Everything else")
	set.Duration("drain-delay", &c.DrainDelay, "on SIGTERM, go on serving for this long before closing the listener")
	set.String("log-level", &c.LogLevel, "debug, info, warn or error")
	set.String("log-format", &c.LogFormat, "text or json")
}

// Validate says what is wrong with the settings, in a sentence for each.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DatabaseURL == "" {
		wrong("--database-url is missing: say where to store events, as postgres://… or sqlite:PATH")
	} else if _, err := database.Parse(c.DatabaseURL); err != nil {
		errs = append(errs, err)
	}
	if _, err := trust.Parse(c.TrustSecret); err != nil {
		errs = append(errs, err)
	}
	if c.TrustSecret == "" && !c.TrustNetwork && !strings.HasPrefix(c.Listen, "unix:") {
		wrong("whoever reaches %s could claim to be any organization: set TRUST_SECRET here and at the proxy, listen on a "+
			"unix socket, or say --trust-network if only the proxy can connect", c.Listen)
	}
	if c.QueueRows < 1 || c.QueueBytes < c.MaxBody {
		wrong("--queue-rows must be at least 1, and --queue-bytes at least --max-body")
	}
	if c.MaxBody < 1 {
		wrong("--max-body must be at least 1")
	}
	if c.RideOut < time.Second {
		wrong("--ride-out must be at least 1s")
	}
	return errors.Join(errs...)
}
