package emit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope writes messages as OpenCTI's workers read them.
type envelope struct {
	applicant []byte // JSON text of the id in whose name the objects are imported
	draft     []byte // likewise of the draft into which they are, or null
}

func newEnvelope(applicantID string) envelope {
	return envelope{applicant: jsonString(applicantID), draft: []byte("null")}
}

func jsonString(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("marshal a string: " + err.Error()) // cannot happen: any string has a JSON text
	}
	return text
}

// message is the text of one queue message: the envelope around the bundle of its object. It takes the place of another text, where
// that has the room.
func (e *envelope) message(other []byte, sent Message, bundle []byte) []byte {
	m := other[:0]
	if most := base64.StdEncoding.EncodedLen(len(bundle)) + envelopeOverhead + len(e.applicant) + len(e.draft) + len(sent.Work); most > cap(m) {
		m = make([]byte, 0, most)
	}
	m = append(m, `{"bundle_type":"QUEUE_BUNDLE","applicant_id":`...)
	m = append(m, e.applicant...)
	m = append(m, `,"action_sequence":`...)
	m = strconv.AppendInt(m, sent.Number, 10)
	m = append(m, `,"entities_types":[],"content":"`...)
	m = base64.StdEncoding.AppendEncode(m, bundle)
	m = append(m, `","update":false,"draft_id":`...)
	m = append(m, e.draft...)
	m = append(m, `,"no_split":false,"work_id":`...)
	m, _ = jsontext.AppendQuote(m, sent.Work) // what is no UTF-8 in an id that came as JSON cannot be
	return append(m, '}')
}

// objectIn returns the text of the object in a message, which is one of these.
func objectIn(message []byte) []byte {
	_, rest, _ := bytes.Cut(message, []byte(`"content":"`))
	content, _, _ := bytes.Cut(rest, []byte(`"`))
	bundle := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(bundle, content)
	if err != nil {
		panic("read a message: " + err.Error()) // cannot happen: it was written here
	}
	_, object, _ := bytes.Cut(bundle[:n], []byte(`"objects":[`))
	return bytes.TrimSuffix(object, []byte(`]}`))
}

// What the texts around an object and a bundle need at most, with the longest numbers.
const (
	bundleOverhead   = 150
	envelopeOverhead = 190
)

// messageSize is an upper bound of the size of the message for an object of so many bytes.
func (e envelope) messageSize(object int) int {
	const workID = 128  // the platform's work ids have some 80 bytes
	const draftID = 128 // and a draft's 36
	return base64.StdEncoding.EncodedLen(object+bundleOverhead) + envelopeOverhead + len(e.applicant) + workID + draftID
}

// room is the size of the largest object whose message certainly has no more than so many bytes.
func (e envelope) room(message int) int {
	return max(0, (message-e.messageSize(-bundleOverhead))/4*3-bundleOverhead)
}
