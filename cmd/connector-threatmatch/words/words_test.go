package words

import (
	"testing"
	"time"
)

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", -123: "-123", 1234567: "1,234,567"} {
		if got := Grouped(n); got != want {
			t.Errorf("%d became %s", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 items", 1: "1 item", 12155: "12,155 items"} {
		if got := Counted(n, "item"); got != want {
			t.Errorf("%d became %s", n, got)
		}
	}
}

func TestDurationsAreSaidInTheirTwoLargestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 500 * time.Millisecond: "500ms", 42 * time.Second: "42s", 90 * time.Second: "1m30s", 3*time.Hour + 5*time.Second: "3h0m", 49 * time.Hour: "2d1h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s became %s", d, got)
		}
	}
}

func TestBytesAreSaidWithAUnit(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345_678: "12.3 MB", 5e15: "5000.0 TB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d became %s", n, got)
		}
	}
}
