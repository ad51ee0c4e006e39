package traffic

import (
	"encoding/binary"
	"math/rand/v2"
)

// Source makes one connection's requests; it belongs to one goroutine.
type Source struct {
	keys   *Keys
	random *rand.Rand

	buf      []byte  // [room for the longest key] head, key, head, body: the key ends where the second head begins
	before   string  // the head up to the key
	keyEnd   int     // where the key ends in buf
	spots    [][]int // offsets of each event's numbers in buf
	repeat   float64 // the share of events that repeat an earlier one
	owed     float64 // repeats that the share asks for and that are not made yet
	original struct {
		key    string
		number int64
	}
}

// NewSource is the source of connection number index of count. repeat is the share (0 to 1) of events that are the
// connection's latest original event again, same key, same dedup id, same payload.
func NewSource(shape Shape, keys *Keys, repeat float64, index, count int) *Source {
	body, spots := shape.body()
	before, after := shape.head(len(body))
	keyEnd := len(before) + keys.longest()
	buf := append(make([]byte, keyEnd, keyEnd+len(after)+len(body)), after...)
	for _, event := range spots {
		for i := range event {
			event[i] += len(buf)
		}
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(index)) // the same run twice chooses the same keys
	return &Source{
		keys: keys, random: rand.New(rand.NewChaCha8(seed)), buf: append(buf, body...), before: before, keyEnd: keyEnd,
		spots: spots, repeat: repeat,
		owed: float64(index) / float64(count), // so that rounding evens out over the connections
	}
}

// Next makes the i-th request of the run. It is valid until the next call.
func (s *Source) Next(i int64) []byte {
	key := ""
	for e, spots := range s.spots {
		if s.repeats() {
			if e == 0 {
				key = s.original.key
			}
		} else {
			if e == 0 {
				key = s.keys.pick(i, s.random)
			}
			s.original.key, s.original.number = key, firstNumber+i*int64(len(s.spots))+int64(e)
		}
		s.number(s.original.number, spots)
	}
	start := s.keyEnd - len(key) - len(s.before)
	copy(s.buf[start:], s.before)
	copy(s.buf[start+len(s.before):], key)
	return s.buf[start:]
}

// repeats tells whether the next event is to be the last original once more.
func (s *Source) repeats() bool {
	s.owed += s.repeat
	if s.owed < 1 || s.original.key == "" {
		return false
	}
	s.owed--
	return true
}

func (s *Source) number(n int64, spots []int) {
	var text [digits]byte
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = byte('0' + n%10)
		n /= 10
	}
	for _, at := range spots {
		copy(s.buf[at:], text[:])
	}
}
