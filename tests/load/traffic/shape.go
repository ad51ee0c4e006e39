// Package traffic makes the requests: events with a dedup id of their own, keys chosen in turn or by Zipf's law, and a
// share of repeated events. A request is laid out once a connection; after that only its key and numbers change.
package traffic

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	// Event numbers have ten digits from the first, so that bodies never change their length. JSON forbids leading
	// zeros, and nine thousand million events are more than one run may send.
	firstNumber = 1_000_000_000
	digits      = 10
	placeholder = "0000000000"
	// MinPayload is the smallest payload that can be asked for: {"n":0000000000,"pad":""} and a few bytes of pad.
	MinPayload = 32
	// MaxEvents is how many distinct events one run can number.
	MaxEvents = 9_000_000_000 - firstNumber
)

// Shape is what all requests of a run have in common.
type Shape struct {
	Host         string // the Host header
	Path         string
	Bearer       bool // the key goes into Authorization instead of X-API-Key
	Batch        int  // events a request; 1 is a single event, not an array of one
	PayloadBytes int  // 0 for the payload of about 100 bytes that the comparison has always used
	Run          string
}

// event is one event with a placeholder wherever its number belongs.
func (s Shape) event() string {
	return fmt.Sprintf(`{"type":"contact.created","dedup_id":"%s-%s","payload":%s}`, s.Run, placeholder, s.payload())
}

func (s Shape) payload() string {
	if s.PayloadBytes == 0 {
		return Payload(placeholder)
	}
	frame := fmt.Sprintf(`{"n":%s,"pad":""}`, placeholder)
	pad := padding(max(s.PayloadBytes-len(frame), 0))
	return frame[:len(frame)-2] + pad + frame[len(frame)-2:]
}

// Payload is that of an event by default, about 100 bytes.
func Payload(number string) string {
	return fmt.Sprintf(`{"email":"user%[1]s@example.com","name":"Test User","plan":"pro","n":%[1]s,"tags":["a","b","c"]}`,
		number)
}

// body is the request's body with placeholders, and where they are: a list of offsets for each event.
func (s Shape) body() (body []byte, spots [][]int) {
	event := []byte(s.event())
	if s.Batch > 1 {
		body = append(body, '[')
	}
	for i := range max(s.Batch, 1) {
		if i > 0 {
			body = append(body, ',')
		}
		spots = append(spots, find(event, len(body)))
		body = append(body, event...)
	}
	if s.Batch > 1 {
		body = append(body, ']')
	}
	return body, spots
}

// head is the part of the request before the key and the part between the key and the body.
func (s Shape) head(length int) (before, after string) {
	before = "POST " + s.Path + " HTTP/1.1\r\nHost: " + s.Host + "\r\nX-API-Key: "
	if s.Bearer {
		before = "POST " + s.Path + " HTTP/1.1\r\nHost: " + s.Host + "\r\nAuthorization: Bearer "
	}
	return before, "\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n"
}

func find(event []byte, offset int) (spots []int) {
	for at := 0; ; at += digits {
		next := bytes.Index(event[at:], []byte(placeholder))
		if next < 0 {
			return spots
		}
		at += next
		spots = append(spots, offset+at)
	}
}

// padding is text that compresses badly, because a database compresses what it stores: a run of one letter would
// measure a payload of almost nothing. Letters only, so that no placeholder can appear in it.
func padding(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	pad, state := make([]byte, n), uint32(1)
	for i := range pad {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator: the high bits are good enough here
		pad[i] = letters[state>>16%uint32(len(letters))]
	}
	return string(pad)
}
