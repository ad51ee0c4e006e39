package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

// flat is an event of 159 bytes, as small ones go.
var flat = []byte(`{"type":"order.created","dedup_id":"ord_8f14e45fceea167a","payload":{"order_id":"ord_8f14e45fceea167a",` +
	`"amount":1299,"currency":"EUR","customer":"cus_9a0b1c2d"}}`)

// document returns an event of about size bytes, as a shop would send it.
func document(size int, extra string) []byte {
	head := `{"type":"order.created","dedup_id":"ord_8f14e45f-1","payload":{"order":{"id":81234,"total":"129.90"},` +
		`"paid":true,"note":null,"lines":[`
	line := `{"sku":"A-1001","qty":2,"price":19.95,"tags":["new","` + extra + `"]}`
	count := max(0, (size-len(head)-4)/(len(line)+1))
	lines := strings.TrimSuffix(strings.Repeat(line+",", count), ",")
	return []byte(head + lines + `]}}`)
}

func BenchmarkDecode(b *testing.B) {
	id := uuid7.Mint(time.Now())
	for _, doc := range []struct {
		name string
		body []byte
	}{
		{"size=150B/shape=flat", flat},
		{"size=150B/shape=nested", document(150, "gift")},
		{"size=1KiB/shape=nested", document(1<<10, "gift")},
		{"size=64KiB/shape=nested", document(64<<10, "gift")},
		{"size=64KiB/shape=cjk-text", document(64<<10, strings.Repeat("贈り物", 20))},
		{"size=64KiB/shape=long-text", document(64<<10, strings.Repeat("lorem ipsum ", 100))},
	} {
		b.Run(doc.name+"/by=event", func(b *testing.B) {
			b.SetBytes(int64(len(doc.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := event.Decode(doc.body, id, "org"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(doc.name+"/by=encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(doc.body)))
			b.ReportAllocs()
			for b.Loop() {
				var e struct {
					Type    string          `json:"type"`
					DedupID *string         `json:"dedup_id"`
					Payload json.RawMessage `json:"payload"`
				}
				if err := json.Unmarshal(doc.body, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBatch reads a batch of 1,000 small events in pieces as the server does, and beside it each event by itself.
func BenchmarkBatch(b *testing.B) {
	id := uuid7.Mint(time.Now())
	lines := bytes.Repeat(append(bytes.Clone(flat), '\n'), event.MaxBatch)
	array := append([]byte("["), bytes.ReplaceAll(lines[:len(lines)-1], []byte("\n"), []byte(","))...)
	for format, body := range []([]byte){event.Array: append(array, ']'), event.Lines: lines} {
		b.Run([]string{"format=array", "format=lines"}[format], func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				batch := event.NewBatch(event.Format(format), id, "org")
				for piece := range slices.Chunk(body, 32<<10) {
					batch.Write(piece)
				}
				if _, err := batch.Items(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("format=single", func(b *testing.B) {
		b.SetBytes(int64(len(lines)))
		b.ReportAllocs()
		for b.Loop() {
			for range event.MaxBatch {
				if _, err := event.Decode(flat, id, "org"); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkDecodeLarge reads the documents that cost the most for their size.
func BenchmarkDecodeLarge(b *testing.B) {
	id := uuid7.Mint(time.Now())
	var many, few strings.Builder
	for i := range 800_000 {
		fmt.Fprintf(&many, `,"%x":0`, i)
	}
	for range 35_000 {
		few.WriteString(`,{"a":0`)
		for i := range 31 {
			fmt.Fprintf(&few, `,"%c":0`, 'b'+i)
		}
		few.WriteString("}")
	}
	for name, payload := range map[string]string{
		"members=800000":   `{"_":0` + many.String() + "}",
		"members=31x35000": `{"_":[0` + few.String() + "]}",
		"numbers=4000000":  `{"_":[0` + strings.Repeat(",1", 4_000_000) + "]}",
	} {
		body := []byte(`{"type":"t","payload":` + payload + `}`)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := event.Decode(body, id, "org"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSame(b *testing.B) {
	pairs := largePayloads()
	pairs["an order"] = [2]string{
		`{"order": {"id": 81234, "total": "129.90"}, "paid": true, "lines": [{"qty": 2, "sku": "A-1001"}]}`,
		`{"order":{"total":"129.90","id":81234},"lines":[{"sku":"A-1001","qty":2}],"paid":true}`,
	}
	for name, pair := range pairs {
		x, y := []byte(pair[0]), []byte(pair[1])
		b.Run("payload="+strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(x) + len(y)))
			b.ReportAllocs()
			for b.Loop() {
				if !event.Same("t", x, "t", y) {
					b.Fatal("not the same")
				}
			}
		})
	}
}
