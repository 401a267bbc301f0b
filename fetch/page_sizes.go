package fetch

// pageSizes is what the answers of a pass tell of how many indicators a page holds.
type pageSizes struct {
	longest int         // of all pages
	ended   map[int]int // how many pages of each size ended before all was shown
}

// note takes up the size of a page, and whether it is one of its own that ended before all was shown.
func (s *pageSizes) note(size int, ended bool) {
	s.longest = max(s.longest, size)
	if ended {
		if s.ended == nil {
			s.ended = map[int]int{}
		}
		s.ended[size]++
	}
}

// limit is the size at which the API cuts off, as far as that is known: the largest at which it has done so several times. A single
// page that is longer has another reason, such as an API that does not tear a moment apart, and pages of one indicator are what
// trickles in at the end.
func (s *pageSizes) limit() (limit int, known bool) {
	for size, times := range s.ended {
		if times > 1 && size > 1 {
			limit, known = max(limit, size), true
		}
	}
	return limit, known
}

// mayHideMore says whether the page before, which brought nothing beyond its moment, can have been cut off there: it was as
// long as pages get. A single indicator at the very end is not, however eagerly the API promises more.
func (s *pageSizes) mayHideMore(length, before int) bool {
	if limit, known := s.limit(); known && before > limit {
		return false
	}
	return s.mayBeFull(length, before)
}

// mayBeFull says whether the page before can have ended where it did for its size, and not for want of more.
func (s *pageSizes) mayBeFull(length, before int) bool {
	most, known := s.limit()
	if !known {
		most = s.longest
	}
	return before > 0 && before >= most && (length > 0 || before > 1)
}
