package emit

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file is about copies of an object that differ. What becomes of them must depend on the data alone: not on which of
// two answers came first, in which run.

// standing is what decides between the texts of two copies: the greater one has the last word. Whatever else they state adds up.
type standing struct {
	weak     bool
	modified int64 // in microseconds, 0 for a copy without a date, which never follows one that has it
	level    uint8 // of the strictest marking that it states
	digest   uint64
}

// versus compares the versions alone.
func (s standing) versus(t standing) int {
	if s.weak != t.weak {
		if s.weak {
			return -1
		}
		return 1
	}
	return cmp.Compare(s.modified, t.modified)
}

// compare compares copies of whatever version. Of those of one version any will do, as long as it is always the same, and the
// strictest marking goes with it: under another name it could not be added.
func (s standing) compare(t standing) int {
	return cmp.Or(s.versus(t), cmp.Compare(s.level, t.level), cmp.Compare(s.digest, t.digest))
}

func (n *node) standing() standing {
	return standing{n.object.Weak, n.microseconds(), n.object.Stated.Level, n.object.Digest}
}

func standingOf(rec index.Record) standing {
	return standing{rec.Weak, rec.Modified, rec.Stated.Level, rec.Digest}
}

// date gives a copy that is dated far in the future the moment of its arrival instead, so that it does not stand in the way of
// all that come later. The same copy, and others that come after it with such dates, are of the same moment.
func (n *node) date(known standing, arrival bool, now time.Time) {
	if !pipeline.IsFarAhead(n.object.Modified, now) {
		return
	}
	n.arrival = true
	n.object.Modified = now.UTC().Truncate(time.Microsecond)
	if same := known.digest == n.object.Digest && known.digest != 0; known.modified != 0 && (arrival || same) {
		n.object.Modified = time.UnixMicro(known.modified).UTC()
	}
}

// superseded reports whether an object need not be sent, given what was last delivered under its id: the same content, an older
// version, or a copy of the same version that comes after another. In a later run a text of the same version that was not seen
// before is a change. incomplete says that what was sent of this version may lack references that the object here has.
func (o *order) superseded(n *node, rec index.Record, incomplete bool) bool {
	switch v := n.standing().versus(standingOf(rec)); {
	case v < 0:
		return true
	case v > 0:
		return false
	case n.object.Weak && rec.Run != o.run:
		return true // another spelling of a name is no reason to send it again
	case rec.Digest == n.object.Digest:
		return rec.Cut == 0 || rec.Run == o.run && !incomplete
	case rec.Digest == 0:
		return false
	case n.object.Digest == 0:
		return true // it was read back, and may lack something
	case rec.Run == o.run:
		sent := standingOf(rec)
		sent.level = max(sent.level, o.promisedTo(n.key, rec.Modified).Level) // though the broker has not confirmed that yet
		return n.standing().compare(sent) < 0
	}
	_, seen := o.index.Lookup(variantKey(n.object.ID, n.object.Digest))
	return seen
}

// passOver remembers that of two copies of the same version the other one is sent: else each of the two would look like a
// change of the other in every run to come.
func (o *order) passOver(id string, digest uint64) {
	if digest != 0 {
		o.index.Put(variantKey(id, digest), index.Record{Digest: digest, Run: o.run, Seq: 1})
	}
}

// variantKey stands for one content of an object; no id has a line break.
func variantKey(id string, digest uint64) index.Key {
	return index.KeyOf(id + "\n" + strconv.FormatUint(digest, 16))
}

// yield lets a node leave alone what other copies of its version have said, and it does not, or with less weight. told is what
// of that has gone before it.
func (o *order) yield(n *node, said, told pipeline.Stated) {
	if own := n.object.Stated; said.Author > own.Author || said.Level > own.Level {
		if object, sound := o.mapping.yield(n.object, said); sound {
			n.setObject(&object)
			n.altered = true
		} else {
			n.broken = true
		}
	}
	addTo(&n.said, said)
	addTo(&n.told, told)
}

// yieldTo does so for what was delivered of the same version. Where OpenCTI need not hold that, its author is not there to be
// left alone, but how strict its marking was still is known.
func (o *order) yieldTo(n *node, rec index.Record) {
	if n.standing().versus(standingOf(rec)) != 0 {
		return
	}
	told := rec.Stated
	if o.trust.asSent(rec) != believed {
		told = pipeline.Stated{Level: told.Level}
	}
	said := told
	addTo(&said, o.promisedTo(n.key, n.microseconds()))
	o.yield(n, said, told)
}

// yieldToFirst leaves alone what was said before the copy whose place a node takes: one that still waits has said nothing.
func (o *order) yieldToFirst(n *node) {
	if going := o.goingNow(n.key); going != nil {
		if going.standing().versus(n.standing()) == 0 {
			o.yield(n, going.said, going.told)
		}
	} else if rec, found := o.index.Lookup(n.key); found && rec.Filtered == pipeline.Wanted {
		o.yieldTo(n, rec)
	}
}

// yieldToAdded leaves an author alone that was added before a node was placed. A marking is not written into it, which could go after it.
func (o *order) yieldToAdded(n *node) {
	o.yield(n, pipeline.Stated{Author: n.added}, pipeline.Stated{})
}

// addTo adds to what is said of a version what others have said of it.
func addTo(said *pipeline.Stated, others pipeline.Stated) {
	said.Author, said.Level = max(said.Author, others.Author), max(said.Level, others.Level)
	if said.Markings == 0 {
		said.Markings = others.Markings
	}
}

// takeMore lists what a copy that is not sent itself states, and others have not said, or with less weight. Of several authors
// one has the last word, as of texts: isLate sees to it, for nobody knows before it goes whether an author will be there.
func (o *order) takeMore(said pipeline.Stated, n *node, sameVersion bool) (parts []pipeline.Part) {
	own := n.object.Stated
	if own.Name != said.Name {
		return nil // it would bring back another name, or whatever else identifies the object
	}
	if own.Labels != 0 && own.Labels != said.Labels {
		parts = append(parts, pipeline.Labels)
	}
	if own.References != 0 && own.References != said.References {
		parts = append(parts, pipeline.References)
	}
	if !sameVersion {
		return parts
	}
	if own.Author > said.Author {
		parts = append(parts, pipeline.Author)
	}
	if own.Level > said.Level || own.Markings != 0 && own.Markings != said.Markings && !o.wasAdded(n, pipeline.Markings) {
		parts = append(parts, pipeline.Markings)
	}
	return parts
}

// takeMoreThan does so for a copy that is under way: what has not been placed may still lose its author, so that any other
// follows it for the time being.
func (o *order) takeMoreThan(main, n *node, sameVersion bool) []pipeline.Part {
	said := main.said
	if main.state != placed && n.object.Stated.Author != said.Author {
		said.Author = 0
	}
	return o.takeMore(said, n, sameVersion)
}

// wasAdded says that what a copy states of a part was added to the same version before.
func (o *order) wasAdded(n *node, part pipeline.Part) bool {
	rec, found := o.index.Lookup(index.KeyOf(o.mapping.AdditionID(n.object.ID, part, n.object.Stated)))
	return found && rec.Modified == n.microseconds() && o.trust.asSent(rec) == believed
}

// untold is what a copy adds to what was delivered. Where runs are in doubt, what they have added is not told for certain.
func (o *order) untold(rec index.Record, n *node, sameVersion bool) []pipeline.Part {
	told := rec.Stated
	if len(o.trust.doubted) > 0 && sameVersion {
		for part, own := range map[pipeline.Part]bool{pipeline.Author: n.object.Stated.Author != 0, pipeline.Markings: n.object.Stated.Level != 0} {
			if !own {
				continue
			}
			added, found := o.index.Lookup(index.KeyOf(o.mapping.AdditionID(n.object.ID, part, n.object.Stated)))
			switch {
			case !found || o.trust.asSent(added) == believed:
			case part == pipeline.Author:
				told.Author = 0
			default:
				told.Level, told.Markings = 0, 0
			}
		}
	}
	if sameVersion {
		addTo(&told, o.promisedTo(n.key, n.microseconds()))
	}
	return o.takeMore(told, n, sameVersion)
}

// promise is what is stated of a version beside its text, by additions that its record does not know of, or by a copy that another
// takes the place of.
type promise struct {
	modified int64
	stated   pipeline.Stated
}

func (o *order) promisedTo(key index.Key, modified int64) pipeline.Stated {
	if p := o.promised[key]; p.modified == modified {
		return p.stated
	}
	return pipeline.Stated{}
}

// notePlaced lets other copies of a version know what an addition says that goes from now on, and a copy what was added before it. The
// object that an addition adds to may have left before it, and its record does not know of it until it is confirmed.
func (o *order) notePlaced(n *node) {
	id, _, adds := strings.Cut(n.object.ID, "\n")
	if !adds {
		promised := o.promisedTo(n.key, n.microseconds())
		n.added = max(promised.Author, n.told.Author)
		addTo(&n.said, promised)
		return
	}
	key := index.KeyOf(id)
	o.promise(key, n.microseconds(), n.object.Stated)
	if main := o.goingNow(key); main != nil && main.microseconds() == n.microseconds() {
		addTo(&main.said, n.object.Stated)
	}
}

// noteParked lets them know how strict the markings are of an addition that waits: whether or not it comes to go, its copy is above
// those that state less.
func (o *order) noteParked(n *node) {
	if id, _, adds := strings.Cut(n.object.ID, "\n"); adds {
		o.promise(index.KeyOf(id), n.microseconds(), pipeline.Stated{Level: n.object.Stated.Level})
	}
}

// promise adds to what is promised to a version, unless a newer one has been promised anything. Labels and external references are
// nothing that others could go against.
func (o *order) promise(key index.Key, modified int64, stated pipeline.Stated) {
	p := o.promised[key]
	switch {
	case stated.Author == 0 && stated.Level == 0 && stated.Markings == 0:
		return
	case p.modified > modified:
		return
	case p.modified < modified:
		p = promise{modified: modified}
	}
	addTo(&p.stated, stated)
	o.promised[key] = p
}

// goingNow is the newest version of an object that is placed, nil where none is.
func (o *order) goingNow(key index.Key) *node {
	n := o.live[key]
	for n != nil && n.state != placed {
		n = n.older
	}
	return n
}

// noteAdded lets the record of an object know what an addition to the same version has told.
func (o *order) noteAdded(n *node) {
	id, _, adds := strings.Cut(n.object.ID, "\n")
	if !adds {
		return
	}
	key := index.KeyOf(id)
	own := n.object.Stated
	if main := o.live[key]; main != nil && main.microseconds() == n.microseconds() {
		addTo(&main.told, own)
	}
	if rec, found := o.index.Lookup(key); found && rec.Modified == n.microseconds() {
		addTo(&rec.Stated, own)
		o.index.Put(key, rec)
		o.keepPromise(key, rec)
	}
}

// keepPromise forgets what was promised to a version once its record says all of it.
func (o *order) keepPromise(key index.Key, rec index.Record) {
	p := o.promised[key]
	all := rec.Stated
	if addTo(&all, p.stated); p.modified == rec.Modified && all == rec.Stated {
		delete(o.promised, key)
	}
}

// addParts sends what a copy states, after the object itself. The receipts are settled with it.
func (o *order) addParts(n *node, parts []pipeline.Part, receipts []*receipt, now time.Time) {
	for _, part := range parts {
		key := index.KeyOf(o.mapping.AdditionID(n.object.ID, part, n.object.Stated))
		rec, found := o.index.Lookup(key)
		if ofAnyVersion := part == pipeline.Labels || part == pipeline.References; found && ofAnyVersion && o.trust.asSent(rec) == believed {
			continue
		} else if found && !ofAnyVersion {
			rec.Mark = index.Lost // with the object, for its record would say so
			o.index.Put(key, rec)
		}
		addition, ok := o.mapping.addition(n.object, part)
		if !ok {
			continue
		}
		addition.Modified = n.object.Modified
		o.add(n.dataset, &addition, nil, now, false)
		if added := o.live[index.KeyOf(addition.ID)]; added != nil {
			for _, r := range receipts {
				added.attach(r)
			}
		}
	}
}

// isYetToGo says that a node adds something to an object of which the version that counts still waits, though an earlier one may
// have gone.
func (o *order) isYetToGo(n *node, ref string, key index.Key) bool {
	rest, is := strings.CutPrefix(n.object.ID, ref)
	if !is || !strings.HasPrefix(rest, "\n") {
		return false
	}
	main := o.live[key]
	return main != nil && main.state != placed
}

// isLate says that a node adds an author or markings to a version that another has taken the place of, or for which others have
// stated something with more weight since.
func (o *order) isLate(n *node) bool {
	own := n.object.Stated
	id, _, adds := strings.Cut(n.object.ID, "\n")
	if !adds || own.Author == 0 && own.Level == 0 {
		return false
	}
	rec, _ := o.index.Lookup(index.KeyOf(id))
	modified, said := rec.Modified, rec.Stated
	addTo(&said, o.promisedTo(index.KeyOf(id), n.microseconds()))
	if main := o.goingNow(index.KeyOf(id)); main != nil {
		modified, said = main.microseconds(), main.said
	}
	return modified > n.microseconds() || own.Author != 0 && said.Author > own.Author || own.Author == 0 && own.Markings == 0 && said.Level > own.Level
}

// isAddition says that an id is that of an addition to an object; see Mapping.
func isAddition(id string) bool { return strings.IndexByte(id, '\n') >= 0 }
