package check

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// clockTolerance is how far this machine's clock may be off: beyond that what changed since the last run is asked for with a
// wrong date, and tokens expire early or late.
const clockTolerance = time.Minute

// clockWatch carries requests and learns from the answers' Date headers how the server's clock differs from this machine's.
type clockWatch struct {
	next http.RoundTripper

	mu   sync.Mutex
	told bool
	// least and most are the bounds between which the server's clock is ahead of this one. They are a second apart at least,
	// for the header has no fraction, and close in with each answer.
	least, most time.Duration
}

// RoundTrip carries and learns.
func (c *clockWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	received := time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.note(date.Sub(received), date.Add(time.Second).Sub(sent))
	}
	return resp, nil
}

func (c *clockWatch) note(least, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told {
		c.told, c.least, c.most = true, least, most
		return
	}
	c.least, c.most = max(c.least, least), min(c.most, most)
}

// CloseIdleConnections drops the connections that no request uses.
func (c *clockWatch) CloseIdleConnections() {
	if idle, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// compare is the check of the clocks; server is whose clock the other is.
func (c *clockWatch) compare(server string) step {
	return func(context.Context) (string, string, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		ahead := (c.least + c.most) / 2
		off := ahead.Abs().Round(time.Second)
		way := "behind"
		if ahead < 0 {
			way = "ahead of"
		}
		switch {
		case !c.told:
			return "", "", &unseen{why: "not known: no answer has said what time it is"}
		case c.least > clockTolerance || c.most < -clockTolerance:
			return "", "", wrong("set this machine's clock (by NTP, for one), or have that of "+server+" set",
				"this machine's clock is %s %s that of %s", off, way, server)
		case off <= 2*time.Second:
			return fmt.Sprintf("the same as that of %s", server), "", nil
		}
		return fmt.Sprintf("this machine's is %s %s that of %s", off, way, server), "", nil
	}
}
