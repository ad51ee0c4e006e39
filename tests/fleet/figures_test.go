package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"keygate/proxy/apikey"
	"keygate/tests/load/hist"
)

func TestAnExportedHistogramTellsTheBucketOfAQuantile(t *testing.T) {
	before := buckets{{.001, 10}, {.01, 10}, {math.Inf(1), 10}}
	after := buckets{{.001, 60}, {.01, 109}, {math.Inf(1), 110}}
	grown := after.since(before)
	if grown.count() != 100 || grown.within(.5) != .001 || grown.within(.51) != .01 || !math.IsInf(grown.within(1), 1) {
		t.Errorf("got %v: %v, %v, %v", grown, grown.within(.5), grown.within(.51), grown.within(1))
	}
}

func TestAWrongSecretIsWellFormed(t *testing.T) {
	keys, err := mint(1)
	if err != nil {
		t.Fatal(err)
	}
	wrong := wrongSecrets(texts(keys))(0)
	prefix, ok := apikey.Format{}.Split([]byte(wrong))
	if !ok || string(prefix) != keys[0].prefix || wrong == keys[0].text {
		t.Errorf("got the prefix %q of %q, %v", prefix, keys[0].prefix, ok)
	}
}

func TestThePlotIsXMLAndShowsEveryWay(t *testing.T) {
	var took hist.Hist
	for i := range 1000 {
		took.Record(time.Duration(i) * 100 * time.Microsecond)
	}
	text := plot([]wayResult{
		{Way: "one & another", Revocations: 1000, Refused: quantilesOf(&took), Histogram: took.Buckets()},
		{Way: "none"},
	})
	for reader := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := reader.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one &amp; another: 1000 keys", "none: 0 keys", "p50 ", `class="bar"`} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "%!") {
		t.Error("it shows something that was not meant to be shown")
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	rounds := func(p99 ...float64) (all []floodRound) {
		for _, v := range p99 {
			all = append(all, floodRound{P99MS: v})
		}
		return all
	}
	low, median, high := ratios(rounds(1, 10, 100), rounds(2, 10, 150))
	if low != 1.5 || median != 1.5 || high != 2 {
		t.Errorf("got %v, %v, %v", low, median, high)
	}
}
