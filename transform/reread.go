package transform

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Reread reads an object back that OpenCTI's worker could not import, from the text that it reports: the object as it was
// sent, with members of the worker's own, which are nb_deps and some that are null. Whatever is null goes with them, for
// to OpenCTI a null says no more than a member that is missing. All else stays letter for letter.
//
// It has no Digest: the text need not be all that the object was made from. One that was sent as an [Addition] has the ID of its object; see
// [AsAddition].
func Reread(text []byte) (pipeline.Object, error) {
	read, err := readItem(text, false)
	if err != nil {
		return pipeline.Object{}, fmt.Errorf("read an object back: %w", err)
	}
	var object parsed
	for range read.objects(&object) {
		break
	}
	if object.levels == 0 || read.isList() {
		return pipeline.Object{}, errors.New("read an object back: it is none")
	}
	var o pipeline.Object
	var as mapping // one that changes nothing
	if reason := as.head(object.members, &o, nil); reason.why != "" {
		return pipeline.Object{}, fmt.Errorf("read an object back: it %s", reason.text)
	}
	var refs refSet
	refs.reset(o.ID, o.AltID)
	out := append(make([]byte, 0, len(object.text)), '{')
	for _, m := range object.members {
		if isNull(m.value) || string(m.name) == "nb_deps" {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.value...)
		refs.addAllOf(m)
	}
	o.JSON, o.Refs = append(out, '}'), refs.ids
	return o, nil
}

// addAllOf takes up the references that a member holds.
func (r *refSet) addAllOf(m member) {
	switch {
	case bytes.HasSuffix(m.name, []byte("_ref")) && isString(m.value):
		r.add(unquote(m.value), string(m.name))
	case bytes.HasSuffix(m.name, []byte("_refs")):
		for e := range elements(m.value) {
			if isString(e) {
				r.add(unquote(e), string(m.name))
			}
		}
	}
}
