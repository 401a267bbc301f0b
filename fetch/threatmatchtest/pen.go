package threatmatchtest

import "strconv"

// pen writes STIX objects one behind the other.
type pen struct {
	w *world
	b []byte
}

func (p *pen) str(s string) { p.b = append(p.b, s...) }
func (p *pen) int(n int)    { p.b = strconv.AppendInt(p.b, int64(n), 10) }

func (p *pen) time(key string, us int64) {
	p.str(key)
	p.b = appendTime(append(p.b, '"'), us)
	p.b = append(p.b, '"')
}

// draw starts the random numbers that belong to a thing.
func (p *pen) draw(k kind, index int) draw { return draw{hash(p.w.seed, uint64(k), uint64(index))} }

// typeOf is the STIX type of a thing.
func (p *pen) typeOf(k kind, index int) string {
	switch k {
	case actor:
		if hash(p.w.seed, uint64(actor), uint64(index))>>32%3 == 0 {
			return "intrusion-set"
		}
		return "threat-actor"
	case malware:
		return "malware"
	case attackPattern:
		return "attack-pattern"
	case tool:
		return "tool"
	case sector, vendor:
		return "identity"
	case location:
		return "location"
	case vulnerability:
		return "vulnerability"
	case campaign:
		return "campaign"
	case marking:
		return "marking-definition"
	case indicator:
		return "indicator"
	case alertItem, reportItem:
		return "report"
	case nowhere:
		return "malware"
	}
	return "relationship"
}

// ref appends the quoted id of a thing.
func (p *pen) ref(k kind, index int) {
	p.str(`"`)
	p.str(p.typeOf(k, index))
	p.str(`--`)
	p.b = append(appendUUID(p.b, hash(p.w.seed^idSalt, uint64(k), uint64(index))), '"')
}

// idSalt keeps the numbers behind the ids apart from those behind the content.
const idSalt = 0x5bd1e9955bd1e995

func (p *pen) choice(d *draw, of []string) { p.str(of[d.below(len(of))]) }

// choices appends a list of one to three strings behind a key.
func (p *pen) choices(d *draw, key string, of []string) {
	p.str(key)
	first := d.below(len(of))
	for i := range 1 + d.below(3) {
		if i > 0 {
			p.str(`,`)
		}
		p.str(`"`)
		p.str(of[(first+i)%len(of)])
		p.str(`"`)
	}
	p.str(`]`)
}
