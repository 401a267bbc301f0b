package transform

import (
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
	elements, ok := appendElements(nil, m.value)
	if !ok || b.p.labels == LabelsDropped {
		return
	}
	seen := make(map[string]bool, len(elements)+1)
	seen[""] = true
	knows := b.p.labels == LabelsAsKnowledge
	if knows {
		b.sayGoals(seen)
	}
	knows = knows && relationToTechnique(b.o.Type) != ""
	open := false
	for _, e := range elements {
		if !isString(e) {
			continue
		}
		text := string(unquote(e))
		label := strings.TrimFunc(text, isBlank)
		if knows {
			if t, ok := readTechnique(label); ok {
				b.s.claim.techniques = append(b.s.claim.techniques, t)
				continue
			}
		}
		if seen[label] {
			continue
		}
		seen[label] = true
		if open {
			b.s.out = append(b.s.out, ',')
		} else {
			b.open(m)
			b.s.out = append(b.s.out, '[')
			open = true
		}
		if label == text {
			b.s.out = append(b.s.out, e...)
		} else {
			b.s.out = appendQuoted(b.s.out, label)
		}
	}
	if open {
		b.s.out = append(b.s.out, ']')
	}
}

// sayGoals marks the texts that the object's goals say.
func (b *builder) sayGoals(said map[string]bool) {
	for _, m := range b.s.members {
		if string(m.name) != "goals" {
			continue
		}
		goals, _ := appendElements(nil, m.value)
		for _, g := range goals {
			if isString(g) {
				said[strings.TrimFunc(string(unquote(g)), isBlank)] = true
			}
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
func readTechnique(label string) (t technique, ok bool) {
	id := len("T1234")
	if len(label) <= id || label[0]|0x20 != 't' || !digits(label[1:id]) {
		return t, false
	}
	if sub := len("T1234.001"); len(label) > sub && label[id] == '.' && digits(label[id+1:sub]) {
		id = sub
	}
	separates := func(r rune) bool { return r == ':' || unicode.Is(unicode.Pd, r) }
	rest := label[id:]
	name := strings.TrimLeftFunc(rest, func(r rune) bool { return separates(r) || unicode.IsSpace(r) })
	if !strings.ContainsFunc(rest[:len(rest)-len(name)], separates) || !strings.ContainsFunc(name, unicode.IsLetter) {
		return t, false
	}
	return technique{id: strings.ToUpper(label[:id]), name: name}, true
}

func digits(s string) bool {
	return strings.TrimLeft(s, "0123456789") == ""
}
