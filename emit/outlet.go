package emit

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Message is what one object goes as.
type Message struct {
	// Work is the id of the run's work.
	Work string
	// Number counts the messages of the run from 1.
	Number int64
	// ID is the object's, with what tells an addition apart.
	ID string
	// Sequence is how many messages OpenCTI would have to import for this one, itself included.
	Sequence int64
	// Rank grows along the run. Messages of one rank do not need each other, those of a higher one may need those of a lower.
	Rank   int64
	Object json.RawMessage
}

// Outlet takes a run's messages to where OpenCTI's workers find them, in order.
type Outlet interface {
	// Begin sees to it that the run's work expects the next n messages, which are all that Send is given before it is called again.
	Begin(ctx context.Context, n int) error
	// Send blocks while it can take no more. confirmed is called once, from any goroutine, when the message is queued for
	// good. The outlet keeps the object until then. meanwhile is called while it blocks, on the caller's goroutine, at its
	// begin and whenever messages were confirmed.
	Send(ctx context.Context, m Message, confirmed, meanwhile func()) error
	// Flush returns when everything sent is confirmed, and calls meanwhile likewise.
	Flush(ctx context.Context, meanwhile func()) error
}

// bundleSpace is the namespace of the bundle ids: the same object always travels in a bundle of the same id.
var bundleSpace = uuid.MustParse("0a7bb3f2-6a6b-5c1e-9d57-6a1b2f0c9e14")

// Bundle is the STIX bundle of the one object, as OpenCTI's own splitter makes it.
func (m Message) Bundle() []byte {
	bundle := make([]byte, 0, len(m.Object)+bundleOverhead)
	bundle = append(bundle, `{"type":"bundle","id":"bundle--`...)
	bundle = append(bundle, uuid.NewSHA1(bundleSpace, []byte(m.ID)).String()...)
	bundle = append(bundle, `","spec_version":"2.1","x_opencti_seq":`...)
	bundle = strconv.AppendInt(bundle, m.Sequence, 10)
	bundle = append(bundle, `,"objects":[`...)
	bundle = append(bundle, m.Object...)
	return append(bundle, `]}`...)
}

// BundleOf is the STIX bundle of several objects. The same objects always travel in a bundle of the same id.
func BundleOf(messages []Message) []byte {
	size := bundleOverhead
	var ids strings.Builder
	for _, m := range messages {
		size += len(m.Object) + 1
		ids.WriteString(m.ID + " ")
	}
	bundle := make([]byte, 0, size)
	bundle = append(bundle, `{"type":"bundle","id":"bundle--`...)
	bundle = append(bundle, uuid.NewSHA1(bundleSpace, []byte(ids.String())).String()...)
	bundle = append(bundle, `","spec_version":"2.1","objects":[`...)
	for i, m := range messages {
		if i > 0 {
			bundle = append(bundle, ',')
		}
		bundle = append(bundle, m.Object...)
	}
	return append(bundle, `]}`...)
}

// ObjectID is the id of the object that the message is about: an addition's has more to it.
func (m Message) ObjectID() string {
	id, _, _ := strings.Cut(m.ID, "\n")
	return id
}
