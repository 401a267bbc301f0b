package transform

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// Labels is what labels become.
type Labels int

const (
	// LabelsAsKnowledge makes attack patterns of the techniques among them; what is left stays, each label once, without
	// what goals says already.
	LabelsAsKnowledge Labels = iota
	// LabelsKept leaves all of them labels, each once.
	LabelsKept
	// LabelsDropped leaves all of them out.
	LabelsDropped
)

// ParseLabels reads the name of what labels become: knowledge, keep or drop.
func ParseLabels(name string) (Labels, error) {
	for _, l := range []Labels{LabelsAsKnowledge, LabelsKept, LabelsDropped} {
		if l.String() == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown treatment of labels %q: use knowledge, keep or drop", name)
}

func (l Labels) String() string {
	switch l {
	case LabelsAsKnowledge:
		return "knowledge"
	case LabelsKept:
		return "keep"
	case LabelsDropped:
		return "drop"
	}
	return fmt.Sprintf("Labels(%d)", int(l))
}

// labels writes those of an object's labels that stay labels, and notes the techniques among them. What is no text goes,
// and the member with the last label that goes.
func (b *builder) labels(m member) {
	if b.p.labels == LabelsDropped {
		return
	}
	seen := b.s.newKeys()
	knows := b.p.labels == LabelsAsKnowledge
	if knows {
		b.sayGoals(seen)
	}
	knows = knows && relationToTechnique(b.o.Type) != ""
	b.begin(m)
	for e := range elements(m.value) {
		label := textOf(e)
		if len(label) == 0 {
			continue
		}
		if knows {
			if t, ok := readTechnique(label); ok {
				b.s.claim.techniques = append(b.s.claim.techniques, t)
				continue
			}
		}
		if seen.add(key{first: label}) {
			b.s.out = appendTrimmed(b.element(), e)
		}
	}
	b.endOrDrop()
}

// sayGoals takes up the texts that the object's goals say.
func (b *builder) sayGoals(said *keySet) {
	for g := range elements(b.find("goals")) {
		if isString(g) {
			said.add(key{first: textOf(g)})
		}
	}
}

// technique is one of MITRE ATT&CK's, as a label names it.
type technique struct{ id, name string }

// relationToTechnique returns the relation of an object of a type to the techniques among its labels, "" where they say
// nothing of the object itself: a report that is labelled with a technique does not use it.
func relationToTechnique(typ string) string {
	switch typ {
	case threatActor, intrusionSet, "malware", "tool", "campaign":
		return "uses"
	case "indicator":
		return "indicates"
	}
	return ""
}

// readTechnique reads a label such as "T1078 - Valid Accounts" or "T1566.004: Spearphishing Voice": the id, a dash of any
// kind or a colon, and a name. Anything else may mean something else.
func readTechnique(label []byte) (t technique, ok bool) {
	id := len("T1234")
	if len(label) <= id || label[0]|0x20 != 't' || !digits(label[1:id]) {
		return t, false
	}
	if sub := len("T1234.001"); len(label) > sub && label[id] == '.' && digits(label[id+1:sub]) {
		id = sub
	}
	separates := func(r rune) bool { return r == ':' || unicode.Is(unicode.Pd, r) }
	rest := label[id:]
	name := bytes.TrimLeftFunc(rest, func(r rune) bool { return separates(r) || unicode.IsSpace(r) })
	if !bytes.ContainsFunc(rest[:len(rest)-len(name)], separates) || !bytes.ContainsFunc(name, unicode.IsLetter) {
		return t, false
	}
	return technique{id: strings.ToUpper(string(label[:id])), name: string(name)}, true
}

func digits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
