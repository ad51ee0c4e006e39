package auth

import "encoding/binary"

// A negative is 4 bytes of removes, 4 of demotes, and 8 of the steady millisecond that it holds until. Looks do not
// void it: the lease of the very look-up that found nothing is heard as one. A key that is created later is heard as a
// remove, or seen when the negative ends.

func (r *Resolver) isNegative(prefix []byte, n note, steady int64) bool {
	value, ok := r.Negative.Get(prefix)
	if !ok || len(value) != 16 {
		return false
	}
	le := binary.LittleEndian
	return le.Uint32(value) == n.removes && le.Uint32(value[4:]) == n.demotes && steady < int64(le.Uint64(value[8:]))
}

func (r *Resolver) keepNegative(q *quest) {
	le := binary.LittleEndian
	value := le.AppendUint32(make([]byte, 0, 16), q.note.removes)
	value = le.AppendUint32(value, q.note.demotes)
	value = le.AppendUint64(value, uint64(q.began+r.NegativeTTL.Milliseconds()))
	r.Negative.Set(q.prefix, value)
	if q.met && r.Cache != nil {
		r.bury(q.prefix)
	} else {
		r.Memory.Delete(q.prefix)
	}
}
