package transform

import (
	"bytes"
	"strings"
)

const observableTypeKey = "x_opencti_main_observable_type"

// openctiExtension is the extension under which OpenCTI itself writes what STIX has no property for.
const openctiExtension = "extension-definition--ea279b3e-5c71-4632-ac08-831c66a786ba"

// observableTypes are OpenCTI's names for the types of observables, by what a pattern calls them. It refuses an indicator
// about a type that it does not have, so the newest ones (persona, ssh-key, …) are not among them.
var observableTypes = func() map[string]string {
	m := make(map[string]string, 40)
	for name := range strings.FieldsSeq(`Autonomous-System Directory Domain-Name Email-Addr Email-Message Email-Mime-Part-Type Artifact
		X509-Certificate IPv4-Addr IPv6-Addr Mac-Addr Mutex Network-Traffic Process Software Url User-Account Windows-Registry-Key
		Windows-Registry-Value-Type Hostname Cryptographic-Key Cryptocurrency-Wallet Text User-Agent Bank-Account Phone-Number
		Credential Tracking-Number Payment-Card Media-Content`) {
		m[strings.ToLower(name)] = name
	}
	m["file"] = "StixFile"
	return m
}()

// givesObservableType says whether an indicator says itself which type of observable it is about; a blank says nothing.
func (b *builder) givesObservableType() bool {
	if hasText(b.find(observableTypeKey)) {
		return true
	}
	return hasText(extended(b.find("extensions"), "main_observable_type"))
}

// observableType adds the type of observable that an indicator is about, which OpenCTI does not read from the pattern. With
// [LabelsDropped] it is left out like all that release 7.260817 of the Python connector did not send.
func (b *builder) observableType() {
	if b.o.Type != "indicator" || b.p.labels == LabelsDropped || b.givesObservableType() {
		return
	}
	pattern, ok := b.stixPattern()
	if !ok {
		return
	}
	if typ := observableTypeOf(pattern); typ != "" {
		b.openNamed(observableTypeKey)
		b.s.out = appendQuoted(b.s.out, typ)
	}
}

// stixPattern returns an indicator's pattern where it is one of STIX.
func (b *builder) stixPattern() (pattern string, ok bool) {
	text, language := b.find("pattern"), b.find("pattern_type")
	if !isString(text) || !isString(language) || !strings.EqualFold(string(bytes.TrimFunc(unquote(language), isBlank)), "stix") {
		return "", false
	}
	if b.pattern == "" {
		b.pattern = string(unquote(text))
	}
	return b.pattern, true
}

// observableTypeOf returns OpenCTI's type of the observable that a STIX pattern is about, "" unless the pattern is one plain
// comparison of one of its own properties with one value: [type:path = 'value'].
func observableTypeOf(pattern string) string {
	var room [1]comparison
	list, ok := readComparisons(room[:0], pattern)
	if !ok || len(list) != 1 {
		return ""
	}
	return observableTypes[list[0].typ]
}
