package auth

import (
	"hash/maphash"
	"sync/atomic"
)

// 65,536 stripes of two counters cost half a megabyte. Two prefixes that share a stripe void each other's copies,
// which costs a look-up and never correctness.
const stripes = 1 << 16

// A request reads both counters of its stripe, and so from one line of the processor's cache.
type stripe struct{ looks, removes atomic.Uint32 }

// generations count what was heard from outside. A copy is stored with the counts that were noted before its truth was
// read; a count that moved since says what the copy is still worth. All methods are safe for concurrent use.
type generations struct {
	seed    maphash.Seed
	stripes [stripes]stripe
	all     atomic.Uint32 // removes of everything
	demotes atomic.Uint32
}

// note is what the generations of a prefix were at one moment.
type note struct {
	looks, removes, demotes uint32
}

// before says that n was noted before something that later knows of.
func (n note) before(later note) bool {
	return int32(n.looks-later.looks) < 0 || int32(n.removes-later.removes) < 0 || int32(n.demotes-later.demotes) < 0
}

func newGenerations() *generations { return &generations{seed: maphash.MakeSeed()} }

func (g *generations) stripe(prefix []byte) *stripe {
	return &g.stripes[maphash.Bytes(g.seed, prefix)%stripes]
}

// note reads the counts of prefix. Both kinds of remove only grow, so their sum moves when either does.
func (g *generations) note(prefix []byte) note {
	s := g.stripe(prefix)
	return note{looks: s.looks.Load(), removes: s.removes.Load() + g.all.Load(), demotes: g.demotes.Load()}
}

func (g *generations) look(prefix []byte)   { g.stripe(prefix).looks.Add(1) }
func (g *generations) remove(prefix []byte) { g.stripe(prefix).removes.Add(1) }
func (g *generations) removeAll()           { g.all.Add(1) }
func (g *generations) demoteAll()           { g.demotes.Add(1) }
