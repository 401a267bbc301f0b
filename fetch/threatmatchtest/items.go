package threatmatchtest

// itemRoom is what most items take in bytes.
const itemRoom = 44 << 10

// member is an object that an item brings.
type member struct {
	kind  kind
	index int
}

// item is one under way.
type item struct {
	pen
	draw     draw
	set      dataset
	number   int
	date     int64
	members  []member // in the order of the answer, the main object first
	relation int      // relations written
	refs     []member // what a report refers to
}

// relationRoom is how many relations an item may have: what their indices are spaced by.
const relationRoom = 64

// item returns the array of objects of item number i of a dataset.
func (w *world) item(set dataset, i int) []byte {
	it := item{
		pen: pen{w: w, b: make([]byte, 0, itemRoom)},
		set: set, number: i, date: w.date(set, i),
		members: make([]member, 0, 40),
	}
	it.draw = it.pen.draw(profileItem+kind(set), i)
	it.str("[")
	if set == profiles {
		it.profile()
	} else {
		it.alert()
	}
	return append(it.b, ']')
}

// profile writes an actor with all that it relates to.
func (it *item) profile() {
	main := member{actor, it.number}
	it.members = append(it.members, main)
	it.bring(malware, 4)
	it.bring(attackPattern, 4)
	it.bring(sector, 2)
	it.bring(location, 2)
	it.bring(tool, 1)
	it.bring(vulnerability, 2)
	it.extras()
	// The API gives no order: relations stand before what they relate, too.
	early := it.draw.below(4)
	for i, m := range it.members[1:] {
		if i < early {
			it.relate(main, m)
		}
	}
	for _, m := range it.members {
		it.object(m)
	}
	for i, m := range it.members[1:] {
		if i >= early {
			it.relate(main, m)
		}
	}
	it.beyond(main)
}

// alert writes a report with what it is about.
func (it *item) alert() {
	n := it.draw.below(2) + 1
	if it.w.pool[actor] > 0 && it.draw.one(2) {
		it.bring(actor, 1)
	}
	if it.draw.one(6) {
		it.bring(campaign, 1)
	}
	it.bring(malware, n)
	it.bring(attackPattern, 2)
	it.bring(vulnerability, n)
	it.bring(sector, 1)
	it.bring(location, 1)
	it.extras()
	it.relations()
	it.report()
	for _, m := range it.members {
		it.object(m)
	}
}

// relations writes the relations of an alert: few, since it is the report that holds it together.
func (it *item) relations() {
	var subject, second member
	for _, m := range it.members {
		switch {
		case m.kind != actor && m.kind != malware && m.kind != campaign:
		case subject == (member{}):
			subject = m
		case second == (member{}):
			second = m
		}
	}
	related := 0
	for _, m := range it.members {
		if m != subject && m.kind <= vulnerability && related < 3 {
			related++
			it.relate(subject, m)
		}
	}
	if second.kind == malware {
		it.relate(second, it.some(vulnerability))
	}
	if it.draw.one(4) {
		it.beyond(subject)
	}
}

// some picks one of a kind; low indices are the popular ones.
func (it *item) some(k kind) member {
	n := it.w.pool[k]
	return member{k, min(it.draw.below(n), it.draw.below(n))}
}

// bring makes n objects of a kind members, or fewer when one is picked twice.
func (it *item) bring(k kind, n int) {
next:
	for range n {
		m := it.some(k)
		for _, has := range it.members {
			if has == m {
				continue next
			}
		}
		it.members = append(it.members, m)
	}
}

// extras makes authors and markings members of some items: others refer to them without bringing them.
func (it *item) extras() {
	if it.draw.one(4) {
		it.bring(vendor, 1)
	}
	if it.draw.one(8) {
		it.bring(marking, 1)
	}
}

// object writes a member.
func (it *item) object(m member) {
	it.comma()
	it.shared(m.kind, m.index)
}

func (it *item) comma() {
	if len(it.b) > 1 {
		it.str(",")
	}
}

// beyond writes relations that lead out of the item: to what another item brings, and now and then nowhere.
func (it *item) beyond(from member) {
	if n := it.w.pool[actor]; n > 1 && it.draw.one(2) {
		if to := (member{actor, it.draw.below(n)}); to != from {
			it.write("associated_content", from, to)
		}
	}
	if it.draw.one(4) {
		it.write("uses", from, it.some(malware))
	}
	if it.draw.one(40) {
		it.write("uses", from, member{nowhere, it.draw.below(1 << 30)})
	}
}

// relate writes the relation that two members have by their kinds.
func (it *item) relate(from, to member) {
	name := "uses"
	switch to.kind {
	case actor, campaign:
		name = "associated_content"
	case malware:
		if it.draw.one(6) {
			name = "associated_content"
		}
	case sector:
		name = "targets"
		if it.draw.one(2) {
			name = "associated_content"
		}
	case location:
		name = "targets"
		if it.draw.one(6) && from.kind == actor {
			name = "originates-from"
		}
	case vulnerability:
		switch {
		case from.kind == malware && it.draw.one(2):
			name = "exploits"
		case it.draw.one(2):
			name = "associated_content"
		case it.draw.one(3):
			name = "targets"
		}
	case vendor, marking:
		return
	}
	it.write(name, from, to)
}

func (it *item) write(name string, from, to member) {
	if it.relation == relationRoom {
		return
	}
	k, index := profileRelation+kind(it.set), it.number*relationRoom+it.relation
	it.relation++
	d := it.pen.draw(k, index)
	it.comma()
	modified := it.date - int64(d.below(100*24))*3600*1_000_000
	it.open(k, index, modified-int64(d.below(30))*day, modified)
	it.str(`,"relationship_type":"`)
	it.str(name)
	it.str(`","source_ref":`)
	it.ref(from.kind, from.index)
	it.str(`,"target_ref":`)
	it.ref(to.kind, to.index)
	if d.one(2) {
		it.str(`,"description":"<p>`)
		it.words(&d, 12+d.below(16))
		it.str(`.</p>"`)
	}
	if d.one(6) {
		it.time(`,"start_time":`, modified-60*day)
	}
	it.close(&d)
	it.refs = append(it.refs, member{k, index})
}

// report writes the report of an alert, which refers to all that the item brings.
func (it *item) report() {
	k := profileItem + kind(it.set)
	d := it.pen.draw(k, it.number)
	d.state ^= idSalt // apart from the numbers that chose the members
	it.comma()
	it.open(k, it.number, it.date-3600*1_000_000, it.date)
	it.str(`,"name":"`)
	if it.set == alerts {
		it.str("Alert ")
	} else {
		it.str("Report ")
	}
	it.int(it.number)
	it.str(": ")
	it.words(&d, 5+d.below(4))
	it.str(`"`)
	it.description(&d, 8+d.below(12))
	it.str(`,"report_types":["threat-report"]`)
	it.time(`,"published":`, it.date-3600*1_000_000)
	it.str(`,"object_refs":[`)
	for _, list := range [][]member{it.members, it.refs} {
		for _, m := range list {
			it.ref(m.kind, m.index)
			it.str(`,`)
		}
	}
	if d.one(10) {
		it.ref(campaign, d.below(it.w.pool[campaign]))
		it.str(`,`)
	}
	if d.one(40) {
		it.ref(nowhere, d.below(1<<30))
		it.str(`,`)
	}
	it.b = it.b[:len(it.b)-1]
	it.str(`]`)
	it.choices(&d, `,"labels":["alert",`, noise)
	path := "intelligence/alerts/view/"
	if it.set == reports {
		path = "intelligence/reports/view/"
	}
	it.source(path, firstID[it.set]+int64(it.number))
	it.close(&d)
}
