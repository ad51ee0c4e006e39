package redisstore

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	for _, row := range []struct {
		url     string
		addrs   string
		kind    string
		db      int
		user    string
		tlsName string // "-" without TLS
	}{
		{"redis://localhost", "localhost:6379", "*redis.Client", 0, "", "-"},
		{"redis://u:p%2Fw@h:1/2", "h:1", "*redis.Client", 2, "u", "-"},
		{"redis://h:1/?db=3&pool_size=7", "h:1", "*redis.Client", 3, "", "-"},
		{"rediss://h", "h:6379", "*redis.Client", 0, "", "h"},
		{"unix:///run/redis.sock?db=1", "/run/redis.sock", "*redis.Client", 1, "", "-"},
		{"redis://[::1]:1,[::2]:2", "[::1]:1 [::2]:2", "cluster", 0, "", "-"},
		{"redis://u:p@a:1,b,c:3", "a:1 b:6379 c:3", "cluster", 0, "u", "-"},
		{"rediss://a:1,b:2", "a:1 b:2", "cluster", 0, "", ""},
		{"redis://a:1?addr=b:2&addr=c:3", "a:1 b:2 c:3", "cluster", 0, "", "-"},
		{"redis://a:1?cluster=true", "a:1", "cluster", 0, "", "-"},
		{"redis://u:p@a:1,b:2/4?master_name=m&sentinel_username=s&sentinel_password=t", "a:1 b:2", "sentinel", 4, "u", "-"},
	} {
		o, err := options(row.url)
		if err != nil {
			t.Errorf("%s: %v", row.url, err)
			continue
		}
		kind := "*redis.Client"
		switch {
		case o.MasterName != "":
			kind = "sentinel"
		case o.IsClusterMode || len(o.Addrs) > 1:
			kind = "cluster"
		}
		tlsName := "-"
		if o.TLSConfig != nil {
			tlsName = o.TLSConfig.ServerName
		}
		if !slices.Equal(o.Addrs, strings.Fields(row.addrs)) || kind != row.kind || o.DB != row.db ||
			o.Username != row.user || tlsName != row.tlsName {
			t.Errorf("%s: %v, a %s, db %d, user %q, TLS %q", row.url, o.Addrs, kind, o.DB, o.Username, tlsName)
		}
		if o.Protocol != 2 || o.MaxRetries != -1 {
			t.Errorf("%s: protocol %d, %d retries", row.url, o.Protocol, o.MaxRetries)
		}
	}
	o, err := options("redis://h?pool_size=7&master_name=m&sentinel_password=t")
	if err != nil || o.PoolSize != 7 || o.SentinelPassword != "t" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestTheDocumentedURLsAreUnderstood(t *testing.T) {
	text, err := os.ReadFile("../../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^\\|.*\\| `([a-z]+://[^`]+)` \\|$").FindAllStringSubmatch(string(text), -1)
	if len(found) < 7 {
		t.Fatalf("docs/redis.md gives %d URLs", len(found))
	}
	for _, match := range found {
		if _, err := options(match[1]); err != nil {
			t.Errorf("%s: %v", match[1], err)
		}
	}
}

func TestAURLThatIsNotUnderstoodIsNotShown(t *testing.T) {
	for _, url := range []string{
		"", "hunter2", "http://u:hunter2@h", "redis://u:hun/hunter2@h:1/0", "redis://:12/hunter2@h:6379/0",
		"redis://u:hunter2@h:port", "redis://u:hunter2@h/x", "redis://u:hunter2@h/1/2", "redis://u:hunter2@a,b%zz",
		"redis://u:hunter2@h?nonsense=hunter2", "redis://h?cluster=hunter2", "redis://h?cluster=true&master_name=m",
		"redis://a,,b", "unix://", "redis://h?db=hunter2", "redis://u:hunter2@a:1,/0", "://hunter2",
		"redis://u:hunter2\x00@h",
	} {
		if o, err := options(url); err == nil {
			t.Errorf("%q: taken for %v", url, o.Addrs)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: shown in %q", url, err)
		}
	}
	if _, err := options("redis://h?nonsense=1"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an unknown parameter is not named: %v", err)
	}
}
