package config_test

import (
	"strings"
	"testing"

	"keygate/writer/config"
)

func valid() config.Config {
	cfg := config.Default()
	cfg.DatabaseURL, cfg.TrustSecret = "sqlite:data.db", "a secret of thirty-two bytes ok!"
	return cfg
}

func TestWhoIsBelievedHasToBeSaid(t *testing.T) {
	f := func(change func(*config.Config), ok bool) {
		t.Helper()
		cfg := valid()
		cfg.TrustSecret = ""
		change(&cfg)
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("got %v", err)
		}
	}
	f(func(*config.Config) {}, false)
	f(func(c *config.Config) { c.TrustSecret = "a secret of thirty-two bytes ok!" }, true)
	f(func(c *config.Config) { c.TrustNetwork = true }, true)
	f(func(c *config.Config) { c.Listen = "unix:/run/keygate/writer" }, true)
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	f := func(want string, change func(*config.Config)) {
		t.Helper()
		cfg := valid()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("--database-url is missing", func(c *config.Config) { c.DatabaseURL = "" })
	f("unusable database URL", func(c *config.Config) { c.DatabaseURL = "mysql://x" })
	f("at least 16 bytes", func(c *config.Config) { c.TrustSecret = "short" })
	f("--queue-rows", func(c *config.Config) { c.QueueRows = 0 })
	f("--queue-bytes", func(c *config.Config) { c.QueueBytes = c.MaxBody - 1 })
	f("--max-body", func(c *config.Config) { c.MaxBody = 0 })
	f("--ride-out", func(c *config.Config) { c.RideOut = 1 })
	cfg := valid()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
