package twins

import (
	"strings"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// ThreatMatchSettings say what the API serves, and how.
type ThreatMatchSettings struct {
	Intelligence Intelligence
	Latency      time.Duration // of each answer
}

// Asked is when calls of one kind were answered.
type Asked struct {
	Calls       int
	First, Last time.Time // answers began
}

// threatMatch is the API, and when it was asked for what.
type threatMatch struct {
	*site
	mu           sync.Mutex
	calls        int
	items, pages Asked
}

func startThreatMatch(s ThreatMatchSettings) (*threatMatch, error) {
	data, err := s.Intelligence.data()
	if err != nil {
		return nil, err
	}
	t := new(threatMatch)
	t.site, err = newSite(threatmatchtest.New(threatmatchtest.Config{
		Data: data, Latency: s.Latency, NoGzip: true, KeepCalls: 1, OnCall: t.note}))
	return t, err
}

func (t *threatMatch) note(c threatmatchtest.Call) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls++
	of := &t.items
	switch {
	case c.Path == "/api/taxii/objects":
		of = &t.pages
	case !strings.HasPrefix(c.Path, "/api/stix/"):
		return
	}
	if of.Calls == 0 {
		of.First = now
	}
	of.Calls++
	of.Last = now
}

func (t *threatMatch) account() Account {
	return Account{Items: t.items, Pages: t.pages, Calls: t.calls}
}
