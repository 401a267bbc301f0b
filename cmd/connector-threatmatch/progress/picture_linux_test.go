package progress

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress/progresstest"
)

func TestLinesStayAboveThePictureOnAScreen(t *testing.T) {
	terminal := progresstest.New(t, 40, 5) // lower than all that is written
	p := NewPicture(terminal.File)
	text := p.Text(0)
	p.Bar(1, "alerts").Say("0 of 9")
	for i := range 9 {
		text.Say(fmt.Sprintf("step %d", i))
		terminal.Until(t, fmt.Sprintf("step %d", i))
		if _, err := fmt.Fprintf(p, "log %d\n", i); err != nil {
			t.Error(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	lines := terminal.Lines()
	if len(lines) != 11 || lines[0] != "log 0" || lines[8] != "log 8" || lines[9] != "step 8" || !strings.HasSuffix(lines[10], "0 of 9") {
		t.Errorf("on the screen stands %q", lines)
	}
}

func TestPicturesOfRunsPassWithoutTouchingTheLog(t *testing.T) {
	for _, rows := range []int{0, 2, 24} { // 0 is what a terminal says to which nobody has attached
		terminal := progresstest.New(t, 40*min(rows, 1), rows)
		p := NewPassingBars(terminal.File, "messages")
		var want []string
		for run := range 3 {
			for _, moment := range []string{"before", "in", "after"} {
				switch moment {
				case "in":
					p.Begin(func() string { return "nothing" })
					p.Page("alerts", 9, unknown)
					p.Sent(1)
				case "after":
					p.End()
				}
				want = append(want, fmt.Sprintf("%s run %d", moment, run))
				if _, err := fmt.Fprintln(p, want[len(want)-1]); err != nil {
					t.Error(err)
				}
			}
		}
		p.Close()
		if lines := terminal.Lines(); !slices.Equal(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), want) {
			t.Errorf("%d rows: on the screen stands %q", rows, lines)
		}
	}
}

func TestATerminalThatHangsUpEndsOnlyTheDrawing(t *testing.T) {
	terminal := progresstest.New(t, 80, 24)
	p := NewPassingBars(terminal.File, "messages")
	for run := range 3 {
		p.Begin(func() string { return "nothing" })
		p.Page("profiles", 12, unknown)
		if run == 0 {
			terminal.Until(t, "profiles")
			terminal.HangUp()
			for noticed := false; !noticed; {
				_, err := p.picture.container.Write(nil)
				noticed = isEnd(err)
			}
		}
		p.Page("alerts", 12, unknown)
		_, _ = p.Write([]byte("nobody reads this\n"))
		p.Done("profiles", nil)
		p.End()
	}
	p.Close()
	_ = terminal.Close()
}
