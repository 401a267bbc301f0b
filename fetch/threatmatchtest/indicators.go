package threatmatchtest

import "strconv"

// indicatorRoom is somewhat above what an indicator takes in bytes.
const indicatorRoom = 1400

// indicator appends indicator i.
func (p *pen) indicator(i int) {
	d := p.draw(indicator, i)
	modified := p.w.modified(i / p.w.tie)
	p.open(indicator, i, modified-int64(d.below(48))*3600*1_000_000, modified)
	p.str(`,"name":"`)
	at := len(p.b)
	pattern := p.observable(&d)
	var value [128]byte
	n := copy(value[:], p.b[at:])
	p.str(`"`)
	p.str(`,"description":"`)
	if d.one(4) {
		p.block(&d)
	} else {
		p.str(`<p>`)
		p.words(&d, 24+d.below(24))
		p.str(`.</p>`)
	}
	p.str(`","indicator_types":["malicious-activity"],"pattern":"[`)
	p.str(pattern)
	p.str(` = '`)
	p.b = append(p.b, value[:n]...)
	p.str(`']","pattern_type":"stix","pattern_version":"2.1"`)
	p.time(`,"valid_from":`, modified)
	p.time(`,"valid_until":`, modified+90*day)
	p.choices(&d, `,"labels":["malicious-activity",`, noise)
	p.str(`,"confidence":`)
	p.int(40 + d.below(60))
	if d.one(3) {
		p.phases(&d)
	}
	p.source("iocs/", int64(i))
	p.close(&d)
}

// observable appends a value that is to be found and returns the left side of the comparison with it.
func (p *pen) observable(d *draw) string {
	switch d.below(10) {
	case 0, 1, 2:
		for part := range 4 {
			if part > 0 {
				p.str(`.`)
			}
			p.int(1 + d.below(254))
		}
		return "ipv4-addr:value"
	case 3:
		p.str(`2001:db8:`)
		p.b = strconv.AppendUint(p.b, d.next()&0xffff, 16)
		p.str(`::`)
		p.b = strconv.AppendUint(p.b, d.next()&0xffff, 16)
		return "ipv6-addr:value"
	case 4, 5:
		p.host(d)
		return "domain-name:value"
	case 6:
		p.str(`https://`)
		p.host(d)
		p.str(`/a?id=`)
		p.int(d.below(100_000))
		p.str(`&v=%41`)
		return "url:value"
	case 7:
		p.hex(d, 4)
		return "file:hashes.'SHA-256'"
	case 8:
		p.hex(d, 2)
		return "file:hashes.MD5"
	default:
		p.str(words[d.below(64)])
		p.str(`@`)
		p.host(d)
		return "email-addr:value"
	}
}

func (p *pen) host(d *draw) {
	n := d.next()
	p.str(words[n&63])
	p.str(`-`)
	p.b = strconv.AppendUint(p.b, n>>44, 36)
	p.str(`.example.`)
	p.str([...]string{"org", "net", "com", "info"}[n>>6&3])
}

// hex appends groups of sixteen hexadecimal digits.
func (p *pen) hex(d *draw, groups int) {
	for range groups {
		n := d.next()
		for shift := 60; shift >= 0; shift -= 4 {
			p.b = append(p.b, hexDigits[n>>shift&15])
		}
	}
}
