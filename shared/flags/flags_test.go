package flags_test

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"

	"keygate/shared/flags"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type config struct {
	Listen, DatabaseURL, TrustSecret, Pepper string
	Upstreams                                []string
	Network                                  bool
	Rate, MaxBody                            int
	TTL                                      time.Duration
}

func defaults() config {
	return config{
		Listen: ":8080", Upstreams: []string{"http://127.0.0.1:8081"}, Rate: 1000, MaxBody: 8 << 20, TTL: 30 * time.Second,
	}
}

func declare(program, prefix string, cfg *config) *flags.Set {
	set := flags.New(program, prefix)
	set.Section("Listeners")
	set.String("listen", &cfg.Listen, "address to serve on")
	set.String("database-url", &cfg.DatabaseURL, "where the keys are")
	set.Section("Everything else")
	set.Strings("upstream", &cfg.Upstreams, "where requests go")
	set.Bool("trust-network", &cfg.Network, "whoever can connect is trusted")
	set.Int("source-rate", &cfg.Rate, "look-ups a second")
	set.Bytes("max-body", &cfg.MaxBody, "largest body")
	set.Duration("cache-ttl", &cfg.TTL, "how long a record is fresh")
	set.Secret("trust-secret", &cfg.TrustSecret, "signs what the proxy says")
	set.Secret("key-pepper", &cfg.Pepper, "key of the hashes")
	return set
}

func app(set *flags.Set, out io.Writer) *cli.App {
	return &cli.App{
		Name: "proxy", Flags: set.Flags(), Writer: out, ErrWriter: io.Discard,
		Action:         func(*cli.Context) error { return nil },
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

func parse(tb testing.TB, prefix string, args ...string) (config, error) {
	tb.Helper()
	cfg := defaults()
	err := app(declare("PROXY", prefix, &cfg), io.Discard).Run(append([]string{"proxy"}, args...))
	return cfg, err
}

func mustParse(tb testing.TB, prefix string, args ...string) config {
	tb.Helper()
	cfg, err := parse(tb, prefix, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

func secretFile(tb testing.TB, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestEveryFlagHasTheOneVariableThatTheRuleGives(t *testing.T) {
	want := map[string]string{
		"listen": "PROXY_LISTEN", "database-url": "DATABASE_URL", "upstream": "PROXY_UPSTREAM",
		"trust-network": "PROXY_TRUST_NETWORK", "source-rate": "PROXY_SOURCE_RATE", "max-body": "PROXY_MAX_BODY",
		"cache-ttl": "PROXY_CACHE_TTL", "trust-secret-file": "PROXY_TRUST_SECRET_FILE",
		"key-pepper-file": "PROXY_KEY_PEPPER_FILE",
	}
	for _, prefix := range []string{"", "proxy-"} {
		var cfg config
		got := map[string]string{}
		for _, f := range declare("PROXY", prefix, &cfg).Flags() {
			variables := f.(cli.DocGenerationFlag).GetEnvVars()
			if len(f.Names()) != 1 || len(variables) != 1 {
				t.Fatalf("%v has the variables %v", f.Names(), variables)
			}
			name, prefixed := strings.CutPrefix(f.Names()[0], prefix)
			if !prefixed {
				t.Errorf("%s lacks the prefix %s", f.Names()[0], prefix)
			}
			got[name] = variables[0]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with prefix %q: got %v, want %v", prefix, got, want)
		}
	}
}

func TestSharedNamesGoWithoutTheProgram(t *testing.T) {
	set := flags.New("WRITER", "writer-")
	var text string
	names := map[string]string{
		"database-url": "DATABASE_URL", "redis-url": "REDIS_URL", "log-level": "LOG_LEVEL", "log-format": "LOG_FORMAT",
		"listen-database-url": "WRITER_LISTEN_DATABASE_URL",
	}
	for name := range names {
		set.String(name, &text, "")
	}
	for _, f := range set.Flags() {
		name := strings.TrimPrefix(f.Names()[0], "writer-")
		if got := f.(cli.DocGenerationFlag).GetEnvVars()[0]; got != names[name] {
			t.Errorf("%s: got %s, want %s", name, got, names[name])
		}
	}
	t.Setenv("ADMIN_TOKEN", "sixteen bytes ok!")
	admin := flags.New("WRITER", "")
	admin.Secret("admin-token", &text, "")
	if err := app(admin, io.Discard).Run([]string{"writer"}); err != nil || text != "sixteen bytes ok!" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestSectionsOfPrefixedFlagsAreToldApart(t *testing.T) {
	var cfg config
	for prefix, want := range map[string]string{"": "\nListeners\n", "proxy-": "\nproxy: Listeners\n"} {
		if got := declare("PROXY", prefix, &cfg).Flags()[0].String(); !strings.Contains(got, want) {
			t.Errorf("with prefix %q: got %q", prefix, got)
		}
	}
}

func TestDefaultsStandWhenNothingIsGiven(t *testing.T) {
	if got := mustParse(t, ""); !reflect.DeepEqual(got, defaults()) {
		t.Errorf("got %+v", got)
	}
}

func TestTheEnvironmentWinsOverTheDefaultsUnderAnyPrefix(t *testing.T) {
	for name, value := range map[string]string{
		"PROXY_LISTEN": "unix:/run/p", "DATABASE_URL": "sqlite:a,b", "PROXY_UPSTREAM": "http://a, http://b",
		"PROXY_TRUST_NETWORK": "true", "PROXY_SOURCE_RATE": "7", "PROXY_MAX_BODY": "64KiB", "PROXY_CACHE_TTL": "1h30m",
		"TRUST_SECRET": "0123456789abcdef\n", "PROXY_KEY_PEPPER_FILE": secretFile(t, "fedcba9876543210\r\n"),
	} {
		t.Setenv(name, value)
	}
	want := config{
		Listen: "unix:/run/p", DatabaseURL: "sqlite:a,b", Upstreams: []string{"http://a", "http://b"}, Network: true,
		Rate: 7, MaxBody: 64 << 10, TTL: 90 * time.Minute, TrustSecret: "0123456789abcdef", Pepper: "fedcba9876543210",
	}
	for _, prefix := range []string{"", "proxy-"} {
		if got := mustParse(t, prefix); !reflect.DeepEqual(got, want) {
			t.Errorf("with prefix %q: got %+v", prefix, got)
		}
	}
}

func TestArgumentsWinOverTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"PROXY_LISTEN": ":1", "PROXY_UPSTREAM": "http://a,http://b", "PROXY_TRUST_NETWORK": "true",
		"PROXY_MAX_BODY": "1", "PROXY_CACHE_TTL": "1s", "TRUST_SECRET": "0123456789abcdef",
	} {
		t.Setenv(name, value)
	}
	got := mustParse(t, "proxy-", "--proxy-listen", ":2", "--proxy-upstream", "http://c", "--proxy-upstream=http://d",
		"--proxy-trust-network=false", "--proxy-max-body", "2", "--proxy-cache-ttl", "2s",
		"--proxy-trust-secret-file", secretFile(t, "from the file, 16"))
	want := defaults()
	want.Listen, want.Upstreams, want.MaxBody, want.TTL = ":2", []string{"http://c", "http://d"}, 2, 2*time.Second
	want.TrustSecret = "from the file, 16"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestAnEmptyVariableIsAValueForTextOnly(t *testing.T) {
	for _, name := range []string{
		"PROXY_LISTEN", "PROXY_UPSTREAM", "PROXY_TRUST_NETWORK", "PROXY_SOURCE_RATE", "PROXY_MAX_BODY",
		"PROXY_CACHE_TTL", "TRUST_SECRET", "PROXY_TRUST_SECRET_FILE",
	} {
		t.Setenv(name, "")
	}
	want := defaults()
	want.Listen, want.Upstreams = "", nil
	if got := mustParse(t, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestBadValuesAreNamedInOneSentence(t *testing.T) {
	for _, c := range []struct{ variable, flag, value, want string }{
		{"PROXY_TRUST_NETWORK", "trust-network", "maybe", "neither true nor false"},
		{"PROXY_SOURCE_RATE", "source-rate", "-1", "not a whole number from 0 up"},
		{"PROXY_MAX_BODY", "max-body", "8MB", "not a size in bytes, such as 65536, 64KiB, 8MiB or 1GiB"},
		{"PROXY_CACHE_TTL", "cache-ttl", "30", "not a time from 0s up, such as 250ms, 30s or 1h30m"},
		{"PROXY_CACHE_TTL", "cache-ttl", "-30s", "not a time from 0s up, such as 250ms, 30s or 1h30m"},
	} {
		_, err := parse(t, "", "--"+c.flag+"="+c.value)
		if err == nil || !strings.HasSuffix(err.Error(), "-"+c.flag+": "+c.want) {
			t.Errorf("--%s=%s: got %v", c.flag, c.value, err)
		}
		t.Setenv(c.variable, c.value)
		_, err = parse(t, "")
		want := `invalid value "` + c.value + `" for environment variable ` + c.variable + ": " + c.want
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		os.Unsetenv(c.variable)
	}
}

func TestSecretsAreNoArguments(t *testing.T) {
	for _, args := range [][]string{{"--trust-secret=0123456789abcdef"}, {"--trust-secret", "0123456789abcdef"}} {
		_, err := parse(t, "", args...)
		if err == nil || strings.Contains(err.Error(), "0123") {
			t.Errorf("%v: got %v", args, err)
		}
	}
}

func TestSecretsAreRefusedWithoutBeingQuoted(t *testing.T) {
	const short = "hunter2hunter2!" // 15 bytes
	_, err := parse(t, "", "--trust-secret-file", secretFile(t, short+"\n"))
	if err == nil || strings.Contains(err.Error(), short) ||
		!strings.Contains(err.Error(), "at least 16 bytes and this has 15") {
		t.Errorf("file: got %v", err)
	}
	_, err = parse(t, "", "--trust-secret-file", filepath.Join(t.TempDir(), "absent"))
	if err == nil || !strings.Contains(err.Error(), "reading the secret") {
		t.Errorf("absent file: got %v", err)
	}
	t.Setenv("TRUST_SECRET", short)
	_, err = parse(t, "")
	if err == nil || strings.Contains(err.Error(), short) || !strings.Contains(err.Error(), "TRUST_SECRET") {
		t.Errorf("environment: got %v", err)
	}
	t.Setenv("TRUST_SECRET", short+"!")
	t.Setenv("PROXY_TRUST_SECRET_FILE", secretFile(t, short+"!"))
	_, err = parse(t, "")
	if err == nil || err.Error() != "both TRUST_SECRET and PROXY_TRUST_SECRET_FILE are set; keep one" {
		t.Errorf("both: got %v", err)
	}
}

func TestTheHelpIsReadableAndHoldsNoSecret(t *testing.T) {
	t.Setenv("TRUST_SECRET", "0123456789abcdef")
	t.Setenv("PROXY_CACHE_TTL", "1h")
	var out strings.Builder
	cfg := defaults()
	set := declare("PROXY", "", &cfg)
	program := app(set, &out)
	program.Flags = nil
	program.Commands = []*cli.Command{{
		Name: "serve", Usage: "serve requests", Flags: set.Flags(), CustomHelpTemplate: flags.HelpTemplate,
	}}
	if err := program.Run([]string{"proxy", "serve", "--help"}); err != nil {
		t.Fatal(err)
	}
	help := out.String()
	for _, want := range []string{
		"\nListeners\n\n  --listen", "\nEverything else\n\n  --upstream", "--trust-network  $PROXY_TRUST_NETWORK",
		"--cache-ttl time  (default 30s)  $PROXY_CACHE_TTL",
		"--max-body size  (default 8MiB)", "--trust-secret-file path  $PROXY_TRUST_SECRET_FILE", "$TRUST_SECRET does",
	} {
		if !strings.Contains(help, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(help, "0123456789") {
		t.Error("holds the secret")
	}
	for line := range strings.Lines(help) {
		if len(line) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
}

func TestSizesReadBackAsWritten(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "1": 1, "1023": 1023, "1KiB": 1024, "1025": 1025, "8MiB": 8 << 20, "1GiB": 1 << 30, "1536KiB": 1536 << 10,
	} {
		got, err := flags.ParseBytes(text)
		if err != nil || got != want || flags.FormatBytes(got) != text {
			t.Errorf("%s: got %d (%s), %v", text, got, flags.FormatBytes(got), err)
		}
	}
	for _, text := range []string{"", "KiB", "8M", "8mib", "-1", "-1KiB", "1.5MiB", "99999999999GiB", "0x10"} {
		if got, err := flags.ParseBytes(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}
