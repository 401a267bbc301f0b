package progress

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestBarsTellWhatARunWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewBars(&out, "messages")
		began := time.Now()
		p.Begin(func() string {
			if time.Since(began) < 5*time.Second {
				return "RabbitMQ's confirms"
			}
			return "THREATMATCH_RATE_LIMIT"
		})
		p.Page("profiles", 12, unknown)
		p.Sent(77)
		time.Sleep(10 * time.Second)
		p.End()
		p.Close()
		text := out.String()
		first, then := strings.Index(text, "waits for RabbitMQ's confirms"), strings.Index(text, "waits for THREATMATCH_RATE_LIMIT")
		if first < 0 || then < first {
			t.Errorf("got %q", text)
		}
		if last := text[strings.LastIndex(text, "waits for"):]; !strings.Contains(last, "profiles") || !strings.Contains(last, "77") {
			t.Errorf("no picture without that line stays: %q", last)
		}
	})
}

func TestPassingBarsAreThereWhileARunIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewPassingBars(&out, "messages")
		say := func(line string) {
			if _, err := p.Write([]byte(line)); err != nil {
				t.Error(err)
			}
		}
		say("before\n")
		p.Sent(1) // of a run that is not shown
		for _, sent := range []int{123, 456} {
			p.Begin(func() string { return "nothing" })
			p.Page("alerts", 9, unknown)
			p.Page("profiles", 12, unknown)
			p.Done("alerts", errors.New("down"))
			p.Sent(sent)
			time.Sleep(time.Second)
			say("meanwhile\n")
			p.End()
			if p.Count("profiles") != 12 {
				t.Errorf("counted %d", p.Count("profiles"))
			}
			say("between\n")
		}
		p.Close()
		text := out.String()
		if !strings.HasPrefix(text, "before\n") {
			t.Errorf("got %q", text)
		}
		const erased = "\x1b[3A\x1b[Jbetween\n" // two datasets and the messages
		if strings.Count(text, "meanwhile\n") != 2 || strings.Count(text, erased) != 2 || !strings.HasSuffix(text, erased) {
			t.Errorf("got %q", text)
		}
		if _, second, _ := strings.Cut(text, erased); !strings.Contains(second, "456") || strings.Contains(second, "123") {
			t.Errorf("the second run shows %q", second)
		}
	})
}

func TestNobodyLooksWhereOutputIsThrownAway(t *testing.T) {
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	if IsTerminal(nowhere) {
		t.Error("it is taken for a terminal")
	}
}

func TestADatasetThatIsReadByDateShowsTheDate(t *testing.T) {
	var out bytes.Buffer
	p := NewBars(&out, "objects")
	for day := range 3 {
		p.Page("iocs", 1000, pipeline.Position{Until: time.Date(2026, 1, 1+day, 5, 6, 0, 0, time.UTC), Share: float64(day+1) / 4})
	}
	p.Done("iocs", nil)
	p.Close()
	text := out.String()
	if last := text[max(0, strings.LastIndex(text, "iocs")):]; !strings.Contains(last, "3,000 up to 2026-01-03 05:06") {
		t.Errorf("%q", text)
	}
}
