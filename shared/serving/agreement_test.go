package serving

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/valyala/fasthttp"
)

// fragments are what random streams are made of, each standing for a byte from 0x80 on, so that fuzzing moves them around.
var fragments = []string{
	"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "PUT http://s/ HTTP/1.0\r\n", "Host: s\r\n", "\r\n", "\r\n\r\n", "\n", "\r", "\x80",
	"GET / HTTP/1.1\r\nHost: s\r\n\r\n", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\n\r\nhello",
	"Content-Length: 5\r\n", "Content-Length:", "Content-Length", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding:", "chunked", "identity",
	"Connection: close\r\n", "Expect: 100-continue\r\n", "Upgrade: a\r\n", "A: b\r\n", "A", ": ", "                                                  ",
	"5\r\nhello\r\n", "hello", "0\r\n", "0\r\n\r\n", "5", "00000000000", ";a", ";a=b", ";a=\"", "\"", "\\",
}

func compose(recipe []byte) (stream []byte) {
	for _, c := range recipe {
		if c < 0x80 {
			stream = append(stream, c)
		} else {
			stream = append(stream, fragments[int(c-0x80)%len(fragments)]...)
		}
	}
	return stream
}

// cutConn gives what a client sent in pieces.
type cutConn struct {
	net.Conn
	stream []byte
	random *rand.Rand
}

func (c *cutConn) Read(p []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.stream[:1+c.random.IntN(len(c.stream))])
	c.stream = c.stream[n:]
	return n, nil
}

type counter struct {
	from io.Reader
	n    int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += n
	return n, err
}

// readLikeTheServer reads requests the way fasthttp's server does, and returns where those end that it could read.
func readLikeTheServer(stream []byte, random *rand.Rand) (ends []int) {
	counted := &counter{from: &conn{Conn: &cutConn{stream: stream, random: random}}}
	reader := bufio.NewReader(counted)
	for {
		var r fasthttp.Request
		if r.Header.Read(reader) != nil || r.ContinueReadBodyStream(reader, bufferedBody, false) != nil {
			return ends
		}
		if body := r.BodyStream(); body != nil {
			if _, err := io.Copy(io.Discard, body); err != nil {
				return ends
			}
		}
		ends = append(ends, counted.n-reader.Buffered())
	}
}

// checkAgreement returns how many requests there were.
func checkAgreement(tb testing.TB, stream []byte, random *rand.Rand) int {
	tb.Helper()
	ends, passed, broken := follow(stream, 1)
	lengths := []int{1 + random.IntN(len(stream)+1), 1 + random.IntN(9), 1 + random.IntN(99)}
	if _, n, err := follow(stream, lengths...); n != passed || err != broken {
		tb.Fatalf("%q: %v after %d bytes, but in pieces of %v %v after %d", stream, broken, passed, lengths, err, n)
	}
	read := readLikeTheServer(stream, random)
	if len(read) > len(ends) || !slices.Equal(read, ends[:len(read)]) {
		tb.Fatalf("%q: requests end at %v, but fasthttp reads to %v", stream, ends, read)
	}
	return len(read)
}

// recipes are for whole requests.
var recipes = []string{
	"\x89", "\x8b", "\x80\x83\x84", "\x84\x84\x82\x83\x8c\x84hello", "\x81\x83\x8d 3\x84\x84abc", "\x81\x83\x90\x99\x91\x99\x84\x84\x9a\x9d",
	"\x8a\x9a\x9a\x9d", "\x8a5;a=\"b\"\x84hello\x84\x9c\x96\x84", "\x8a\x9f\x9e\xa1\xa0\x84hello\x84\x9c\x96\x84", "\x81\x83\x94\x8c\x84hello",
}

// Whatever is sent, and however it is cut: fasthttp and the framing agree about the end of each request that fasthttp
// reads, and the cuts make no difference.
func FuzzFramingAgreesWithTheServer(f *testing.F) {
	for i, recipe := range recipes {
		f.Add([]byte(recipe+recipes[0]), uint64(i))
	}
	f.Fuzz(func(t *testing.T, recipe []byte, seed uint64) {
		checkAgreement(t, compose(recipe), rand.New(rand.NewPCG(seed, 0)))
	})
}

// The same without a fuzzing engine: requests of which a piece or two are lost, doubled or out of place.
func TestFramingAgreesWithTheServerAboutRandomRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	requests := 0
	for range 3000 {
		var recipe []byte
		for range 1 + random.IntN(3) {
			recipe = append(recipe, recipes[random.IntN(len(recipes))]...)
		}
		for range random.IntN(3) {
			at := random.IntN(len(recipe))
			recipe = slices.Replace(recipe, at, at+random.IntN(2), 0x80+byte(random.IntN(len(fragments))))
		}
		requests += checkAgreement(t, compose(recipe), random)
	}
	if requests < 3000 {
		t.Errorf("only %d requests were read", requests)
	}
}
