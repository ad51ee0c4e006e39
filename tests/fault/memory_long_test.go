//go:build long && linux

package fault

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

// largestBatch is the body of a batch of 1,000 events, a few bytes short of the limit.
func largestBatch() string {
	text := strings.Repeat("x", 8<<20/1000-64)
	return "[" + strings.TrimSuffix(strings.Repeat(`{"type":"a","payload":{"text":"`+text+`"}},`, 1000), ",") + "]"
}

// Clients that send all of a batch but its last byte have the writer hold all that it has read: half a GiB, if it did.
// It lets 64 MiB arrive and 64 MiB wait, and the garbage collector lets twice as much gather.
func TestBatchesThatAreStillArrivingTakeBoundedMemory(t *testing.T) {
	const clients, most = 64, 400 << 20
	url := servers.Postgres(t).Database(t)
	env := []string{"DATABASE_URL=" + url}
	command(t, env, "writer", "migrate", "up")
	w := newProgram(t, "writer", env, "--trust-network")
	w.start()
	w.ready()
	before := w.peakMemory()
	body := largestBatch()
	last := make(chan struct{})
	var sent, done sync.WaitGroup
	statuses := make([]int, clients)
	for i := range clients {
		sent.Add(1)
		done.Go(func() {
			statuses[i] = sendSlowly(t, w.addr, fmt.Sprint("org-", i%8), body, sent.Done, last)
		})
	}
	sent.Wait()
	arriving := w.peakMemory() - before
	close(last)
	done.Wait()
	if peak := w.peakMemory() - before; peak > most {
		t.Errorf("the writer took %d MiB for them", peak>>20)
	}
	tally := make(map[int]int)
	for _, status := range statuses {
		tally[status]++
	}
	t.Logf("%d batches of %d bytes: %d MiB more than before while they arrived, %d MiB at the end; answers: %v",
		clients, len(body), arriving>>20, (w.peakMemory()-before)>>20, tally)
}

// sendSlowly sends a batch of an organisation, its last byte once it may, and returns the status of the answer.
func sendSlowly(tb testing.TB, addr, org, body string, sent func(), last <-chan struct{}) int {
	conn, err := net.Dial("tcp4", addr)
	if err != nil {
		sent()
		tb.Error(err)
		return 0
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/events/batch HTTP/1.1\r\nHost: w\r\nX-Org-Id: %s\r\nX-Keygate-Id: %s\r\nContent-Length: %d\r\n\r\n",
		org, uuid7.Mint(time.Now()), len(body))
	_, err = conn.Write([]byte(body[:len(body)-1]))
	sent()
	<-last
	if err == nil {
		conn.Write([]byte(body[len(body)-1:]))
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		tb.Log(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most that the program has had in memory since it was started, in bytes.
func (p *program) peakMemory() int {
	p.tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	kib, err := strconv.Atoi(string(peak.FindSubmatch(status)[1]))
	if err != nil {
		p.tb.Fatal(err)
	}
	return kib << 10
}
