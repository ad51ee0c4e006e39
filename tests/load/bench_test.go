package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"keygate/tests/load/report"
)

// BenchmarkGenerator shows what a request costs the generator itself, over a responder that does next to nothing, with
// wrk beside it. While the first column is several times what the service under test does, and the CPU figure a
// fraction of the service's, the generator is not what limits a measurement.
func BenchmarkGenerator(b *testing.B) {
	b.Run("client=loadtest/connections=200", func(b *testing.B) {
		file := filepath.Join(b.TempDir(), "result.json")
		keys := filepath.Join(b.TempDir(), "keys")
		if err := os.WriteFile(keys, []byte(benchKeys()), 0o600); err != nil {
			b.Fatal(err)
		}
		url := responder(b)
		for b.Loop() {
			command := loadtest(b, "--target", url, "--duration", "2s", "--json", file, "--keys", keys)
			command.Env = []string{asProgram + "=1"}
			if code, stdout, stderr := start(b, command)(); code != 0 {
				b.Fatal(stdout, stderr)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			var result report.Result
			if err := json.Unmarshal(text, &result); err != nil {
				b.Fatal(err)
			}
			showCost(b, result.Figures.RequestsPerS, float64(result.Figures.Requests), command)
		}
	})
	b.Run("client=wrk/connections=200", func(b *testing.B) {
		if _, err := exec.LookPath("wrk"); err != nil {
			b.Skip("wrk is not installed: nothing to compare with")
		}
		url := responder(b)
		for b.Loop() {
			command := exec.CommandContext(b.Context(), "wrk", "-t2", "-c200", "-d2s", "-s", "testdata/post.lua", url)
			code, stdout, stderr := start(b, command)()
			rate := regexp.MustCompile(`Requests/sec: +([0-9.]+)`).FindStringSubmatch(stdout)
			total := regexp.MustCompile(`([0-9]+) requests in`).FindStringSubmatch(stdout)
			if code != 0 || rate == nil || total == nil {
				b.Fatal(stdout, stderr)
			}
			showCost(b, number(b, rate[1]), number(b, total[1]), command)
		}
	})
}

func showCost(b *testing.B, rate, requests float64, command *exec.Cmd) {
	cpu := command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	b.ReportMetric(rate, "req/s")
	b.ReportMetric(float64(cpu.Microseconds())/requests, "cpu-µs/req")
	b.ReportMetric(0, "ns/op") // the time of one run is no figure
}

// responder builds and starts the trivial server, as a process of its own so that its CPU is its own.
func responder(b *testing.B) (url string) {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "responder")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", binary, "./testdata/responder")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	command := exec.Command(binary)
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // "killed", as it should be
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(address)
}

func benchKeys() string {
	var keys strings.Builder
	for i := range 100 {
		fmt.Fprintf(&keys, "key_%08d\n", i)
	}
	return keys.String()
}

func number(b *testing.B, text string) float64 {
	b.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
