package flags

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Longest first, so that formatting picks the largest that fits. Decimal units and bare letters are not offered: 8M
// is eight million to some and 8,388,608 to others.
var units = []struct {
	name string
	size int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseBytes reads a number of bytes: a whole number, alone or followed by KiB, MiB or GiB.
func ParseBytes(text string) (int, error) {
	digits, size := text, 1
	for _, unit := range units {
		if number, ok := strings.CutSuffix(text, unit.name); ok {
			digits, size = strings.TrimSpace(number), unit.size
			break
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > math.MaxInt/size {
		return 0, errors.New("not a size in bytes, such as 65536, 64KiB, 8MiB or 1GiB")
	}
	return n * size, nil
}

// FormatBytes writes n in the largest unit of which it is a multiple.
func FormatBytes(n int) string {
	for _, unit := range units {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.Itoa(n/unit.size) + unit.name
		}
	}
	return strconv.Itoa(n)
}
