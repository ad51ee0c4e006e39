package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/tests/load/config"
	"keygate/tests/load/fakeapi"
	"keygate/tests/load/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "kg_secret_key_of_the_test"

// keygate is a fake API together with the counters that the two programs would show for what it was sent.
func keygate(tb testing.TB) (*fakeapi.API, config.Options) {
	tb.Helper()
	api := fakeapi.New(tb)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := api.Requests()
		fmt.Fprintf(w, "keygate_proxy_lookups_total{outcome=\"hit\",tier=\"memory\"} %d\n", n-n/100)
		fmt.Fprintf(w, "keygate_proxy_lookups_total{outcome=\"miss\",tier=\"memory\"} %d\n", n/100)
		fmt.Fprintf(w, "keygate_proxy_lookups_total{outcome=\"hit\",tier=\"source\"} %d\n", n/100)
		fmt.Fprintf(w, "keygate_proxy_source_queries_total %d\n", n/100)
		fmt.Fprintf(w, "keygate_writer_statements_total{kind=\"insert\"} %d\n", n/25)
	}))
	tb.Cleanup(admin.Close)
	o := config.Default()
	o.Target, o.Traffic.Key = api.URL, secret
	o.Admin = config.Admin{Proxy: []string{admin.URL}, Writer: []string{admin.URL}}
	o.Load.Requests, o.Load.Concurrency = 500, 10
	return api, o
}

func runWith(ctx context.Context, o config.Options) (stdout, stderr string, err error) {
	var out, progress strings.Builder
	err = Run(ctx, o, Streams{Out: &out, Err: &progress})
	return out.String(), progress.String(), err
}

func TestARunPrintsTheFiveFiguresAndWritesItsFiles(t *testing.T) {
	api, o := keygate(t)
	dir := t.TempDir()
	o.Output = config.Output{JSON: filepath.Join(dir, "r.json"), Report: filepath.Join(dir, "r.html")}
	stdout, stderr, err := runWith(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"throughput", "p50", "100.00 %", "queries/request   0.0500",
		"memory 99.00 %   redis not asked   source 100.00 %", "passed",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	text, err := os.ReadFile(o.Output.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var result report.Result
	if err := json.Unmarshal(text, &result); err != nil || result.Figures.Requests != 500 || !result.Passed {
		t.Errorf("the file holds %+v, %v", result.Figures, err)
	}
	page, err := os.ReadFile(o.Output.Report)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stdout+stderr+string(text)+string(page), secret) {
		t.Error("the key is shown")
	}
	if events := api.Events(); len(events) != 500 || events[0].Key != secret {
		t.Errorf("%d events arrived", len(events))
	}
}

func TestAWarmUpStaysOutOfTheFigures(t *testing.T) {
	api, o := keygate(t)
	o.Load.Warmup = 50 * time.Millisecond
	stdout, _, err := runWith(t.Context(), o)
	if err != nil || !strings.Contains(stdout, "500 accepted") || api.Requests() <= 500 {
		t.Errorf("%v, %d requests arrived:\n%s", err, api.Requests(), stdout)
	}
}

func TestAnotherServiceHasFiguresOfItsOwnOnly(t *testing.T) {
	_, o := keygate(t)
	o.Admin = config.Admin{}
	stdout, _, err := runWith(t.Context(), o)
	if err != nil || strings.Count(stdout, "not available") != 2 {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestOneFailureIsTooManyByDefault(t *testing.T) {
	api, o := keygate(t)
	api.Answer(func(n int) (int, string) {
		if n == 250 {
			return 503, `{"code":"queue_full"}`
		}
		return 0, ""
	})
	stdout, _, err := runWith(t.Context(), o)
	if !errors.Is(err, ErrThreshold) || !strings.Contains(stdout, "503 queue_full × 1") {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestAnInterruptedRunIsReportedAndDoesNotPass(t *testing.T) {
	api, o := keygate(t)
	ctx, cancel := context.WithCancel(t.Context())
	api.Answer(func(n int) (int, string) {
		if n == 200 {
			cancel()
		}
		return 0, ""
	})
	stdout, _, err := runWith(ctx, o)
	if !errors.Is(err, ErrThreshold) || !strings.Contains(stdout, "interrupted") ||
		!strings.Contains(stdout, "memory 99") {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestWhatKeepsARunFromStartingIsAnErrorOfItsOwn(t *testing.T) {
	_, ready := keygate(t)
	for name, change := range map[string]func(*config.Options){
		"nobody listens":   func(o *config.Options) { o.Target = "http://127.0.0.1:1" },
		"another machine":  func(o *config.Options) { o.Target = "http://192.0.2.1" },
		"no such key file": func(o *config.Options) { o.Traffic = config.Traffic{KeyFile: t.TempDir() + "/no", Batch: 1} },
		"not writable":     func(o *config.Options) { o.Output.JSON = t.TempDir() + "/no/r.json" },
	} {
		t.Run(name, func(t *testing.T) {
			o := ready
			change(&o)
			if _, _, err := runWith(t.Context(), o); err == nil || errors.Is(err, ErrThreshold) {
				t.Errorf("got %v", err)
			}
		})
	}
}
