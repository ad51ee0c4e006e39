package problem

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestEveryCodeHasAStatusAndATitle(t *testing.T) {
	for code, kind := range kinds {
		var resp fasthttp.Response
		Problem{Code: code, Detail: "detail", RequestID: "req", Pointer: "/a", EventID: "id"}.Write(&resp)
		var got map[string]any
		if err := json.Unmarshal(resp.Body(), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"type": "about:blank", "title": kind.title, "status": float64(kind.status), "detail": "detail",
			"code": string(code), "request_id": "req", "pointer": "/a", "event_id": "id",
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %v, not %v", code, name, got[name], value)
			}
		}
		if resp.StatusCode() != code.Status() || code.Status() < 400 || kind.title == "" {
			t.Errorf("%s has the status %d and the title %q", code, resp.StatusCode(), kind.title)
		}
		if string(resp.Header.ContentType()) != "application/problem+json" {
			t.Errorf("%s has the type %q", code, resp.Header.ContentType())
		}
		if has := len(resp.Header.Peek("Retry-After")) > 0; has != (kind.status == 503) {
			t.Errorf("%s: Retry-After is there: %v", code, has)
		}
		if has := len(resp.Header.Peek("WWW-Authenticate")) > 0; has != (kind.status == 401) {
			t.Errorf("%s: WWW-Authenticate is there: %v", code, has)
		}
	}
}

func TestAnAnswerWithoutAServerIsTheSame(t *testing.T) {
	for code := range kinds {
		for _, closes := range []bool{true, false} {
			p := Problem{Code: code, Detail: "detail", RequestID: "req"}
			var want, got fasthttp.Response
			p.Write(&want)
			if err := got.Read(bufio.NewReader(bytes.NewReader(p.Append(nil, closes)))); err != nil {
				t.Fatal(err)
			}
			for name, value := range want.Header.All() {
				if string(got.Header.PeekBytes(name)) != string(value) {
					t.Errorf("%s: %s is %q, not %q", code, name, got.Header.PeekBytes(name), value)
				}
			}
			if got.StatusCode() != want.StatusCode() || string(got.Body()) != string(want.Body()) || got.ConnectionClose() != closes {
				t.Errorf("%s, closes %t: %s", code, closes, got.String())
			}
		}
	}
}

func TestAConnectionThatIsToBeClosedStaysSo(t *testing.T) {
	for _, closes := range []bool{true, false} {
		var resp fasthttp.Response
		if closes {
			resp.SetConnectionClose()
		}
		Problem{Code: BodyTooLarge}.Write(&resp)
		if resp.ConnectionClose() != closes {
			t.Errorf("it closes: %v", resp.ConnectionClose())
		}
	}
}
