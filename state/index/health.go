package index

import "time"

// retryAfter is the pause before a disk that failed is tried again.
const retryAfter = 30 * time.Second

// health is what is known about the disk. Guarded by Index.mu.
type health struct {
	failing bool // the last write failed: records live in memory only
	retryAt time.Time
	report  error // not yet told to the caller
	told    bool  // since the disk last worked

	unmerged bool      // the last merge failed
	mergeAt  time.Time // when the next may be tried
}

// note keeps an error for the next Flush, unless the caller has heard of the trouble.
func (h *health) note(err error) {
	if err != nil && !h.told {
		h.told = true
		h.report = err
	}
}

func (h *health) fail(err error, now time.Time) {
	h.note(err)
	h.failing = true
	h.retryAt = now.Add(retryAfter)
}

func (h *health) recover() { h.failing, h.told = false, false }

// failMerge also tells the caller once; small tables may go on being written beside it.
func (h *health) failMerge(err error, now time.Time) {
	if !h.unmerged {
		h.note(err)
	}
	h.unmerged = true
	h.mergeAt = now.Add(retryAfter)
}
