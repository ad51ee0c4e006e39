package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse runs the command line and returns the options that the action gets.
func parse(args ...string) (got Options, err error) {
	app := NewApp(func(_ *cli.Context, o Options) error {
		got = o
		return nil
	})
	err = app.Run(append([]string{"loadtest"}, args...))
	return got, err
}

func options(tb testing.TB, args ...string) Options {
	tb.Helper()
	got, err := parse(args...)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestWithoutFlagsTheDefaultsHold(t *testing.T) {
	if got := options(t); !reflect.DeepEqual(got, Default()) {
		t.Errorf("got %+v, want %+v", got, Default())
	}
}

func TestEveryFlagReachesItsOption(t *testing.T) {
	got := options(t, "--target", "http://localhost:1", "--duration", "2s", "--rate", "10.5", "--concurrency", "3",
		"--warmup", "1s", "--timeout", "4s", "--allow-remote", "--keys", "K", "--zipf", "1.1", "--bearer", "--batch", "7",
		"--duplicates", "0.05", "--payload-bytes", "99", "--proxy-admin", "http://a", "--proxy-admin", "http://b",
		"--writer-admin", "", "--min-success", "0.5", "--max-p99", "15ms", "--min-rate", "100",
		"--json", "J", "--report", "R")
	want := Options{
		Target: "http://localhost:1", AllowRemote: true,
		Load: Load{Duration: 2 * time.Second, Rate: 10.5, Concurrency: 3, Warmup: time.Second, Timeout: 4 * time.Second},
		Traffic: Traffic{
			KeysFile: "K", Zipf: 1.1, Bearer: true, Batch: 7, Duplicates: 0.05, PayloadBytes: 99,
		},
		Admin:      Admin{Proxy: []string{"http://a", "http://b"}, Writer: []string{}},
		Thresholds: Thresholds{MinSuccess: 0.5, MaxP99: 15 * time.Millisecond, MinRate: 100},
		Output:     Output{JSON: "J", Report: "R"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEveryFlagHasItsVariableByRule(t *testing.T) {
	for _, flag := range NewApp(nil).Flags {
		variables := flag.(cli.DocGenerationFlag).GetEnvVars()
		want := "LOADTEST_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))
		if !slices.Equal(variables, []string{want}) {
			t.Errorf("--%s is read from %v, want %s", flag.Names()[0], variables, want)
		}
	}
	t.Setenv("LOADTEST_DURATION", "3s")
	t.Setenv("LOADTEST_PROXY_ADMIN", "http://a,http://b")
	if got := options(t); got.Load.Duration != 3*time.Second || got.Load.Requests != 0 || len(got.Admin.Proxy) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestWhatCannotBeMeantIsRefusedInASentence(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--requests 10 --duration 1s", "not both"},
		{"--requests 0", "--requests must be"},
		{"--requests -1", "--requests must be"},
		{"--requests 2000000000", "--requests must be"},
		{"--requests 1000000000 --batch 100", "exceeds"},
		{"--requests many", "invalid value"},
		{"--duration 7h", "--duration must be"},
		{"--duration -1s", "--requests must be"},
		{"--warmup -1s", "--warmup must be"},
		{"--rate -1", "--rate must be"},
		{"--rate NaN", "--rate must be"},
		{"--rate 0.1 --duration 1s", "is no request"},
		{"--concurrency 0", "--concurrency must be"},
		{"--concurrency 50000", "--concurrency must be"},
		{"--timeout 0s", "--timeout must be"},
		{"--batch 0", "--batch must be"},
		{"--batch 1001", "--batch must be"},
		{"--batch 1000 --payload-bytes 1000000", "exceeds"},
		{"--payload-bytes 5", "--payload-bytes must be"},
		{"--duplicates 1.5", "--duplicates is a share"},
		{"--zipf 1", "--keys, which is missing"},
		{"--key a --key-file b", "give one of"},
		{"--min-success 100", "--min-success is a share"},
		{"--max-p99 -1s", "--max-p99 must not"},
		{"--min-rate -1", "--min-rate must not"},
		{"--target https://localhost", "plain HTTP"},
		{"--target localhost:8080", "plain HTTP"},
		{"--target http://user:secret@localhost", "plain HTTP"},
		{"--target http://%zz", "plain HTTP"},
		{"--proxy-admin 127.0.0.1:9080", "--proxy-admin must be"},
		{"--writer-admin http://", "--writer-admin must be"},
		{"--nonsense", "not defined"},
		{"extra", "not understood"},
	} {
		t.Run(c.args, func(t *testing.T) {
			_, err := parse(strings.Fields(c.args)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestTheTargetIsCompletedWithThePathOfTheEvents(t *testing.T) {
	for _, c := range []struct {
		target        string
		batch         int
		url, hostport string
	}{
		{"http://127.0.0.1:8080", 1, "http://127.0.0.1:8080/v1/events", "127.0.0.1:8080"},
		{"http://localhost/", 10, "http://localhost/v1/events/batch", "localhost:80"},
		{"http://[::1]:8080/other?x=1", 10, "http://[::1]:8080/other?x=1", "[::1]:8080"},
		{"http://[::1]/", 1, "http://[::1]/v1/events", "[::1]:80"},
	} {
		o := Options{Target: c.target, Traffic: Traffic{Batch: c.batch}}
		u, err := o.Endpoint()
		if err != nil || u.String() != c.url || Address(u) != c.hostport {
			t.Errorf("%s: got %v at %s, %v", c.target, u, Address(u), err)
		}
	}
}

func TestOnlyThisMachineIsPutUnderLoadUnlessAllowed(t *testing.T) {
	for _, c := range []struct {
		target, admin string
		remote, ok    bool
	}{
		{"http://127.0.0.1:8080", "http://127.0.0.1:9080", false, true},
		{"http://localhost:8080", "http://[::1]:9080", false, true},
		{"http://192.0.2.1:8080", "http://127.0.0.1:9080", false, false},
		{"http://127.0.0.1:8080", "http://192.0.2.1:9080", false, false},
		{"http://192.0.2.1:8080", "http://192.0.2.1:9080", true, true},
	} {
		o := Options{Target: c.target, AllowRemote: c.remote, Admin: Admin{Proxy: []string{c.admin}}}
		if err := o.CheckHosts(t.Context()); (err == nil) != c.ok {
			t.Errorf("%s with %s: %v", c.target, c.admin, err)
		}
	}
}

func file(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestKeysComeFromWhereverTheyWereGiven(t *testing.T) {
	for name, c := range map[string]struct {
		traffic Traffic
		want    []string
	}{
		"flag":  {Traffic{Key: "k1"}, []string{"k1"}},
		"file":  {Traffic{KeyFile: file(t, "k1\n")}, []string{"k1"}},
		"files": {Traffic{KeysFile: file(t, "k1\r\n\n k2 \nk3")}, []string{"k1", "k2", "k3"}},
	} {
		if keys, _, err := c.traffic.ReadKeys(); err != nil || !slices.Equal(keys, c.want) {
			t.Errorf("%s: got %v, %v", name, keys, err)
		}
	}
}

func TestTheDemoKeyServesWhenNoKeyIsGiven(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, _, err := new(Traffic).ReadKeys(); err == nil || !strings.Contains(err.Error(), "give --key") {
		t.Errorf("without the file: %v", err)
	}
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(DemoKeyFile, []byte("demo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, origin, err := new(Traffic).ReadKeys()
	if err != nil || !slices.Equal(keys, []string{"demo"}) || origin != DemoKeyFile {
		t.Errorf("got %v from %s, %v", keys, origin, err)
	}
}

func TestUnusableKeysAreRefusedWithoutBeingShown(t *testing.T) {
	for name, traffic := range map[string]Traffic{
		"several in one":  {KeyFile: file(t, "secret1\nsecret2\n")},
		"none":            {KeysFile: file(t, "\n\n")},
		"not there":       {KeysFile: filepath.Join(t.TempDir(), "missing")},
		"another header":  {Key: "secret\r\nX-Org-Id: 1"},
		"not in a header": {Key: "secrét"},
	} {
		if _, _, err := traffic.ReadKeys(); err == nil || strings.Contains(err.Error(), "secr") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
