package authtest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"keygate/proxy/auth"
)

// TestMemory tests an auth.Memory. Each part opens one that is empty and has room for a thousand entries.
func TestMemory(t *testing.T, open func(*testing.T) auth.Memory) {
	for _, part := range []struct {
		name string
		test func(*testing.T, auth.Memory)
	}{
		{"what was never set is absent", neverSet},
		{"a value is read as it was set last", readAsSet},
		{"a value belongs to whoever got it", valuesAreCopies},
		{"a deleted value is absent", deleted},
		{"a value too large for it is dropped, and no other", tooLarge},
		{"many use it at once", manyUseIt},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

func expectValue(t *testing.T, m auth.Memory, prefix, want string) {
	t.Helper()
	if got, ok := m.Get([]byte(prefix)); !ok || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", prefix, got, ok, want)
	}
}

func expectAbsent(t *testing.T, m auth.Memory, prefix string) {
	t.Helper()
	if got, ok := m.Get([]byte(prefix)); ok {
		t.Errorf("%s: got %q", prefix, got)
	}
}

func neverSet(t *testing.T, m auth.Memory) {
	expectAbsent(t, m, "a")
	expectAbsent(t, m, "")
	m.Delete([]byte("a"))
	if n := m.Len(); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func readAsSet(t *testing.T, m auth.Memory) {
	for i := range 1000 {
		m.Set(fmt.Appendf(nil, "p%d", i), fmt.Appendf(nil, "first %d", i))
	}
	for i := range 1000 {
		m.Set(fmt.Appendf(nil, "p%d", i), fmt.Appendf(nil, "then, and longer, %d", i))
	}
	for i := range 1000 {
		expectValue(t, m, fmt.Sprintf("p%d", i), fmt.Sprintf("then, and longer, %d", i))
	}
	if n := m.Len(); n != 1000 {
		t.Errorf("%d entries", n)
	}
	expectAbsent(t, m, "p1000")
}

func valuesAreCopies(t *testing.T, m auth.Memory) {
	prefix, value := []byte("a"), []byte("value")
	m.Set(prefix, value)
	prefix[0], value[0] = 'b', 'X'
	got, _ := m.Get([]byte("a"))
	expectValue(t, m, "a", "value")
	got[0] = 'Y'
	expectValue(t, m, "a", "value")
	expectAbsent(t, m, "b")
}

func deleted(t *testing.T, m auth.Memory) {
	m.Set([]byte("a"), []byte("1"))
	m.Set([]byte("b"), []byte("2"))
	m.Delete([]byte("a"))
	m.Delete([]byte("a"))
	expectAbsent(t, m, "a")
	expectValue(t, m, "b", "2")
	m.Set([]byte("a"), []byte("3"))
	expectValue(t, m, "a", "3")
}

func tooLarge(t *testing.T, m auth.Memory) {
	m.Set([]byte("a"), []byte("1"))
	m.Set([]byte("large"), make([]byte, 16<<20))
	expectAbsent(t, m, "large")
	m.Set([]byte("b"), []byte("2"))
	expectValue(t, m, "b", "2")
}

func manyUseIt(t *testing.T, m auth.Memory) {
	var all sync.WaitGroup
	for who := range crowd {
		all.Go(func() {
			for i := range 2000 {
				prefix := fmt.Appendf(nil, "p%d", (who+i)%100)
				if value, ok := m.Get(prefix); ok && !bytes.HasPrefix(value, prefix) {
					t.Errorf("%s: got %q", prefix, value)
				}
				if i%10 == 0 {
					m.Delete(prefix)
				}
				m.Set(prefix, fmt.Appendf(nil, "%s of %d", prefix, who))
			}
		})
	}
	all.Wait()
}
