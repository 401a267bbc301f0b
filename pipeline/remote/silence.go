package remote

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// toldAgain bounds how often a cause that changes is told of, and a silence that comes again and again.
	toldAgain = 10 * time.Minute
	// moment is how long what seems to last may be that of something that starts.
	moment = 2 * time.Second
	// forgotten is when a failure says nothing any more of the next call, if nobody called meanwhile.
	forgotten = 2 * time.Minute
)

// AnswersAgain ends the line, which begins with the system's name, that tells that a silence is over.
const AnswersAgain = " answers again; the connector goes on"

// Silence tells an operator, at the level of errors, that a remote system does not answer: at once where waiting will hardly mend
// it, else when it has lasted; again when the cause has changed; and when it is over. All calls of the system share it.
type Silence struct {
	// Name is what the system is called.
	Name string
	Log  *zap.Logger
	// After is how long failures last that may pass, and Mute how long nothing at all is heard, before it is told of.
	After, Mute time.Duration
	// Settings say how the system is reached.
	Settings Settings
	// Fields are added to what is told.
	Fields []zap.Field

	mu      sync.Mutex
	waiting int       // calls under way
	idle    time.Time // since when there are none
	began   time.Time // of the silence: a call, or the last answer since; zero while nobody waits and nothing has failed
	failed  int       // attempts in a row
	last    string    // what the last of them said, "" for none
	why     Diagnosis // of the last one
	told    time.Time // when it was last told of, zero for not at all
	toldWhy string    // the kind that was told
	timer   *time.Timer
	// lastTold and lastWhy are of the last time that a silence was told of, also of one that is over.
	lastTold time.Time
	lastWhy  string
}

// Watch looks after a call that begins, until its end.
func (s *Silence) Watch() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 && s.told.IsZero() && time.Since(s.idle) > forgotten {
		s.forget()
	}
	s.begin()
	if s.waiting++; s.waiting == 1 {
		s.comeBack(max(s.due(), s.After)) // also after failures: the call is to have its chance
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting--; s.waiting == 0 {
			s.rest()
		}
	}
}

// Told reports whether a silence was told of that is not over.
func (s *Silence) Told() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.told.IsZero()
}

// HoldsUp reports whether calls wait for the end of a silence that was told of.
func (s *Silence) HoldsUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.told.IsZero() && s.waiting > 0
}

// Failed notes that an attempt has failed as if nobody had answered, or nobody who is of use.
func (s *Silence) Failed(err error, why Diagnosis) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.failed, s.last, s.why = s.failed+1, err.Error(), why // its text as it is now: who made it may add to it
	s.look()
}

// Heard notes an answer.
func (s *Silence) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told.IsZero() {
		s.Log.Error(s.Name+AnswersAgain, zap.Duration("after", time.Since(s.began)))
	}
	s.forget()
	if s.waiting > 0 {
		s.begin()
		s.comeBack(s.due())
	} else {
		s.rest()
	}
}

func (s *Silence) forget() {
	s.began, s.failed, s.last, s.why, s.told, s.toldWhy = time.Time{}, 0, "", Diagnosis{}, time.Time{}, ""
}

func (s *Silence) begin() {
	if s.began.IsZero() {
		s.began = time.Now()
	}
}

// rest is for when nobody waits: only a failure is remembered then, to be told of when it is met again.
func (s *Silence) rest() {
	s.idle = time.Now()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.last == "" && s.told.IsZero() {
		s.began = time.Time{}
	}
}

// look tells what is due, and comes back when more may be.
func (s *Silence) look() {
	wait := s.due()
	if wait <= 0 {
		s.tell()
		wait = toldAgain
	}
	s.comeBack(wait)
}

// comeBack lets what is due be told as long as somebody waits.
func (s *Silence) comeBack(wait time.Duration) {
	switch {
	case s.waiting == 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.waiting > 0 {
				s.look()
			}
		})
	default:
		s.timer.Reset(wait)
	}
}

// due is for how long there is nothing to tell yet.
func (s *Silence) due() time.Duration {
	if !s.told.IsZero() {
		if s.cause().Kind == s.toldWhy {
			return toldAgain
		}
		return toldAgain - time.Since(s.told)
	}
	wait := s.Mute
	switch {
	case s.why.Lasting && s.failed > 1:
		wait = moment
	case s.last != "" && !s.why.Slow:
		wait = min(s.After, s.Mute)
	}
	wait -= time.Since(s.began)
	if !s.lastTold.IsZero() && s.lastWhy == s.cause().Kind {
		wait = max(wait, toldAgain-time.Since(s.lastTold))
	}
	return wait
}

// cause is why nothing is heard, as far as that is known.
func (s *Silence) cause() Diagnosis {
	if s.last == "" {
		return Mute(s.Settings)
	}
	return s.why
}

func (s *Silence) tell() {
	why := s.cause()
	message := s.Name + " does not answer; the connector waits, and goes on by itself when it does"
	if why.Lasting {
		message = s.Name + " cannot be used as it is set up"
	}
	fields := append([]zap.Field{zap.Duration("for", time.Since(s.began))}, s.Fields...)
	if advice := why.String(); advice != "" {
		message += ": " + advice
	}
	if s.last != "" {
		fields = append(fields, zap.String("error", why.CutFrom(s.last)))
	}
	s.Log.Error(message, fields...)
	s.told, s.toldWhy = time.Now(), why.Kind
	s.lastTold, s.lastWhy = s.told, s.toldWhy
}
