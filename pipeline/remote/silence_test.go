package remote

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var (
	brief   = passing("refused", "nothing listens there", "check that it runs")
	endless = lasting("name", "its name is wrong", "check its name")
	other   = passing("timeout", "nothing comes back", "check the firewalls")
	busy    = Diagnosis{Kind: "busy", Slow: true, Remedy: "ask less"}
	errAway = errors.New("away")
)

// told is what a silence says in a time, with the seconds after which it does.
func told(t *testing.T, live func(s *Silence)) (lines []string, after []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		s := &Silence{Name: "It", Log: zap.New(core), After: 10 * time.Second, Mute: time.Minute, Settings: Settings{Address: "ITS_URL"}}
		began := time.Now()
		live(s)
		for _, line := range logs.All() {
			lines = append(lines, line.Message)
			after = append(after, int(line.Time.Sub(began)/time.Second))
		}
	})
	return lines, after
}

func TestASilenceIsToldOfInTimeAndOnce(t *testing.T) {
	failing := func(s *Silence, every time.Duration, n int, why Diagnosis) {
		for range n {
			end := s.Watch()
			s.Failed(errAway, why)
			end()
			time.Sleep(every)
		}
	}
	for name, tt := range map[string]struct {
		live func(s *Silence)
		want []string // parts of the lines
		when []int
	}{
		"an answer": {func(s *Silence) { end := s.Watch(); s.Heard(); end(); time.Sleep(time.Hour) }, nil, nil},
		"a call that waits": {func(s *Silence) { end := s.Watch(); time.Sleep(time.Hour); s.Heard(); end() },
			[]string{"nothing comes back; see whether it hangs or is overloaded (ask who runs it, or look at its log and restart it) and whether a firewall or proxy lies between, and check ITS_URL", "It answers again"}, []int{60, 3600}},
		"failures that may pass": {func(s *Silence) { failing(s, time.Second, 300, brief) },
			[]string{"It does not answer; the connector waits, and goes on by itself when it does: nothing listens there; check that it runs"}, []int{10}},
		"failures that last": {func(s *Silence) { failing(s, time.Second, 300, endless) },
			[]string{"It cannot be used as it is set up: its name is wrong; check its name"}, []int{2}},
		"failures that ask for time": {func(s *Silence) { failing(s, 20*time.Second, 5, busy); s.Heard() }, []string{"ask less", "answers again"}, []int{60, 100}},
		"one failure that lasts":     {func(s *Silence) { failing(s, time.Second, 1, endless); s.Heard() }, nil, nil},
		"failures that pass":         {func(s *Silence) { failing(s, time.Second, 8, brief); s.Heard() }, nil, nil},
		"a call during failures":     {func(s *Silence) { end := s.Watch(); s.Failed(errAway, brief); time.Sleep(time.Hour); end() }, []string{"It does not answer"}, []int{10}},
		"a failure of long ago":      {func(s *Silence) { failing(s, time.Hour, 3, brief) }, nil, nil},
		"a call after one of long ago": {func(s *Silence) {
			failing(s, time.Hour, 1, brief)
			end := s.Watch()
			time.Sleep(30 * time.Second)
			s.Heard()
			end()
		}, nil, nil},
		"a call of one that comes late": {func(s *Silence) {
			end := s.Watch()
			time.Sleep(30 * time.Second)
			s.Heard()
			time.Sleep(50 * time.Second)
			s.Heard()
			end()
		}, nil, nil},
		"another cause": {func(s *Silence) {
			failing(s, time.Second, 20, brief)
			failing(s, time.Second, 1100, other)
			failing(s, time.Second, 10, brief)
			s.Heard()
		}, []string{"check that it runs", "check the firewalls", "answers again"}, []int{10, 610, 1130}},
		"the same cause for a day": {func(s *Silence) { failing(s, time.Minute, 24*60, brief) }, []string{"It does not answer"}, []int{60}},
		"twice": {func(s *Silence) {
			failing(s, time.Second, 20, brief)
			s.Heard()
			failing(s, time.Second, 20, brief)
			failing(s, time.Second, 1000, brief)
		}, []string{"does not answer", "answers again", "does not answer"}, []int{10, 20, 610}},
	} {
		lines, after := told(t, tt.live)
		if len(lines) != len(tt.want) || !slices.Equal(after, tt.when) {
			t.Errorf("%s: told %q after %v, want %q after %v", name, lines, after, tt.want, tt.when)
			continue
		}
		for i, part := range tt.want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%s: told %q, want %q", name, lines[i], part)
			}
		}
	}
}

func TestNobodyIsWatchedForWhoHasLeft(t *testing.T) {
	lines, _ := told(t, func(s *Silence) {
		end := s.Watch()
		s.Failed(errAway, brief)
		end()
		time.Sleep(time.Hour)
	})
	if len(lines) > 0 {
		t.Errorf("told %q of a call that has ended", lines)
	}
}

// A second silence during one call, after the first was told of and ended.
func TestASecondSilenceIsToldInTimeToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		s := &Silence{Name: "X", Log: zap.New(core), After: 8 * time.Second, Mute: 45 * time.Second}
		end := s.Watch()
		time.Sleep(50 * time.Second)
		s.Heard()
		n := lines.Len()
		time.Sleep(15 * time.Minute)
		if lines.Len() == n {
			t.Errorf("a quarter of an hour of silence are not told of: %v", lines.All())
		}
		end()
	})
}

// Calls that begin all the time keep the alarm away while none is answered.
func TestCallsThatBeginDoNotPutTheAlarmOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		s := &Silence{Name: "X", Log: zap.New(core), After: 8 * time.Second, Mute: 45 * time.Second}
		var ends []func()
		for range 100 {
			ends = append(ends, s.Watch())
			time.Sleep(5 * time.Second)
		}
		if lines.Len() == 0 {
			t.Error("500 s without an answer are not told of")
		}
		for _, end := range ends {
			end()
		}
	})
}

// A silence that goes on is flapping between answers and failures.
func TestFlappingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		s := &Silence{Name: "X", Log: zap.New(core), After: 8 * time.Second, Mute: 45 * time.Second}
		for range 60 * 60 / 20 { // an hour of: two fast refusals that last (bad certificate of one of two servers), one answer
			for i := range 3 {
				end := s.Watch()
				if i < 2 {
					s.Failed(errors.New("certificate"), Diagnosis{Kind: "authority", Lasting: true, Remedy: "trust it"})
				} else {
					s.Heard()
				}
				end()
			}
			time.Sleep(20 * time.Second)
		}
		t.Logf("%d lines in an hour", lines.Len())
		if lines.Len() > 30 {
			t.Errorf("%d lines in an hour", lines.Len())
		}
	})
}

// What a failure says is told as it is, but for what the message says anyway.
func TestWhatAFailureSaysIsToldOnce(t *testing.T) {
	for said, want := range map[string]struct {
		why  Diagnosis
		tell string
	}{
		"call: odd; and more": {Diagnosis{}, "call: odd; and more"},
		"call: refused; nothing listens there; check that it runs": {brief, "call: refused"},
		"call: refused; check that it runs":                        {brief, "call: refused"},
	} {
		synctest.Test(t, func(t *testing.T) {
			core, lines := observer.New(zapcore.ErrorLevel)
			s := &Silence{Name: "It", Log: zap.New(core), After: time.Second, Mute: time.Minute}
			defer s.Watch()()
			s.Failed(errors.New(said), want.why)
			time.Sleep(2 * time.Second)
			if told := lines.All(); len(told) != 1 || told[0].ContextMap()["error"] != want.tell {
				t.Errorf("%q is told as %v", said, told)
			}
		})
	}
}
