package threatmatchtest

import "strconv"

// shared appends an object that many items may bring. Its bytes depend on the seed and its identity only.
func (p *pen) shared(k kind, index int) {
	d := p.draw(k, index)
	created := p.w.start - int64(30+d.below(700))*day + int64(d.below(86_400_000))*1000
	modified := created + int64(d.below(20*86_400))*1_000_000
	if k == actor {
		modified = p.w.date(profiles, index)
	}
	if k == marking {
		p.marking(index, created)
		return
	}
	p.open(k, index, created, modified)
	switch k {
	case actor:
		p.actor(&d, index, created)
	case malware:
		p.malware(&d, index, created)
	case attackPattern:
		p.attackPattern(&d, index)
	case tool:
		p.name(&d, 2)
		p.str(`"`)
		p.description(&d, 1+d.below(3))
		p.choices(&d, `,"tool_types":[`, toolTypes)
	case sector:
		p.name(&d, 2)
		p.str(`","identity_class":"class","description":"`)
		p.words(&d, 12)
		p.choices(&d, `.","sectors":[`, sectors)
		p.choices(&d, `,"labels":[`, noise)
	case vendor:
		p.name(&d, 1)
		p.str(` intelligence","identity_class":"organization","contact_information":"`)
		p.words(&d, 4)
		p.str(`"`)
	case location:
		p.location(&d, index)
	case vulnerability:
		p.vulnerability(&d, index)
	case campaign:
		p.name(&d, 2)
		p.str(`"`)
		p.description(&d, 2)
		p.time(`,"first_seen":`, created)
		p.time(`,"last_seen":`, created+int64(d.below(300))*day)
		p.str(`,"objective":"`)
		p.words(&d, 8)
		p.str(`"`)
	}
	p.close(&d)
}

func (p *pen) actor(d *draw, index int, created int64) {
	p.str(`,"name":"Actor `)
	p.int(index)
	p.str(` `)
	p.words(d, 1)
	p.str(`","aliases":["UNC`)
	p.int(1000 + index)
	p.str(`","APT-`)
	p.int(index)
	p.str(`"]`)
	p.description(d, 5+d.below(6))
	p.time(`,"first_seen":`, created-int64(d.below(2000))*day)
	p.str(`,"goals":["`)
	p.words(d, 3)
	p.str(`"],"resource_level":"`)
	p.choice(d, resources)
	p.str(`","primary_motivation":"`)
	p.choice(d, motivations)
	p.str(`"`)
	p.choices(d, `,"labels":[`, noise)
	if p.typeOf(actor, index) == "threat-actor" {
		p.choices(d, `,"threat_actor_types":[`, actorTypes)
		if d.one(2) {
			p.str(`,"sophistication":"expert","roles":["agent"]`)
		}
	}
	p.source("intelligence/profiles/view/", firstID[profiles]+int64(index))
}

func (p *pen) malware(d *draw, index int, created int64) {
	p.name(d, 1)
	p.str(` `)
	p.int(index)
	p.str(`"`)
	p.description(d, 2+d.below(4))
	p.str(`,"is_family":true`)
	p.choices(d, `,"malware_types":[`, malwareTypes)
	p.choices(d, `,"labels":[`, noise)
	if d.one(2) {
		p.phases(d)
	}
	if d.one(2) {
		p.time(`,"first_seen":`, created)
	}
	if d.one(5) {
		// Not a property of malware in STIX; the API sends it all the same.
		p.str(`,"object_refs":[`)
		p.ref(attackPattern, d.below(p.w.pool[attackPattern]))
		p.str(`,`)
		if d.one(20) {
			p.ref(nowhere, index)
		} else {
			p.ref(tool, d.below(p.w.pool[tool]))
		}
		p.str(`]`)
	}
}

func (p *pen) attackPattern(d *draw, index int) {
	p.name(d, 2)
	p.str(`"`)
	p.description(d, 2+d.below(4))
	number := 1000 + index
	p.str(`,"external_references":[{"source_name":"mitre-attack","external_id":"T`)
	p.int(number)
	p.str(`","url":"https://attack.mitre.org/techniques/T`)
	p.int(number)
	p.str(`"},{"source_name":"`)
	p.words(d, 2)
	p.str(`","description":"`)
	p.words(d, 8)
	p.str(`"}],"x_mitre_id":"T`)
	p.int(number)
	p.str(`"`)
	p.phases(d)
}

func (p *pen) location(d *draw, index int) {
	p.name(d, 1)
	p.str(` `)
	p.int(index)
	if index%10 != 9 {
		p.str(`","country":"`)
		p.str(country[index%len(country)])
	}
	p.str(`","region":"`)
	p.choice(d, regions)
	p.str(`"`)
}

func (p *pen) vulnerability(d *draw, index int) {
	p.str(`,"name":"CVE-`)
	p.cve(index)
	p.str(`","description":"`)
	p.words(d, 10+d.below(30))
	p.str(`.","external_references":[{"source_name":"cve","external_id":"CVE-`)
	p.cve(index)
	p.str(`"}],"x_threatmatch_cvss":`)
	p.b = strconv.AppendFloat(p.b, float64(10+d.below(90))/10, 'f', 1, 64)
}

func (p *pen) cve(index int) {
	p.int(2015 + index%12)
	p.str("-")
	p.int(1000 + index)
}

func (p *pen) marking(index int, created int64) {
	d := p.draw(marking, index)
	p.str(`{"type":"marking-definition","spec_version":"2.1","id":`)
	p.ref(marking, index)
	p.time(`,"created":`, created)
	p.str(`,"definition_type":"statement","name":"Statement `)
	p.int(index)
	p.str(`","definition":{"statement":"© `)
	p.words(&d, 10)
	p.str(`"}}`)
}
