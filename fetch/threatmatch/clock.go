package threatmatch

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock knows by how much the local clock was ahead of the server's.
type clock struct {
	now   func() time.Time
	ahead atomic.Int64
}

// observe learns from a server's Date header. Only good answers are to be believed: an error page may come from a
// proxy with a clock of its own.
func (c *clock) observe(h http.Header) {
	date, ok := serverDate(h)
	if !ok {
		return
	}
	ahead := int64(c.now().Sub(date))
	for {
		known := c.ahead.Load()
		if ahead <= known || c.ahead.CompareAndSwap(known, ahead) {
			return
		}
	}
}

// serverNow is the server's time when it wrote h: the local clock where the header's second allows it, since a header
// has no fraction and a token may live for one second only.
func (c *clock) serverNow(h http.Header) time.Time {
	local := c.now()
	date, ok := serverDate(h)
	if !ok {
		return local
	}
	if local.Before(date) {
		return date
	}
	if last := date.Add(time.Second - time.Millisecond); local.After(last) {
		return last
	}
	return local
}

func serverDate(h http.Header) (time.Time, bool) {
	date, err := http.ParseTime(h.Get("Date"))
	return date, err == nil
}

// clockMargin is taken off [Client.Now]: the Date header has no fraction.
const clockMargin = time.Second
