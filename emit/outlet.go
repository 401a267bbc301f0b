package emit

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
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
	// Sequence is how many messages OpenCTI would have to import for this one, itself included. A bundle of several does not say it.
	Sequence int64
	// Rank grows along the run. Messages of one rank do not need each other, those of a higher one may need those of a lower.
	Rank   int64
	Object json.RawMessage
}

// Refused says of a message that it was refused for good.
type Refused struct {
	// Err says why. Where it has a method MostBytes, that says how large a message is taken.
	Err error
	// Object is the text of its object, and Size that of the whole message in bytes, as [MessageSize] counts.
	Object []byte
	Size   int
	// Remedy says what an operator can do to have it taken.
	Remedy string
}

// Sender hears what becomes of its messages.
type Sender interface {
	// Settled is called from any goroutine: with nil when a message is queued for good, else when it was refused for good.
	Settled(refused *Refused)
}

// Outlet takes a run's messages to where OpenCTI's workers find them, in order.
type Outlet interface {
	// Begin sees to it that the run's work expects the next n messages, which are all that Send is given before it is called again.
	Begin(ctx context.Context, n int) error
	// Send blocks while it can take no more. The sender is told once what becomes of the message. The outlet keeps the object until
	// then. meanwhile is called while it blocks, on the caller's goroutine, at its begin and whenever messages were settled.
	Send(ctx context.Context, m Message, sender Sender, meanwhile func()) error
	// Flush returns when everything sent is settled, and calls meanwhile likewise.
	Flush(ctx context.Context, meanwhile func()) error
	// Instead is Begin for n messages that come in place of one that was refused.
	Instead(ctx context.Context, n int) error
	// LeaveOut sees to it that the work does not expect a message that was refused; what names its object in the work, if it is not
	// empty. See [Books.LeaveOut].
	LeaveOut(ctx context.Context, what string) error
}

// bundleSpace is the namespace of the bundle ids: the same object always travels in a bundle of the same id.
var bundleSpace = uuid.MustParse("0a7bb3f2-6a6b-5c1e-9d57-6a1b2f0c9e14")

// Bundle is the STIX bundle of the one object, as OpenCTI's own splitter makes it.
func (m Message) Bundle() []byte {
	return m.appendBundle(make([]byte, 0, len(m.Object)+bundleOverhead))
}

func (m Message) appendBundle(bundle []byte) []byte {
	bundle = append(bundle, `{"type":"bundle","id":"bundle--`...)
	bundle = appendBundleID(bundle, m.ID)
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
	bundle = appendBundleID(bundle, ids.String())
	bundle = append(bundle, `","spec_version":"2.1","objects":[`...)
	for i, m := range messages {
		if i > 0 {
			bundle = append(bundle, ',')
		}
		bundle = append(bundle, m.Object...)
	}
	return append(bundle, `]}`...)
}

// appendBundleID appends the UUID of version 5 of a name. It is what the package uuid would write, at a fifth of the cost.
func appendBundleID(b []byte, name string) []byte {
	var room [256]byte
	sum := sha1.Sum(append(append(room[:0], bundleSpace[:]...), name...))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	b = hex.AppendEncode(b, sum[:4])
	for at := 4; at < 10; at += 2 {
		b = hex.AppendEncode(append(b, '-'), sum[at:at+2])
	}
	return hex.AppendEncode(append(b, '-'), sum[10:16])
}

// ObjectID is the id of the object that the message is about: an addition's has more to it.
func (m Message) ObjectID() string {
	id, _, _ := strings.Cut(m.ID, "\n")
	return id
}
