package header_test

import (
	"strings"
	"testing"

	"keygate/proxy/header"
)

func TestParseRefusesWhatReadersCouldDisagreeAbout(t *testing.T) {
	f := func(section string, want error) {
		t.Helper()
		if _, err := header.Parse(nil, []byte(section)); err != want {
			t.Errorf("%q: got %v, want %v", section, err, want)
		}
	}
	f("\r\n", nil)
	f("A: b\r\n\r\n", nil)
	f("A:\tb \t\r\nc-d_e.f:\r\n\r\n", nil)
	f("A: \x80\xff\r\n\r\n", nil)
	f("", header.ErrLineEnd)
	f("A: b\n\r\n", header.ErrLineEnd)
	f("A: b\r\n\n", header.ErrLineEnd)
	f("A: b\r\n", header.ErrLineEnd)
	f("A: b\r\n c\r\n\r\n", header.ErrFold)
	f("A: b\r\n\tc: d\r\n\r\n", header.ErrFold)
	f("A : b\r\n\r\n", header.ErrName)
	f("A B: b\r\n\r\n", header.ErrName)
	f(": b\r\n\r\n", header.ErrName)
	f("A\r\n\r\n", header.ErrName)
	f("\x00: b\r\n\r\n", header.ErrName)
	f("Ä: b\r\n\r\n", header.ErrName)
	f("A: b\rc\r\n\r\n", header.ErrValue)
	f("A: b\x00c\r\n\r\n", header.ErrValue)
	f("A: b\x7f\r\n\r\n", header.ErrValue)
	f(strings.Repeat("A: b\r\n", header.MaxLines)+"\r\n", nil)
	f(strings.Repeat("A: b\r\n", header.MaxLines+1)+"\r\n", header.ErrTooMany)
}

func TestCheckLine(t *testing.T) {
	f := func(target, version string, want error) {
		t.Helper()
		if err := header.CheckLine([]byte(target), []byte(version)); err != want {
			t.Errorf("%q %q: got %v, want %v", target, version, err, want)
		}
	}
	f("/a?b", "HTTP/1.1", nil)
	f("/%zz//..\\\"<>^`{|}", "HTTP/1.0", nil)
	f("/a#b", "HTTP/1.1", header.ErrTarget)
	f("/caf\xc3\xa9", "HTTP/1.1", header.ErrTarget)
	f("/\x7f", "HTTP/1.1", header.ErrTarget)
	for _, version := range []string{"HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "http/1.1", ""} {
		f("/", version, header.ErrVersion)
	}
}

func TestCheckFraming(t *testing.T) {
	f := func(section string, http11 bool, want error) {
		t.Helper()
		lines, err := header.Parse(nil, []byte(section+"\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := lines.CheckFraming(http11); err != want {
			t.Errorf("%q: got %v, want %v", section, err, want)
		}
	}
	const host = "Host: example.com:8080\r\n"
	f(host, true, nil)
	f("Host: [::1]:80\r\n", true, nil)
	f("", false, nil)
	f("", true, header.ErrHost)
	f("Host:\r\n", true, header.ErrHost)
	f(host+host, true, header.ErrHost)
	f("Host: a, b\r\n", true, header.ErrHost)
	f("Host: user@a\r\n", true, header.ErrHost)
	f("Host: a/b\r\n", true, header.ErrHost)
	f(host+"Content-Length: 0\r\n", true, nil)
	f(host+"Content-Length: 5\r\nContent-Length: 5\r\n", true, header.ErrFraming)
	f(host+"Content-Length: 5, 5\r\n", true, header.ErrFraming)
	f(host+"Content-Length: +5\r\n", true, header.ErrFraming)
	f(host+"Content-Length: 0x5\r\n", true, header.ErrFraming)
	f(host+"Content-Length:\r\n", true, header.ErrFraming)
	f(host+"Content-Length: 9999999999999999999\r\n", true, header.ErrFraming)
	f(host+"Transfer-Encoding: chunked\r\n", true, nil)
	f(host+"Transfer-Encoding: Chunked\r\n", true, nil)
	f(host+"Transfer-Encoding: chunked\r\n", false, header.ErrFraming)
	f(host+"Transfer-Encoding: gzip, chunked\r\n", true, header.ErrFraming)
	f(host+"Transfer-Encoding: identity\r\n", true, header.ErrFraming)
	f(host+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", true, header.ErrFraming)
	f(host+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", true, header.ErrFraming)
}

func TestBodyLength(t *testing.T) {
	f := func(section string, http11 bool, want int64) {
		t.Helper()
		lines, _ := header.Parse(nil, []byte(section+"\r\n"))
		if got, err := lines.BodyLength(http11); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", section, got, err, want)
		}
	}
	f("", true, header.UntilClose)
	f("", false, header.UntilClose)
	f("Content-Length: 0\r\n", true, 0)
	f("content-length:0012\r\n", false, 12)
	f("Content-Length: 999999999999999999\r\n", true, 999_999_999_999_999_999)
	f("Transfer-Encoding: CHUNKED\r\n", true, header.Chunked)
}

func TestParseStatus(t *testing.T) {
	for line, want := range map[string]int{"HTTP/1.1 200 OK": 200, "HTTP/1.1 200": 200, "HTTP/1.1 204 ": 204,
		"HTTP/1.1 999 A\tB \xff": 999, "HTTP/1.0 100 x": 100} {
		if status, http11, err := header.ParseStatus([]byte(line)); status != want || http11 != (line[7] == '1') || err != nil {
			t.Errorf("%q: got %d, %t, %v", line, status, http11, err)
		}
	}
	for _, line := range []string{"", "HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1  200", "HTTP/1.1 +20", "HTTP/1.1 099",
		"HTTP/1.2 200", "HTTP/2.0 200", "http/1.1 200", "HTTP/1.10 200", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\rK", "HTTP/1.1 2 0 OK"} {
		if status, _, err := header.ParseStatus([]byte(line)); err != header.ErrStatus {
			t.Errorf("%q: got %d, %v", line, status, err)
		}
	}
}

func TestFoldSeesNamesAsTheLeastCarefulReaderDoes(t *testing.T) {
	if got := string(header.Fold(nil, []byte("X_Org.Id*9"))); got != "x-org-id-9" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkParse(b *testing.B) {
	section := []byte("Host: 127.0.0.1:8080\r\nX-API-Key: zap_live_000000000001_ssssssssssssssssssssssssssssssss3syhjP\r\n" +
		"Content-Type: application/json\r\nContent-Length: 150\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n")
	var lines header.Lines
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if lines, err = header.Parse(lines[:0], section); err != nil {
			b.Fatal(err)
		}
	}
}
