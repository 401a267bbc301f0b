package threatmatchtest

import "math/bits"

// draw is a sequence of random numbers (splitmix64): small, fast, and a function of its start alone.
type draw struct{ state uint64 }

func (d *draw) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mix(d.state)
}

// below returns a number from 0 to n-1.
func (d *draw) below(n int) int {
	hi, _ := bits.Mul64(d.next(), uint64(n))
	return int(hi)
}

// one tells whether a chance of 1 in n came true.
func (d *draw) one(n int) bool { return d.below(n) == 0 }

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is a random number that belongs to the index-th thing of a kind k.
func hash(seed, k, index uint64) uint64 {
	return mix(mix(seed+k*0xd6e8feb86659fd93+1) + index*0x9e3779b97f4a7c15)
}

const hexDigits = "0123456789abcdef"

// appendUUID appends the UUID, marked as version 5, that belongs to a hash.
func appendUUID(b []byte, h uint64) []byte {
	hi := h&^0xf000 | 0x5000
	lo := mix(h^0xa0761d6478bd642f)&^(3<<62) | 2<<62
	var u [36]byte
	at := 0
	for shift := 60; shift >= 0; shift -= 4 {
		u[at] = hexDigits[hi>>shift&15]
		at++
		if shift == 32 || shift == 16 {
			u[at] = '-'
			at++
		}
	}
	u[at] = '-'
	at++
	for shift := 60; shift >= 0; shift -= 4 {
		u[at] = hexDigits[lo>>shift&15]
		at++
		if shift == 48 {
			u[at] = '-'
			at++
		}
	}
	return append(b, u[:]...)
}

// day is a day in µs.
const day = 24 * 60 * 60 * 1_000_000

// appendTime appends a time, given in µs since 1970, as ISO 8601 with three to six digits of fraction. The standard
// library takes ten times as long.
func appendTime(b []byte, us int64) []byte {
	days := us / day
	rest := us % day
	if rest < 0 {
		rest += day
		days--
	}
	// Days since 0000-03-01 make leap days fall at a year's end (H. Hinnant's civil_from_days).
	z := days + 719468
	era := z / 146097
	doe := z % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d := doy - (153*mp+2)/5 + 1
	m := mp + 3
	y := yoe + era*400
	if m > 12 {
		m -= 12
		y++
	}
	s := rest / 1_000_000
	t := [27]byte{4: '-', 7: '-', 10: 'T', 13: ':', 16: ':', 19: '.'}
	digits(t[0:4], y)
	digits(t[5:7], m)
	digits(t[8:10], d)
	digits(t[11:13], s/3600)
	digits(t[14:16], s/60%60)
	digits(t[17:19], s%60)
	digits(t[20:26], rest%1_000_000)
	end := 26
	for end > 23 && t[end-1] == '0' {
		end--
	}
	t[end] = 'Z'
	return append(b, t[:end+1]...)
}

// digits fills to with the last digits of n.
func digits(to []byte, n int64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}
