package auth

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

// until charges an address as often as that is let to, at most n times.
func (c *charges) until(from netip.Addr, now int64, n int) (charged int) {
	for charged < n && !c.spent(from, now) {
		c.charge(from, now)
		charged++
	}
	return charged
}

func TestAnAddressMayAskFor200AtOnceAnd50ASecond(t *testing.T) {
	c, now := newCharges(), int64(1_000_000)
	from := netip.MustParseAddr("203.0.113.7")
	if n := c.until(from, now, 1000); n != 200 {
		t.Errorf("%d at once", n)
	}
	total := 0
	for range 10_000 {
		now++
		total += c.until(from, now, 1000)
	}
	if total != 500 {
		t.Errorf("%d in the next ten seconds", total)
	}
	if n := c.until(from, now+chargeBurst.Milliseconds(), 1000); n != 200 {
		t.Errorf("%d after a pause", n)
	}
}

// Whoever asks for more at once than an address may, because nothing was charged yet, pays for it later.
func TestOnAverageNothingIsWonByAskingAtOnce(t *testing.T) {
	c, from, now, total := newCharges(), netip.MustParseAddr("203.0.113.7"), int64(0), 0
	for ; now < 60_000; now += 10 {
		if c.spent(from, now) {
			continue
		}
		for range 100 {
			c.charge(from, now)
			total++
		}
	}
	if most := 200 + 60*50 + 100; total > most {
		t.Errorf("%d in a minute, at most %d", total, most)
	}
}

// Those who charge do not all read the clock at the same time.
func TestALateChargeTakesNothingBack(t *testing.T) {
	c, from := newCharges(), netip.MustParseAddr("203.0.113.7")
	c.until(from, 5000, 1000)
	c.charge(from, 4000)
	if !c.spent(from, 5000) {
		t.Error("the address may ask again")
	}
}

func TestWhatCountsAsOneAddress(t *testing.T) {
	f := func(one, other string, same bool) {
		t.Helper()
		c := newCharges()
		c.until(netip.MustParseAddr(one), 0, 1000)
		if c.spent(netip.MustParseAddr(other), 0) != same {
			t.Errorf("%s and %s: the same is %v", one, other, !same)
		}
	}
	f("203.0.113.7", "203.0.113.7", true)
	f("203.0.113.7", "203.0.113.8", false)
	f("203.0.113.7", "::ffff:203.0.113.7", true)
	f("::ffff:203.0.113.7", "::ffff:203.0.113.8", false)
	f("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true)
	f("2001:db8:0:1::1", "2001:db8:0:2::1", false)
	f("fe80::1%eth0", "fe80::2%eth1", true)
	c := newCharges()
	if n := c.until(netip.Addr{}, 0, 1000); n != 1000 {
		t.Errorf("nobody was charged for %d", n)
	}
}

// A flood from ever new networks fills no table: it neither frees the ones that are spent nor spends those of others. As
// many are charged here as the source is asked for, with its default rate, in ten minutes.
func TestAFloodFromManyNetworksChargesNobodyElse(t *testing.T) {
	const perSecond, seconds = 500, 600
	c, random := newCharges(), rand.New(rand.NewPCG(1, 2))
	network := func() netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], 0x2000<<48|random.Uint64()>>3)
		return netip.AddrFrom16(b)
	}
	spent := netip.MustParseAddr("203.0.113.7")
	innocent := 0
	for second := range int64(seconds) {
		now := second * 1000
		for range perSecond {
			c.charge(network(), now)
		}
		for range chargeBurst / chargeInterval {
			c.charge(spent, now)
		}
		if !c.spent(spent, now) {
			t.Fatalf("the flood made room for an address that is spent, after %d s", second)
		}
		for range 1000 {
			if c.spent(network(), now) {
				innocent++
			}
		}
	}
	if innocent > 2 {
		t.Errorf("%d of %d innocent addresses were spent", innocent, seconds*1000)
	}
}

func TestChargesTakeHalfAMegabyte(t *testing.T) {
	if size := unsafe.Sizeof(charges{}); size > 600<<10 {
		t.Errorf("%d bytes", size)
	}
}

func BenchmarkCharges(b *testing.B) {
	c, from, now := newCharges(), netip.MustParseAddr("2001:db8::1"), time.Now().UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		if c.spent(from, now) {
			b.Fatal("spent")
		}
	}
}
