package event_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// largePayloads returns payloads of about 8 MiB, each in two spellings.
func largePayloads() map[string][2]string {
	list := func(count int, item func(i int) string) string {
		var text strings.Builder
		for i := range count {
			if i > 0 {
				text.WriteByte(',')
			}
			text.WriteString(item(i))
		}
		return text.String()
	}
	const members = 700_000
	member := func(i int) string { return fmt.Sprintf(`"%x":0`, i) }
	order := rand.New(rand.NewPCG(1, 2)).Perm(members)
	prefix := strings.Repeat("p", 1000)
	object := func(item func(i int) string, count int) [2]string {
		return [2]string{
			`{` + list(count, item) + `}`,
			`{` + list(count, func(i int) string { return item(count - 1 - i) }) + `}`,
		}
	}
	nest := func(inner, with string) string {
		return strings.Repeat(`{"a":`, 62) + inner + strings.Repeat(with+`}`, 62)
	}
	half := list(members/2, member)
	text := strings.Repeat("x", 8_000_000)
	return map[string][2]string{
		"shuffled members": {`{` + list(members, member) + `}`,
			`{` + list(members, func(i int) string { return member(order[i]) }) + `}`},
		"one after the other": {`{"a":{` + half + `},"b":{` + half + `}}`, `{"b":{` + half + `},"a":{` + half + `}}`},
		"one in the other":    {`{` + half + `,"in":{` + half + `}}`, `{"in":{` + half + `},` + half + `}`},
		"long names":          object(func(i int) string { return fmt.Sprintf(`"%s%d":0`, prefix, i) }, 8000),
		"numbers":             {`{"a":[` + strings.Repeat("1,", 3_900_000) + `1]}`, `{ "a":[` + strings.Repeat("1,", 3_900_000) + `1]}`},
		"small objects": {`{"a":[` + strings.Repeat(`{"a":1,"b":2},`, 550_000) + `1]}`,
			`{"a":[` + strings.Repeat(`{"b":2,"a":1},`, 550_000) + `1]}`},
		"text at the bottom": {
			nest(`"`+text+`"`, `,"b":1`), strings.ReplaceAll(nest(`"`+text+`"`, ``), `{`, `{"b":1,`)},
	}
}
