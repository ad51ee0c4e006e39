package uuid7_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keygate/shared/uuid7"
)

func TestMintedIdsTellTheirMillisecondAndAreOfVersion7(t *testing.T) {
	at := time.UnixMilli(1_763_900_000_123).UTC()
	id := uuid7.Mint(at)
	text := id.String()
	if !id.Time().Equal(at) || !strings.HasPrefix(text, "019ab0a2-077b-7000-") || !strings.ContainsRune("89ab", rune(text[19])) {
		t.Errorf("got %s, %v", text, id.Time())
	}
	if again := uuid7.Mint(at); again == id {
		t.Error("two ids are the same")
	}
}

func TestItemsKeepEverythingButTheirNumber(t *testing.T) {
	id := uuid7.Mint(time.Now())
	for _, i := range []int{0, 1, 999, uuid7.MaxItem} {
		item := id.Item(i)
		if item.Item(0) != id || item.Time() != id.Time() || (i > 0) == (item == id) {
			t.Errorf("item %d of %s is %s", i, id, item)
		}
		if parsed, err := uuid7.Parse([]byte(item.String())); err != nil || parsed != item {
			t.Errorf("item %d: %v", i, err)
		}
	}
}

func TestParse(t *testing.T) {
	good := "019ab0a1-7f7b-7000-8123-456789abcdef"
	for _, text := range []string{good, strings.ToUpper(good)} {
		if id, err := uuid7.Parse([]byte(text)); err != nil || id.String() != good {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
	for _, text := range []string{
		"", good[:35], good + "0", strings.ReplaceAll(good, "-", ""), strings.Replace(good, "-7000", "-4000", 1),
		strings.Replace(good, "-8123", "-c123", 1), strings.Replace(good, "0", "g", 1), "{" + good[1:], good[:8] + "_" + good[9:],
	} {
		if _, err := uuid7.Parse([]byte(text)); !errors.Is(err, uuid7.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		uuid7.Mint(now)
	}
}
