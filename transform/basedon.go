package transform

import (
	"bytes"
	"net/netip"
	"strings"
	"unicode"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// observation is an observable that an indicator's pattern tells of: its type, and the member that it is known by as OpenCTI
// has it, in the spelling from which OpenCTI makes the id.
type observation struct {
	typ, name string
	value     string // JSON
}

// observations are those that a STIX pattern tells of, each once. There are none unless the pattern is nothing but plain
// comparisons with addresses, names and hashes, any of which is enough: what more a pattern says an observable cannot.
func observations(pattern string) (list []observation) {
	comparisons, ok := readComparisons(nil, pattern)
	if !ok {
		return nil
	}
	seen := make(map[observation]bool, len(comparisons))
	for _, c := range comparisons {
		o, ok := observationOf(c)
		if !ok {
			return nil
		}
		if !seen[o] {
			seen[o] = true
			list = append(list, o)
		}
	}
	return list
}

// hexDigits are the lengths of the hashes from which OpenCTI makes the id of a file, in hexadecimal digits.
var hexDigits = map[string]int{"MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-512": 128}

// observationOf returns the observable that a comparison is about. What is not valid for its type OpenCTI refuses.
func observationOf(c comparison) (o observation, ok bool) {
	value := c.value
	if algorithm, hashes := strings.CutPrefix(c.path, "hashes."); c.typ == "file" && hashes {
		algorithm = strings.ToUpper(algorithm)
		length := hexDigits[algorithm]
		return observation{"file", "hashes", "{" + quote(algorithm) + ":" + quote(value) + "}"}, length > 0 && len(value) == length && isHex(value)
	}
	if c.path != "value" {
		return o, false
	}
	switch c.typ {
	case "ipv4-addr":
		ok = isAddress(value, netip.Addr.Is4)
	case "ipv6-addr":
		ok = isAddress(value, func(a netip.Addr) bool { return a.Is6() && a.Zone() == "" }) && !strings.Contains(value, ".")
	case "domain-name":
		value = strings.ToLower(value)
		ok = isDomain(value)
	case "hostname":
		ok = isHost(value)
	case "email-addr":
		value = strings.ToLower(value)
		user, domain, _ := strings.Cut(value, "@")
		ok = isMailbox(user) && isHost(domain)
	case "url":
		ok = isURL(value)
	}
	return observation{c.typ, "value", quote(value)}, ok
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// isAddress says whether a text is an address of a family, or a range of them.
func isAddress(s string, family func(netip.Addr) bool) bool {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return err == nil && family(p.Addr())
	}
	a, err := netip.ParseAddr(s)
	return err == nil && family(a)
}

// isDomain says whether a text is the name of a domain: two or more labels, the last of which is no number. Names in other
// scripts than Latin count as well.
func isDomain(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	return len(last) < len(s) && len(last) >= 2 && !digits(last) && isName(s, func(r rune) bool {
		return r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
	})
}

// isHost says whether a text is the name of a machine, perhaps without a domain.
func isHost(s string) bool {
	return isName(s, func(r rune) bool { return r == '-' || isASCIILetter(r) })
}

// isName says whether a name consists of labels of such characters, which no dash begins or ends, and is not too long.
func isName(s string, fits func(rune) bool) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool { return !fits(r) })
		if bad || label == "" || len(label) > 63 || strings.Trim(label, "-") != label {
			return false
		}
	}
	return true
}

func isASCIILetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// isMailbox says whether a text can stand before the @ of an e-mail address without quotes.
func isMailbox(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !isASCIILetter(r) && !strings.ContainsRune(".!#$%&'*+/=?^_`{|}~-", r)
	})
}

// isURL says whether a text is an absolute address: a scheme, and a host behind it.
func isURL(s string) bool {
	scheme, rest, _ := strings.Cut(s, "://")
	badScheme := scheme == "" || scheme[0] <= '9' || strings.ContainsFunc(scheme, func(r rune) bool {
		return !isASCIILetter(r) && !strings.ContainsRune("+.-", r)
	})
	unseen := strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	return !badScheme && !unseen && rest != "" && !strings.ContainsAny(rest[:1], "/?#")
}

// id returns the id that OpenCTI has for the observable.
func (o observation) id() string {
	return deterministicID(o.typ, "{"+quote(o.name)+":"+o.value+"}")
}

// observable makes the observable that an indicator tells of, with the indicator's score. What OpenCTI has of it, from whomever,
// is not overwritten, so it is a weak one.
func (from *origin) observable(seen observation, score string) pipeline.Object {
	members := "," + quote(seen.name) + ":" + seen.value
	if score != "" {
		members += `,"` + scoreKey + `":` + score
	}
	o := from.object(seen.typ, seen.id(), members)
	o.Weak = true
	return o
}

// scoreKey is the member in which OpenCTI has the score of indicators and observables.
const scoreKey = "x_opencti_score"

// givenScore returns the score that an object comes with, nil for none.
func (b *builder) givenScore() []byte {
	if score := b.find(scoreKey); score != nil {
		return score
	}
	return extended(b.find("extensions"), "score")
}

// extended returns a member of OpenCTI's own extension, nil for none.
func extended(extensions []byte, name string) []byte {
	if extensions == nil {
		return nil
	}
	all, _ := appendMembers(nil, extensions)
	for _, e := range all {
		if string(e.name) != openctiExtension {
			continue
		}
		own, _ := appendMembers(nil, e.value)
		for _, m := range own {
			if string(m.name) == name && !isNull(m.value) {
				return m.value
			}
		}
	}
	return nil
}

// score adds the score of [Config.Score] to an indicator or observable that comes without one.
func (b *builder) score() {
	if b.p.score == "" || b.o.Type != "indicator" && !knownTypes[b.o.Type].observable || b.givenScore() != nil {
		return
	}
	b.openNamed(scoreKey)
	b.s.out = append(b.s.out, b.p.score...)
}

// observed notes the observables that an indicator tells of.
func (b *builder) observed() {
	if !b.p.observables || b.o.Type != "indicator" {
		return
	}
	pattern, ok := b.stixPattern()
	if !ok {
		return
	}
	b.s.claim.observed = observations(pattern)
	if score := b.givenScore(); score == nil {
		b.s.claim.score = b.p.score
	} else if isNumber(score) {
		b.s.claim.score = string(bytes.Clone(score))
	}
}

func isNumber(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}
