package threatmatchtest

import "strconv"

// open begins an object.
func (p *pen) open(k kind, index int, created, modified int64) {
	p.str(`{"type":"`)
	p.str(p.typeOf(k, index))
	p.str(`","spec_version":"2.1","id":`)
	p.ref(k, index)
	p.time(`,"created":`, created)
	p.time(`,"modified":`, modified)
}

// close ends an object with what any may have: an author, markings, and a number that no float holds.
func (p *pen) close(d *draw) {
	luck := d.next()
	if luck&3 == 0 {
		p.str(`,"created_by_ref":`)
		p.ref(vendor, int(luck>>2&15)%p.w.pool[vendor])
	}
	switch luck >> 8 & 15 {
	case 0, 1, 2, 3:
		p.str(`,"object_marking_refs":["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"]`) // TLP:GREEN
	case 4, 5:
		p.str(`,"object_marking_refs":["marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"]`) // TLP:AMBER
	case 6:
		p.str(`,"object_marking_refs":["marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",`)
		p.ref(marking, int(luck>>12&15)%p.w.pool[marking])
		p.str(`]`)
	}
	if luck>>16&63 == 0 {
		p.str(`,"x_threatmatch_serial":`)
		p.b = strconv.AppendUint(p.b, luck|1<<60, 10)
	}
	p.str(`}`)
}

// name appends a name of n words behind ,"name":" and leaves the string open.
func (p *pen) name(d *draw, n int) {
	p.str(`,"name":"`)
	p.words(d, n)
}

func (p *pen) description(d *draw, blocks int) {
	p.str(`,"description":"`)
	p.html(d, blocks)
	p.str(`"`)
}

// phases appends kill chain phases.
func (p *pen) phases(d *draw) {
	p.str(`,"kill_chain_phases":[{"kill_chain_name":"mitre-attack","phase_name":"`)
	p.choice(d, tactics)
	if d.one(3) {
		p.str(`"},{"kill_chain_name":"lockheed-martin-cyber-kill-chain","phase_name":"`)
		p.choice(d, stages)
	}
	p.str(`"}]`)
}

// source appends an external reference of the portal itself.
func (p *pen) source(path string, id int64) {
	p.str(`,"external_references":[{"source_name":"ThreatMatch","url":"https://eu.threatmatch.com/app/`)
	p.str(path)
	p.b = strconv.AppendInt(p.b, id, 10)
	p.str(`"}]`)
}

var (
	tactics = []string{
		"reconnaissance", "resource-development", "initial-access", "execution", "persistence",
		"privilege-escalation", "defense-evasion", "credential-access", "discovery", "lateral-movement", "collection",
		"command-and-control", "exfiltration", "impact",
	}
	stages       = []string{"reconnaissance", "weaponization", "delivery", "exploitation", "installation", "actions-on-objectives"}
	malwareTypes = []string{"backdoor", "trojan", "rat", "ransomware", "dropper", "keylogger", "wiper", "spyware", "bot"}
	toolTypes    = []string{"remote-access", "credential-exploitation", "network-capture", "vulnerability-scanning"}
	actorTypes   = []string{"nation-state", "crime-syndicate", "hacker", "insider-disgruntled", "activist", "spy"}
	motivations  = []string{"organizational-gain", "ideology", "personal-gain", "dominance", "revenge", "notoriety"}
	resources    = []string{"individual", "club", "team", "organization", "government"}
	sectors      = []string{
		"financial-services", "government", "energy", "healthcare", "telecommunications", "defence", "technology",
		"transportation", "education", "manufacturing", "retail", "non-profit",
	}
	noise   = []string{"threatmatch", "profile", "rat", "trojan", "sector", "malicious-activity", "crimeware", "apt"}
	regions = []string{"northern-europe", "western-europe", "eastern-asia", "south-america", "northern-america", "middle-east"}
	country = []string{
		"GB", "US", "DE", "FR", "UA", "RU", "CN", "IR", "KP", "KR", "JP", "IN", "BR", "MX", "IL", "AE", "SA", "TR", "PL", "EE", "LV",
		"LT", "SE", "NO", "FI", "NL", "BE", "ES", "IT", "CH",
	}
)
