package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

func TestTheStatusPageNeedsNothingFromElsewhere(t *testing.T) {
	c := config()
	c.Program, c.Headline = `<b>"proxy"`, []string{`a"><script>alert(1)</script>`}
	a := start(t, c).do("GET /").expect(t, 200, "")
	page := string(a.body)
	if got := a.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("it is %s", got)
	}
	if strings.Contains(page, "<b>") || strings.Contains(page, "<script>alert") || strings.Contains(page, "{headline}") {
		t.Error("names are not escaped or not filled in")
	}
	references := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?([^"'>)\s]*)`)
	for _, reference := range references.FindAllStringSubmatch(page, -1) {
		if reference[1] != "data:," {
			t.Errorf("it refers to %s", reference[1])
		}
	}
	for _, url := range regexp.MustCompile(`https?://[^"'\s]*`).FindAllString(page, -1) {
		if url != "http://www.w3.org/2000/svg" {
			t.Errorf("it names %s", url)
		}
	}
	policy := a.Header.Get("Content-Security-Policy")
	for _, part := range []string{"script", "style"} {
		_, rest, _ := strings.Cut(page, "<"+part+">")
		inside, _, _ := strings.Cut(rest, "</"+part+">")
		sum := sha256.Sum256([]byte(inside))
		if want := part + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("%s lacks %s", policy, want)
		}
	}
	if !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the policy is %s", policy)
	}
}

func TestTheStatusPageAsksABrowserForTheToken(t *testing.T) {
	c := config()
	c.Token = token
	s := start(t, c)
	a := s.do("GET /", "Accept: text/html,application/xhtml+xml").expect(t, 401, "")
	if !strings.Contains(string(a.body), `id="token"`) || strings.Contains(string(a.body), token) {
		t.Errorf("got %s", a.body)
	}
	if a.Header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
}
