package serving

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// errBareLine is what Config.Refuse gets for a request line that ends in a bare LF. fasthttp takes it, and does not keep
// how the line ended; another reader in front of us may have seen no end of the line there, and so another request.
var errBareLine = errors.New("the request line must end in CR LF")

// versionPrefix is how the end of a request line of HTTP/1.0 or HTTP/1.1 begins; a digit and the line's end follow.
const versionPrefix = "HTTP/1."

// maxEvidence holds the largest header twice.
const maxEvidence = 128 << 10

// kept is how much of the line before its version is compared. Two pipelined requests that agree in it and in every field
// are taken for each other.
const kept = 64

// lineWatch sees all bytes of a connection, but not where requests begin. From the first place on that looks like the end
// of a bare request line, be it in a body, it keeps them until a request can be compared with them.
type lineWatch struct {
	off      atomic.Bool
	tail     [kept + len(versionPrefix) + 2]byte // the last bytes seen
	evidence []byte
}

func (w *lineWatch) see(piece []byte) {
	switch {
	case w.off.Load() || len(piece) == 0:
		return
	case w.evidence != nil:
		w.keep(piece)
		return
	}
	if w.bareJoint(piece) || bareEnd(piece) >= 0 {
		all := append(w.tail[:len(w.tail):len(w.tail)], piece...)
		w.keep(all[max(bareEnd(all)-kept, 0):])
		return
	}
	if len(piece) < len(w.tail) {
		copy(w.tail[:], w.tail[len(piece):])
	}
	copy(w.tail[max(len(w.tail)-len(piece), 0):], piece[max(len(piece)-len(w.tail), 0):])
}

// bareJoint says whether such an end lies across what came before and what comes.
func (w *lineWatch) bareJoint(piece []byte) bool {
	const half = len(versionPrefix) + 2
	if bytes.IndexByte(piece[:min(len(piece), half)], '\n') < 0 {
		return false
	}
	var joint [2 * half]byte
	copy(joint[:], w.tail[len(w.tail)-half:])
	n := half + copy(joint[half:], piece)
	return bareEnd(joint[:n]) >= 0
}

func (w *lineWatch) keep(piece []byte) {
	w.evidence = append(w.evidence, piece[:min(len(piece), maxEvidence-len(w.evidence))]...)
}

// bareEnd returns where the first version stands that is followed by a bare LF, or -1.
func bareEnd(b []byte) int {
	for from := 0; ; {
		at := bytes.Index(b[from:], []byte(versionPrefix))
		if at < 0 {
			return -1
		}
		at += from
		if end := at + len(versionPrefix) + 1; end < len(b) && b[end] == '\n' {
			return at
		}
		from = at + len(versionPrefix)
	}
}

// isBare says whether the line of a request, whose header section is known byte by byte, ended in a bare LF.
func (w *lineWatch) isBare(head *fasthttp.RequestHeader) bool {
	if w.evidence == nil {
		return false
	}
	line := bytes.Join([][]byte{head.Method(), head.RequestURI(), head.Protocol()}, []byte(" "))
	needle := append(line[max(len(line)-len(head.Protocol())-kept, 0):], '\n')
	if section := head.RawHeaders(); len(section) > 0 {
		needle = append(needle, section...)
	} else {
		needle = append(needle, "\r\n"...)
	}
	return len(w.evidence) == maxEvidence || bytes.Contains(w.evidence, needle)
}
