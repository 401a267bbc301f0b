package emit

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// encodeObject writes an object for the disk: numbers as varints, texts with their length before them.
func encodeObject(o pipeline.Object) []byte {
	b := make([]byte, 0, len(o.JSON)+64*(len(o.Refs)+2))
	b = binary.AppendUvarint(b, o.Digest)
	modified := int64(0)
	if !o.Modified.IsZero() {
		modified = o.Modified.UnixMicro()
	}
	b = binary.AppendVarint(b, modified)
	b = binary.AppendUvarint(b, uint64(len(o.Refs)))
	for _, s := range append([]string{o.ID, o.Type, o.AltID}, o.Refs...) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return append(b, o.JSON...)
}

var errNotAnObject = errors.New("the text on disk is not an object that this version wrote")

// decodeObject reads what encodeObject wrote.
func decodeObject(b []byte) (pipeline.Object, error) {
	d := decoder{rest: b}
	o := pipeline.Object{Digest: d.uvarint()}
	if modified := d.varint(); modified != 0 {
		o.Modified = time.UnixMicro(modified).UTC()
	}
	refs := d.uvarint()
	o.ID, o.Type, o.AltID = d.text(), d.text(), d.text()
	for ; refs > 0 && !d.failed; refs-- {
		o.Refs = append(o.Refs, d.text())
	}
	if d.failed || len(d.rest) == 0 {
		return pipeline.Object{}, errNotAnObject
	}
	o.JSON = d.rest
	return o, nil
}

type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	return take(d, v, n)
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	return take(d, v, n)
}

func take[T any](d *decoder, v T, n int) T {
	if d.failed = d.failed || n <= 0; d.failed {
		var zero T
		return zero
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string {
	n := d.uvarint()
	if d.failed = d.failed || n > uint64(len(d.rest)); d.failed {
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}
