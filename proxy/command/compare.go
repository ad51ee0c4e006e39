package command

import (
	"fmt"
	"io"
	"strings"

	"keygate/proxy/auth"
)

// explained is what one proxy says about a key.
type explained struct {
	url string
	auth.Explanation
}

// printComparison says whether proxies tell the same. One alone has nobody to be compared with.
func printComparison(w io.Writer, all []explained) (same bool) {
	if len(all) < 2 {
		return true
	}
	lines := append(contradictions("memory", all, inMemory), contradictions("redis", all, inRedis)...)
	lines = append(lines, contradictions("source", all, inSource)...)
	if len(lines) == 0 {
		fmt.Fprintf(w, "these %d proxies agree\n", len(all))
		return true
	}
	fmt.Fprintf(w, "THESE %d PROXIES DIFFER\n", len(all))
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	return false
}

// contradictions lists who says what about a tier, unless all say the same. Who has nothing to say contradicts nobody.
func contradictions(tier string, all []explained, says func(*explained) string) []string {
	var lines []string
	said := make(map[string]bool)
	for i := range all {
		if text := says(&all[i]); text != "" {
			said[text] = true
			lines = append(lines, fmt.Sprintf("  %-7s %s: %s", tier, all[i].url, text))
		}
	}
	if len(said) < 2 {
		return nil
	}
	return lines
}

// inMemory is what a proxy would answer by itself: copies may differ in their age.
func inMemory(e *explained) string {
	switch {
	case len(e.Memory.Keys) > 0:
		return describeKeys(e.Memory.Keys)
	case e.Memory.State == "negative":
		return "no such key"
	}
	return ""
}

// inRedis is what a proxy sees in Redis. A record is one and the same, its hashes included, if it has the same fill; a lease
// stands where nothing is yet.
func inRedis(e *explained) string {
	switch view := &e.Redis; {
	case view.Fill != "":
		return "fill " + view.Fill + ", " + describeKeys(view.Keys)
	case view.State == "leased":
		return "absent"
	default:
		return view.State
	}
}

func inSource(e *explained) string {
	if len(e.Source.Keys) == 0 {
		return e.Source.State
	}
	return describeKeys(e.Source.Keys)
}

func describeKeys(views []auth.KeyView) string {
	var text strings.Builder
	for _, key := range views {
		text.WriteString(describeKey(&key))
	}
	return strings.TrimPrefix(text.String(), "; ")
}
