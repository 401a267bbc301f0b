package sandbox

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestProgressLinesAppearOnlyWhenSomethingHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgressLines(&out, time.Second)
		time.Sleep(3500 * time.Millisecond)
		p.Page("iocs", 1234, pipeline.Position{})
		p.Page("alerts", 2, pipeline.Position{})
		time.Sleep(3 * time.Second)
		p.Sent(1000000)
		p.Done("alerts", nil)
		p.Done("iocs", errors.New("down"))
		p.Done("profiles", nil)
		p.Close()
		want := "alerts 2, iocs 1,234, messages 0\nalerts 2 (done), iocs 1,234 (failed), profiles 0 (done), messages 1,000,000\n"
		if out.String() != want {
			t.Errorf("got %q", out.String())
		}
	})
}

func TestProgressBarsEndWithWhatWasCounted(t *testing.T) {
	var out bytes.Buffer
	p := newProgressBars(&out)
	p.Page("profiles", 12, pipeline.Position{})
	p.Page("iocs", 100, pipeline.Position{})
	p.Sent(77)
	p.Done("profiles", nil)
	p.Done("iocs", errors.New("down"))
	if _, err := p.Write([]byte("a log line\n")); err != nil {
		t.Error(err)
	}
	p.Close()
	for _, want := range []string{"profiles", "12", "iocs", "100", sentLine, "77", "✓", "✗", "a log line"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
	if p.count("iocs") != 100 {
		t.Errorf("counted %d", p.count("iocs"))
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", -123: "-123", 1234567: "1,234,567"} {
		if got := groupDigits(n); got != want {
			t.Errorf("%d became %s", n, got)
		}
	}
}
