package rabbitmq

import "time"

// latencyBounds are the upper bounds of the buckets of a [Latency]: from a broker on the same machine to the end of the
// patience with one that does not confirm.
var latencyBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute,
}

// Latency is how long confirms took, counted in buckets. It is a value: two of the same figures are equal.
type Latency struct {
	// Sum is of all that were counted.
	Sum    time.Duration
	counts [len(latencyBounds) + 1]uint64 // by bucket; the last one has no bound
}

// Count is how many confirms were counted.
func (l Latency) Count() (n uint64) {
	for _, c := range l.counts {
		n += c
	}
	return n
}

// Buckets tells of each bound, in seconds, how many confirms took no longer. What took longer than all is in Count only.
func (l Latency) Buckets() map[float64]uint64 {
	buckets, n := make(map[float64]uint64, len(latencyBounds)), uint64(0)
	for i, bound := range latencyBounds {
		n += l.counts[i]
		buckets[bound.Seconds()] = n
	}
	return buckets
}

// Plus is both together.
func (l Latency) Plus(other Latency) Latency {
	l.Sum += other.Sum
	for i, n := range other.counts {
		l.counts[i] += n
	}
	return l
}

func (l *Latency) observe(d time.Duration) {
	l.Sum += d
	i := 0
	for i < len(latencyBounds) && d > latencyBounds[i] {
		i++
	}
	l.counts[i]++
}
