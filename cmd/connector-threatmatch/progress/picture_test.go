package progress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a terminal that takes no picture from some write on. Log lines it takes, for the test to see them.
type failing struct {
	bytes.Buffer
	takes   int // writes
	refused int
}

func (f *failing) Write(b []byte) (int, error) {
	if f.takes--; f.takes < 0 && !bytes.HasPrefix(b, []byte("log ")) {
		f.refused++
		return 0, syscall.EIO
	}
	return f.Buffer.Write(b)
}

// A connector goes on for years whatever becomes of the terminal on which it was started.
func TestATerminalThatGoesAwayEndsOnlyTheDrawing(t *testing.T) {
	for name, begin := range map[string]func(*failing) *Bars{
		"a picture that stays": func(f *failing) *Bars { return NewBars(f, "messages") },
		"one for each run":     func(f *failing) *Bars { return NewPassingBars(f, "messages") },
	} {
		for takes := range 30 {
			synctest.Test(t, func(t *testing.T) {
				terminal := &failing{takes: takes}
				p := begin(terminal)
				for run := range 4 {
					p.Begin(func() string { return "nothing" })
					p.Total("alerts", 20)
					p.Page("profiles", 12, unknown)
					time.Sleep(200 * time.Millisecond) // of the bubble: a picture is drawn
					p.Page("profiles", 12, unknown)
					p.Page("alerts", 9, unknown)
					p.Page("iocs", 9, unknown)
					p.Sent(1)
					time.Sleep(200 * time.Millisecond)
					p.Done("alerts", errors.New("down"))
					p.Done("iocs", nil)
					p.End()
					if _, err := fmt.Fprintf(p, "log %d\n", run); err != nil {
						t.Errorf("%s, %d writes: %v", name, takes, err)
					}
				}
				p.Close()
				text := terminal.String()
				if p.Count("profiles") == 0 || takes < 3 && !strings.Contains(text, "log 3\n") {
					t.Errorf("%s, %d writes: counted %s, written %q", name, takes, p, text)
				}
				if terminal.refused > 2 { // a picture, and before it what takes the one of the run before away
					t.Errorf("%s, %d writes: it was tried %d times more", name, takes, terminal.refused)
				}
			})
		}
	}
}

func TestWhatIsWrittenLastIsThere(t *testing.T) {
	for name, draw := range map[string]func(*Bars){
		"nothing is drawn":   func(*Bars) {},
		"a picture is drawn": func(p *Bars) { p.Page("alerts", 1, unknown) },
		"all lines are done": func(p *Bars) { p.Done("alerts", nil); time.Sleep(time.Second) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := NewBars(&out, "messages")
			draw(p)
			if _, err := p.Write([]byte("stopped\n")); err != nil {
				t.Error(err)
			}
			p.Close()
			if strings.Count(out.String(), "stopped\n") != 1 {
				t.Errorf("%s: got %q", name, out.String())
			}
			if _, err := p.Write([]byte("after\n")); err != nil || !strings.HasSuffix(out.String(), "after\n") {
				t.Errorf("%s: got %q: %v", name, out.String(), err)
			}
		})
	}
}

func TestADatasetThatFailsWithAllItsItemsIsCrossedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewBars(&out, "messages")
		p.Total("alerts", 5)
		p.Page("alerts", 5, unknown)
		time.Sleep(time.Second)
		p.Done("alerts", errors.New("down"))
		p.Close()
		text := out.String()
		if last := text[strings.LastIndex(text, "alerts"):]; !strings.Contains(last, "✗") {
			t.Errorf("got %q", last)
		}
	})
}

func TestABarCanFallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewPicture(&out)
		line := p.Bar(0, "alerts")
		line.Reach(1)
		time.Sleep(time.Second)
		line.Reach(0)
		line.Say("import alerts: down\nimport iocs:\tthe same")
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		text := out.String()
		if last := text[strings.LastIndex(text, "alerts  ["):]; strings.Contains(last, "=") || !strings.Contains(last, "import alerts: down; import iocs:; the same\n") {
			t.Errorf("got %q", last)
		}
	})
}
