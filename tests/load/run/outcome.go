package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"keygate/tests/load/wire"
)

// What becomes of a request that gets no answer.
const (
	failureTimeout = "timeout"
	failureRefused = "connection refused"
	failureLost    = "connection lost"
	failureBad     = "not an HTTP response"
	failureOther   = "network error"
)

// outcome is one request's end.
type outcome struct {
	status  int    // 0 without an answer
	failure string // why there is none
	code    string // of the problem document of an answer that is not 2xx
	ok      bool   // everything in it was accepted

	events   int // in the request
	accepted int // events that are stored now, by this request or an earlier one
	repeated int // those of them that a batch's answer calls duplicates
	rejected map[string]int64
}

// measured tells whether the latency counts: of every answer and of every wait in vain, not of an immediate refusal.
func (o *outcome) measured() bool { return o.status != 0 || o.failure == failureTimeout }

func judge(reply wire.Reply, err error, batch int) outcome {
	o := outcome{status: reply.Status, events: batch}
	switch {
	case err != nil:
		o.failure = failureOf(err)
	case reply.Status < 200 || reply.Status > 299:
		o.code = problemCode(reply.Body)
	case batch > 1:
		o.judgeBatch(reply.Body)
	default:
		o.accepted = 1
	}
	o.ok = o.accepted == o.events
	return o
}

// judgeBatch counts the statuses of a batch's items. The quoted words cannot occur anywhere else in an answer: inside
// a JSON string their quotes are escaped.
func (o *outcome) judgeBatch(body []byte) {
	o.repeated = bytes.Count(body, []byte(`"duplicate"`))
	o.accepted = min(bytes.Count(body, []byte(`"accepted"`))+o.repeated, o.events)
	if o.accepted == o.events {
		return
	}
	var answer struct {
		Results []struct{ Status, Code string }
	}
	o.rejected = map[string]int64{}
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	for _, result := range answer.Results {
		if result.Status == "rejected" {
			o.rejected[tidy(result.Code)]++
		}
	}
}

func problemCode(body []byte) string {
	var problem struct{ Code string }
	if json.Unmarshal(body, &problem) != nil {
		return ""
	}
	return tidy(problem.Code)
}

// tidy keeps a code printable: it comes from whatever was called.
func tidy(code string) string {
	const longest = 40
	if len(code) > longest {
		return "other"
	}
	for _, c := range code {
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "other"
		}
	}
	return code
}

func failureOf(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return failureTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return failureRefused
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF):
		return failureLost
	case errors.Is(err, wire.ErrBadResponse):
		return failureBad
	}
	return failureOther
}
