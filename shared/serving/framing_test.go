package serving

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// follow shows a framing a stream in pieces of the given lengths, over and over, and returns where requests end, how much
// was passed on, and why it stopped. Ends are known to the byte only in pieces of one.
func follow(stream []byte, lengths ...int) (ends []int, passed int, err error) {
	var f framing
	begun := false
	for i := 0; passed < len(stream) && err == nil; i++ {
		n := min(lengths[i%len(lengths)], len(stream)-passed)
		n, err = f.judge(stream[passed : passed+n])
		passed += n
		if f.phase != between {
			begun = true
		} else if begun {
			ends, begun = append(ends, passed), false
		}
	}
	return ends, passed, err
}

// followAnyhow checks that the pieces make no difference.
func followAnyhow(tb testing.TB, stream []byte) (ends []int, passed int, err error) {
	tb.Helper()
	ends, passed, err = follow(stream, 1)
	for cut := 2; cut <= len(stream); cut += 1 + cut/100 {
		if _, n, e := follow(stream, cut, len(stream)); n != passed || e != err {
			tb.Fatalf("%q: %v after %d bytes, but cut at %d %v after %d", stream, err, passed, cut, e, n)
		}
	}
	return ends, passed, err
}

func TestRequestsEndWhereTheirFramingSays(t *testing.T) {
	f := func(requests ...string) {
		t.Helper()
		stream := strings.Join(requests, "")
		var want []int
		for at := 0; len(requests) > 0; requests = requests[1:] {
			at += len(requests[0])
			want = append(want, at)
		}
		if ends, _, err := followAnyhow(t, []byte(stream)); err != nil || !slices.Equal(ends, want) {
			t.Errorf("%q: got %v, %v, want %v", stream, ends, err, want)
		}
	}
	const get, post = "GET / HTTP/1.1\r\nHost: s\r\n\r\n", "POST / HTTP/1.1\r\nHost: s\r\n"
	f(get, get, "\r\n"+get, "\r\n\r\n"+get)
	f("GET / HTTP/1.0\r\n\r\n", get)
	f(post+"Content-Length: 0\r\n\r\n", get)
	f(post+"Content-Length: 5\r\n\r\na\nb\r\n", get)
	f(post+"CONTENT-length:\t   005 \t \r\n\r\n\r\n\r\n\n", get)
	f(post+"Content-Length:"+strings.Repeat(" \t", 50)+"1"+strings.Repeat("\t ", 50)+"\r\n\r\n\n", get)
	f(post+"Content-Length: 000000000000000002\r\n\r\n\r\n", get)
	f(post+"Content-Length-X: 9\r\nX-Content-Length: 9\r\nContent-Lengt: 9\r\nContent_Length: 9\r\n\r\n", get)
	f(post+strings.Repeat("a", 100)+": content-length: 9\r\n\r\n", get)
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	f(chunked+"0\r\n\r\n", get)
	f(chunked+"3\r\na\nb\r\n0\r\n\r\n", get)
	f(post+"transfer-ENCODING:\t  \tcHUNKED\t\t\r\n\r\nA\r\n0\r\n\r\n56789\r\n00\r\n\r\n", get)
	f(chunked+"000000000000003\r\nabc\r\n0\r\n\r\n", get)
	f(chunked+"3;a\r\nabc\r\n3;a=b;c=\"\\\";\\\\\";d=!\r\nabc\r\n0;a\r\n\r\n", get)
	f(chunked+"0\r\nA: b\r\nC:\r\nd:\t\x80\r\n\r\n", get)
	f(chunked+"3"+strings.Repeat(";a", maxExtensions/2-1)+"\r\nabc\r\n0\r\n\r\n", get)
	f(chunked+"0"+strings.Repeat(";a", maxExtensions/2-1)+"\r\n\r\n", chunked+"0;a=b\r\n\r\n", get)
	f(chunked+"0\r\n"+strings.Repeat("A: b\r\n", maxTrailerLines)+"\r\n", chunked+"0\r\nA: b\r\n\r\n", get)
	f(chunked+"0\r\nA: "+strings.Repeat("b", maxTrailers-6)+"\r\n\r\n", get)
	f(chunked+"0\r\nA: b\r\n\r\n", chunked+"1;a\r\na\r\n0\r\nA: b\r\n\r\n", get)
}

func TestWhatTwoReadersCouldFrameInTwoWaysIsNotPassedOn(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\nHost: s\r\n", "POST / HTTP/1.1\r\nHost: s\r\n"
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	f := func(good, bad string, want error) {
		t.Helper()
		stream := good + bad + "\r\n\r\n" + get + "\r\n"
		_, passed, err := followAnyhow(t, []byte(stream))
		if err != want || passed != len(good)+len(bad) {
			t.Errorf("%q: got %v after %q, want %v after %q", stream, err, stream[:passed], want, good+bad)
		}
	}
	f("", "\nGET / HTTP/1.1\r\n", errLineEnd)
	f("", "GET / HTTP/1.1\n", errLineEnd)
	f("\r\n\n\r\n", "\r\x00\r\n", errLineEnd)
	f(get, "A: b\n", errLineEnd)
	f(get, "\n", errLineEnd)
	f(get, " a: b\r\n", errFold)
	f(get, "\ta: b\r\n", errFold)
	f("GET / HTTP/1.1\r\n", " Host: s\r\n", errFold)
	for _, value := range []string{"", " ", "+1", "-1", "0x1", "1,1", "1 1", "1\r", "1;", "1a", "\x001", "9999999999999999999",
		strings.Repeat("0", 19), strings.Repeat("0", 60)} {
		f(post, "Content-Length:"+value+"\r\n", errLength)
	}
	f(post+"Content-Length: 3\r\n", "Content-Length: 3\r\n", errLength)
	f(post+"Content-Length: 3\r\n", "content-length: 3\r\n", errLength)
	f(post+"Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", errLength)
	f(post+"Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n", errLength)
	f(post+"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n", errLength)
	for _, value := range []string{"", "identity", "gzip, chunked", "chunked, chunked", "chunked,", "chunked;a", "\"chunked\"",
		"chun ked", "chunkeD\x00", "chun\u212Aed", strings.Repeat("chunked", 9)} {
		f(post, "Transfer-Encoding: "+value+"\r\n", errLength)
	}
	for _, line := range []string{" ", ";", "\r", "\n", "g", "+", "-", "3 ", "3\t", "3_", "3.", "0x", "3,", "3;\r", "3; ", "3;;", "3;=", "3;a ",
		"3;a= ", "3;a=\r", "3;a=;", "3;a=\"\r", "3;a=\"\n", "3;a=\"\\\r", "3;a=\"\x00", "3;a=\"\"b", "3;a\x00", "3;a\n", "3\n", "0000000000000003"} {
		f(chunked, line, errChunk)
	}
	f(chunked, "3\r\r", errLineEnd)
	f(chunked, "0\r\r", errLineEnd)
	f(chunked+"3\r\nabc", "d", errChunk)
	f(chunked+"3\r\nabc", "\n", errChunk)
	f(chunked+"3\r\nabc\r", "\r", errChunk)
	for _, line := range []string{" ", "\n", ":", "A ", "A\r", "A\x00", "\x80", "A:\x00", "A:\x7f", "A:b\n", "A: b\r\r", "A: b\r\n ", "\r\r"} {
		f(chunked+"0\r\n", line, errTrailer)
	}
	f(chunked+"3"+strings.Repeat(";a", maxExtensions/2)+"\r\nabc\r\n0;", "a", errExtra)
	f(chunked+"0\r\n"+strings.Repeat("A: b\r\n", maxTrailerLines), "A", errExtra)
	f(chunked+"0\r\nA:"+strings.Repeat("b", maxTrailers-2), "b", errExtra)
	f(chunked+"0\r\nA:"+strings.Repeat("b", maxTrailers-4)+"\r\n", "\r", errExtra)
}

func BenchmarkFraming(b *testing.B) {
	const head = "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-API-Key: zap_live_000000000001_secret\r\n" +
		"Content-Type: application/json\r\n"
	body := bytes.Repeat([]byte("x"), 150)
	for name, stream := range map[string][]byte{
		"body=length": fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body),
		"body=chunk":  fmt.Appendf(nil, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body),
	} {
		for _, pieces := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/pieces=%d", name, pieces), func(b *testing.B) {
				var f framing
				b.ReportAllocs()
				b.SetBytes(int64(len(stream)))
				for b.Loop() {
					for piece := range slices.Chunk(stream, (len(stream)+pieces-1)/pieces) {
						if _, err := f.judge(piece); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
