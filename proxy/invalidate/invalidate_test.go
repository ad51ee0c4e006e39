package invalidate_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/invalidate"
)

// local keeps what it was told, fleet answers as the test says.
type local struct{ changes []auth.Change }

func (l *local) Changed(c auth.Change) { l.changes = append(l.changes, c) }

func (l *local) Explain(_ context.Context, prefix string) auth.Explanation {
	return auth.Explanation{Prefix: prefix}
}

type fleet struct {
	receipt auth.Receipt
	err     error
}

func (f fleet) Invalidate(context.Context, auth.Scope) (auth.Receipt, error) { return f.receipt, f.err }

type directory map[string][]string

func (d directory) Prefixes(_ context.Context, org string) ([]string, error) {
	if prefixes, ok := d[org]; ok {
		return prefixes, nil
	}
	if org == "unreachable" {
		return nil, errors.New("out of reach")
	}
	return nil, auth.ErrNoOrganization
}

func post(e *invalidate.Endpoint, body string) (int, map[string]any) {
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.SetBodyString(body)
	e.Post(&ctx)
	var answer map[string]any
	_ = json.Unmarshal(ctx.Response.Body(), &answer)
	return ctx.Response.StatusCode(), answer
}

func endpoint(change func(*invalidate.Config)) (*invalidate.Endpoint, *local) {
	l := &local{}
	cfg := invalidate.Config{Local: l, Logger: slog.New(slog.DiscardHandler), IsKey: func(text string) bool { return text == "whole" },
		Metrics: auth.NewMetrics(prometheus.NewRegistry()), Directory: directory{"org-1": {"a", "b"}, "empty": nil}}
	if change != nil {
		change(&cfg)
	}
	return invalidate.New(cfg), l
}

func remove(scope auth.Scope) []auth.Change { return []auth.Change{{Verb: auth.Remove, Scope: scope}} }

func TestWhatIsInvalidated(t *testing.T) {
	f := func(body string, invalidated float64, want auth.Scope) {
		t.Helper()
		e, l := endpoint(nil)
		status, answer := post(e, body)
		if status != 200 || answer["invalidated"] != invalidated || answer["complete"] != true {
			t.Errorf("%s: got %d %v", body, status, answer)
		}
		if !reflect.DeepEqual(l.changes, remove(want)) {
			t.Errorf("%s: removed %+v", body, l.changes)
		}
	}
	f(`{"prefixes":["p","q"]}`, 2, auth.Scope{Prefixes: []string{"p", "q"}})
	f(`{"org_id":"org-1"}`, 2, auth.Scope{Prefixes: []string{"a", "b"}})
	f(`{"org_id":"empty"}`, 0, auth.Scope{})
	f(`{"all":true}`, 0, auth.Scope{All: true})
}

func TestTheReportTellsTheTruthAboutTheFleet(t *testing.T) {
	f := func(fl fleet, confirmed, proxies any, complete bool) {
		t.Helper()
		e, l := endpoint(func(c *invalidate.Config) { c.Fleet = fl })
		status, answer := post(e, `{"prefixes":["p"]}`)
		if status != 200 || answer["confirmed"] != confirmed || answer["proxies"] != proxies || answer["complete"] != complete {
			t.Errorf("%+v: got %d %v", fl, status, answer)
		}
		if len(l.changes) != 1 {
			t.Errorf("%+v: this proxy removed %+v", fl, l.changes)
		}
	}
	f(fleet{receipt: auth.Receipt{Confirmed: 3, Proxies: 3}}, 3.0, 3.0, true)
	f(fleet{receipt: auth.Receipt{Confirmed: 2, Proxies: 3}}, 2.0, 3.0, false)
	f(fleet{err: errors.New("Redis is out of reach")}, 1.0, nil, false)
}

func TestBadRequestsRemoveNothing(t *testing.T) {
	f := func(body string, status int, code string, change func(*invalidate.Config)) {
		t.Helper()
		e, l := endpoint(change)
		got, answer := post(e, body)
		if got != status || answer["code"] != code || len(l.changes) > 0 {
			t.Errorf("%.60s: got %d %v, removed %+v", body, got, answer, l.changes)
		}
	}
	f("", 400, "malformed_json", nil)
	f("[]", 400, "malformed_json", nil)
	f(`{"prefix":"p"}`, 400, "malformed_json", nil)
	f(`{"prefixes":["p"]}{}`, 400, "malformed_json", nil)
	f(`{}`, 400, "bad_request", nil)
	f(`{"all":false}`, 400, "bad_request", nil)
	f(`{"prefixes":[]}`, 400, "bad_request", nil)
	f(`{"prefixes":["p"],"all":true}`, 400, "bad_request", nil)
	f(`{"prefixes":[""]}`, 400, "bad_request", nil)
	f(`{"prefixes":["p","whole"]}`, 400, "bad_request", nil)
	f(`{"prefixes":["`+strings.Repeat("p", 513)+`"]}`, 400, "bad_request", nil)
	f(`{"prefixes":[`+strings.Repeat(`"p",`, invalidate.MaxPrefixes)+`"p"]}`, 400, "bad_request", nil)
	f(`{"org_id":"nobody"}`, 404, "not_found", nil)
	f(`{"org_id":"unreachable"}`, 503, "unavailable", nil)
	f(`{"org_id":"org-1"}`, 422, "invalid_event", func(c *invalidate.Config) { c.Directory = nil })
}
