package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// unknown is the position of a source that does not know how much there is.
var unknown = pipeline.Position{Left: -1}

func TestProgressLinesAppearOnlyWhenSomethingHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewLines(&out, time.Second, "messages")
		time.Sleep(3500 * time.Millisecond)
		p.Page("iocs", 1234, unknown)
		p.Page("alerts", 2, unknown)
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
	p := NewBars(&out, "messages")
	p.Page("profiles", 12, unknown)
	p.Page("iocs", 100, unknown)
	p.Sent(77)
	p.Done("profiles", nil)
	p.Done("iocs", errors.New("down"))
	if _, err := p.Write([]byte("a log line\n")); err != nil {
		t.Error(err)
	}
	p.Close()
	for _, want := range []string{"profiles", "12", "iocs", "100", "messages", "77", "✓", "✗", "a log line"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
	if p.Count("iocs") != 100 {
		t.Errorf("counted %d", p.Count("iocs"))
	}
}

func TestWhereTheTotalIsKnownTheTimeThatIsLeftIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewLines(&out, 30*time.Second, "objects")
		p.Total("profiles", 200)
		p.Total("alerts", 0)
		time.Sleep(20 * time.Second)
		p.Page("profiles", 50, unknown)
		time.Sleep(15 * time.Second)
		p.Close()
		want := "alerts 0 of 0, profiles 50 of 200 (1.7/s, 1m30s left), objects 0\nalerts 0 of 0, profiles 50 of 200 (1.4/s, 1m45s left), objects 0\n"
		if out.String() != want {
			t.Errorf("got %q", out.String())
		}
	})
}

func TestABarKnowsItsTotalAndEndsAlsoBeforeIt(t *testing.T) {
	var out bytes.Buffer
	p := NewBars(&out, "objects")
	p.Total("profiles", 200)
	p.Total("alerts", 5)
	p.Page("profiles", 50, unknown)
	p.Page("alerts", 5, unknown)
	p.Done("profiles", errors.New("down"))
	p.Done("alerts", nil)
	p.Close()
	for _, want := range []string{"50 / 200", "5 / 5", "✓", "✗"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
}
