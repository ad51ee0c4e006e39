// Package problem answers errors as application/problem+json (RFC 9457), with a stable code for programs.
//
// It holds the one table from codes to HTTP for both services.
package problem

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/valyala/fasthttp"
)

// Code names a kind of error for programs. Codes never change their meaning.
type Code string

// The codes that proxy and writer answer with.
const (
	BadRequest            Code = "bad_request"
	MalformedJSON         Code = "malformed_json"
	AmbiguousCredentials  Code = "ambiguous_credentials"
	BatchMalformed        Code = "batch_malformed"
	MissingAPIKey         Code = "missing_api_key"
	InvalidAPIKey         Code = "invalid_api_key"
	OrganizationSuspended Code = "organization_suspended"
	UntrustedCaller       Code = "untrusted_caller"
	NotFound              Code = "not_found"
	MethodNotAllowed      Code = "method_not_allowed"
	RequestTimeout        Code = "request_timeout"
	DedupConflict         Code = "dedup_conflict"
	IDReused              Code = "id_reused"
	BodyTooLarge          Code = "body_too_large"
	UnsupportedMediaType  Code = "unsupported_media_type"
	ExpectationFailed     Code = "expectation_failed"
	InvalidEvent          Code = "invalid_event"
	HeadersTooLarge       Code = "headers_too_large"
	UpstreamUnreachable   Code = "upstream_unreachable"
	AuthUnavailable       Code = "auth_unavailable"
	QueueFull             Code = "queue_full"
	CommitUnknown         Code = "commit_unknown"
	Unavailable           Code = "unavailable"
	UpstreamTimeout       Code = "upstream_timeout"
	DiskFull              Code = "disk_full"
)

var kinds = map[Code]struct {
	status int
	title  string
}{
	BadRequest:            {400, "Bad request"},
	MalformedJSON:         {400, "Malformed JSON"},
	AmbiguousCredentials:  {400, "Ambiguous credentials"},
	BatchMalformed:        {400, "Malformed batch"},
	MissingAPIKey:         {401, "Missing API key"},
	InvalidAPIKey:         {401, "Invalid API key"},
	OrganizationSuspended: {403, "Organization suspended"},
	UntrustedCaller:       {403, "Untrusted caller"},
	NotFound:              {404, "Not found"},
	MethodNotAllowed:      {405, "Method not allowed"},
	RequestTimeout:        {408, "Request timeout"},
	DedupConflict:         {409, "Dedup conflict"},
	IDReused:              {409, "Id reused"},
	BodyTooLarge:          {413, "Body too large"},
	UnsupportedMediaType:  {415, "Unsupported media type"},
	ExpectationFailed:     {417, "Expectation failed"},
	InvalidEvent:          {422, "Invalid event"},
	HeadersTooLarge:       {431, "Headers too large"},
	UpstreamUnreachable:   {502, "Upstream unreachable"},
	AuthUnavailable:       {503, "Authentication unavailable"},
	QueueFull:             {503, "Queue full"},
	CommitUnknown:         {503, "Commit outcome unknown"},
	Unavailable:           {503, "Unavailable"},
	UpstreamTimeout:       {504, "Upstream timeout"},
	DiskFull:              {507, "Disk full"},
}

// Status returns the HTTP status of a code.
func (c Code) Status() int { return kinds[c].status }

// Problem is one error as a client sees it. Detail says what to do about it and never quotes a secret.
type Problem struct {
	Code      Code
	Status    int // in place of the code's own, for clients that understand few; 0: the code's own
	Detail    string
	RequestID string
	Pointer   string // JSON pointer to the offending value, for invalid_event
	EventID   string // the event that may have been stored, for commit_unknown
}

type body struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      Code   `json:"code"`
	RequestID string `json:"request_id,omitempty"`
	Pointer   string `json:"pointer,omitempty"`
	EventID   string `json:"event_id,omitempty"`
}

// Write replaces the response by the problem. 401 gets WWW-Authenticate, 503 gets Retry-After of one second.
// Whether the connection may be used again is the caller's to decide, before or after.
func (p Problem) Write(resp *fasthttp.Response) {
	kind := kinds[p.Code]
	status := cmp.Or(p.Status, kind.status)
	closes := resp.ConnectionClose()
	resp.Reset()
	if closes {
		resp.SetConnectionClose()
	}
	resp.SetStatusCode(status)
	resp.Header.SetContentType("application/problem+json")
	switch status {
	case fasthttp.StatusUnauthorized:
		resp.Header.Set(fasthttp.HeaderWWWAuthenticate, `Bearer realm="keygate"`)
	case fasthttp.StatusServiceUnavailable:
		resp.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(retryAfterSeconds))
	}
	text, _ := json.Marshal(body{
		Type: "about:blank", Title: kind.title, Status: status, Detail: p.Detail,
		Code: p.Code, RequestID: p.RequestID, Pointer: p.Pointer, EventID: p.EventID,
	})
	resp.SetBody(text)
}

// Append appends the answer as it goes over the wire, for who answers without a server, and says there if the connection is
// closed after it. It has no Date.
func (p Problem) Append(dst []byte, closes bool) []byte {
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	p.Write(resp)
	resp.Header.SetContentLength(len(resp.Body()))
	status := resp.StatusCode()
	dst = fmt.Appendf(dst, "HTTP/1.1 %d %s\r\n", status, fasthttp.StatusMessage(status))
	if closes {
		dst = append(dst, "Connection: close\r\n"...)
	}
	for name, value := range resp.Header.All() {
		dst = append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
	}
	return append(append(dst, "\r\n"...), resp.Body()...)
}

// One second: every outage that answers 503 here is retried by us more often than that.
const retryAfterSeconds = 1
