package authtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/proxy/auth"
)

// SourceFixture is a Source and what an administrator may do to the table behind it, each in a commit of its own.
type SourceFixture struct {
	Source auth.Source
	// Directory is nil where the table is another program's.
	Directory auth.Directory
	// Put adds a row. The organisation's state is that of the key put last.
	Put func(tb testing.TB, prefix string, key auth.Key)
	// Delete removes the rows of a prefix.
	Delete func(tb testing.TB, prefix string)
	// Many says that a prefix may have several rows.
	Many bool
	// Unreachable is a source whose database cannot be asked.
	Unreachable auth.Source
	// Close closes Source.
	Close func()
}

// TestSource tests an auth.Source, and its auth.Directory if it is one. Each part opens one that is empty.
func TestSource(t *testing.T, open func(*testing.T) SourceFixture) {
	for _, part := range []struct {
		name string
		test func(*testing.T, SourceFixture)
	}{
		{"a row is read as it was written", rowIsRead},
		{"a prefix without rows is no error", noRows},
		{"a prefix that no text can be is no error", impossiblePrefix},
		{"prefixes are compared whole and with their case", wholePrefix},
		{"several rows of a prefix are all read", severalRows},
		{"a look-up sees what was committed before it", seesCommitted},
		{"an organisation id that may not be injected is an error", badOrgID},
		{"a call whose context has ended fails", sourceContextEnded},
		{"a database out of reach is an error", outOfReach},
		{"a closed source is an error", closedSource},
		{"many look up at once", manyLookups},
		{"an organisation's prefixes are listed", listsPrefixes},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// NewKey returns an enabled key of SHA-256 whose hash is made of seed.
func NewKey(orgID string, seed byte) auth.Key {
	key := auth.Key{OrgID: orgID, Alg: auth.SHA256, Enabled: true, OrgEnabled: true}
	for i := range key.Hash {
		key.Hash[i] = seed + byte(i)
	}
	return key
}

func rowIsRead(t *testing.T, f SourceFixture) {
	expiry := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for name, change := range map[string]func(*auth.Key){
		"plain":     func(*auth.Key) {},
		"revoked":   func(k *auth.Key) { k.Enabled = false },
		"suspended": func(k *auth.Key) { k.OrgEnabled = false },
		"expiring":  func(k *auth.Key) { k.ExpiresAt = expiry },
		"expired":   func(k *auth.Key) { k.ExpiresAt = expiry.Add(-48 * time.Hour) },
		"peppered":  func(k *auth.Key) { k.Alg = auth.HMACSHA256 },
		"odd org":   func(k *auth.Key) { k.OrgID = "A.b_c:d-" + strings.Repeat("9", 120) },
	} {
		prefix, want := "zap_live_"+name, NewKey("org-"+strings.ReplaceAll(name, " ", "-"), 7)
		change(&want)
		f.Put(t, prefix, want)
		expectKeys(t, f.Source, prefix, want)
	}
}

func noRows(t *testing.T, f SourceFixture) {
	expectKeys(t, f.Source, "zap_live_nobody")
	f.Put(t, "zap_live_other", NewKey("o", 1))
	expectKeys(t, f.Source, "zap_live_nobody")
	expectKeys(t, f.Source, "")
	f.Delete(t, "zap_live_other")
	expectKeys(t, f.Source, "zap_live_other")
}

func impossiblePrefix(t *testing.T, f SourceFixture) {
	for _, prefix := range []string{"zap\x00live", "zap\xfflive", "\xed\xa0\x80", "'; --", `\x00`, "zap%", "zap_live_🔑"} {
		expectKeys(t, f.Source, prefix)
	}
}

func wholePrefix(t *testing.T, f SourceFixture) {
	f.Put(t, "zap_live_abc", NewKey("o", 1))
	for _, prefix := range []string{"zap_live_ab", "zap_live_abcd", "zap_live_abC", "zap_live_abc ", "zap%live_abc"} {
		expectKeys(t, f.Source, prefix)
	}
}

func severalRows(t *testing.T, f SourceFixture) {
	if !f.Many {
		f.Put(t, "zap_live_one", NewKey("o", 1))
		expectKeys(t, f.Source, "zap_live_one", NewKey("o", 1))
		return
	}
	one, two, three := NewKey("o", 1), NewKey("p", 2), NewKey("p", 3)
	two.Enabled = false
	three.ExpiresAt = time.Now().Add(time.Minute).Truncate(time.Millisecond)
	for _, key := range []auth.Key{one, two, three} {
		f.Put(t, "zap_live_many", key)
	}
	expectKeys(t, f.Source, "zap_live_many", one, two, three)
}

func seesCommitted(t *testing.T, f SourceFixture) {
	for i := range 50 {
		prefix := fmt.Sprintf("zap_live_%d", i%5)
		f.Delete(t, prefix)
		expectKeys(t, f.Source, prefix)
		f.Put(t, prefix, NewKey("o", byte(i)))
		expectKeys(t, f.Source, prefix, NewKey("o", byte(i)))
	}
}

func badOrgID(t *testing.T, f SourceFixture) {
	for i, id := range []string{"", "a b", "o\r\nX-Org-Id: p", "ö", strings.Repeat("o", 129)} {
		prefix := fmt.Sprintf("zap_live_%d", i)
		f.Put(t, prefix, NewKey(id, 1))
		if keys, err := f.Source.Lookup(t.Context(), prefix); err == nil {
			t.Errorf("%q: got %d keys and no error", id, len(keys))
		}
	}
}

func sourceContextEnded(t *testing.T, f SourceFixture) {
	f.Put(t, "zap_live_here", NewKey("o", 1))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expectError(t, f.Source, cancelled, context.Canceled)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	expectError(t, f.Source, late, context.DeadlineExceeded)
	expectKeys(t, f.Source, "zap_live_here", NewKey("o", 1))
}

func outOfReach(t *testing.T, f SourceFixture) {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for range 3 {
		expectError(t, f.Unreachable, ctx, nil)
	}
}

func closedSource(t *testing.T, f SourceFixture) {
	f.Put(t, "zap_live_here", NewKey("o", 1))
	f.Close()
	expectError(t, f.Source, t.Context(), nil)
	f.Close()
}

func manyLookups(t *testing.T, f SourceFixture) {
	for i := range 20 {
		f.Put(t, fmt.Sprintf("zap_live_%d", i), NewKey("o", byte(i)))
	}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for i := range 20 {
				prefix, want := fmt.Sprintf("zap_live_%d", i), NewKey("o", byte(i))
				if keys, err := f.Source.Lookup(t.Context(), prefix); err != nil || len(keys) != 1 || keys[0] != want {
					t.Errorf("%s: got %d keys, %v", prefix, len(keys), err)
				}
			}
		})
	}
	all.Wait()
}

func listsPrefixes(t *testing.T, f SourceFixture) {
	if f.Directory == nil {
		return
	}
	revoked := NewKey("o", 2)
	revoked.Enabled = false
	f.Put(t, "zap_live_a", NewKey("o", 1))
	f.Put(t, "zap_live_b", revoked)
	f.Put(t, "zap_live_c", NewKey("p", 3))
	f.Delete(t, "zap_live_c")
	for id, want := range map[string][]string{"o": {"zap_live_a", "zap_live_b"}, "p": nil} {
		got, err := f.Directory.Prefixes(t.Context(), id)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", id, got, err, want)
		}
	}
	for _, id := range []string{"q", "", "a b", "o\x00"} {
		if got, err := f.Directory.Prefixes(t.Context(), id); !errors.Is(err, auth.ErrNoOrganization) {
			t.Errorf("%q: got %v, %v, want ErrNoOrganization", id, got, err)
		}
	}
}

func expectKeys(tb testing.TB, source auth.Source, prefix string, want ...auth.Key) {
	tb.Helper()
	got, err := source.Lookup(tb.Context(), prefix)
	if err != nil {
		tb.Errorf("%q: %v", prefix, err)
		return
	}
	same := func(a, b auth.Key) bool {
		at := a.ExpiresAt.Equal(b.ExpiresAt)
		a.ExpiresAt, b.ExpiresAt = time.Time{}, time.Time{}
		return at && a == b
	}
	slices.SortFunc(got, func(a, b auth.Key) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	if !slices.EqualFunc(got, want, same) {
		tb.Errorf("%q: got %+v, want %+v", prefix, got, want)
	}
}

func expectError(tb testing.TB, source auth.Source, ctx context.Context, want error) {
	tb.Helper()
	if keys, err := source.Lookup(ctx, "zap_live_here"); err == nil || want != nil && !errors.Is(err, want) {
		tb.Errorf("got %d keys and %v, want an error %v", len(keys), err, want)
	}
}

// Eventually waits for a condition that gives no signal.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("no %s within %v", what, Patience)
		}
	}
}
