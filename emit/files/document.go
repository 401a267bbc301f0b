package files

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Kind is what a document says of where it was put.
type Kind string

// The kinds of documents.
const (
	InDirectory Kind = "DIRECTORY_BUNDLE"
	InBucket    Kind = "S3_BUNDLE"
)

// Connector is what a document says of the connector that made it: whoever takes it to another OpenCTI registers it there.
type Connector struct {
	ID                   string
	Name                 string
	Type                 string
	Scope                []string
	Auto                 bool
	ValidateBeforeImport bool
}

// Document is what stands around a bundle in its file.
type Document struct {
	Kind Kind
	// ApplicantID is the id of the connector's user in the OpenCTI that it registered with.
	ApplicantID string
	Connector   Connector
}

// Around returns the document with a bundle, which has to be a JSON object, in parts that follow each other: a large bundle needs
// no second copy.
func (d Document) Around(bundle []byte) [][]byte {
	head, err := json.Marshal(struct {
		Kind      Kind   `json:"bundle_type"`
		Applicant string `json:"applicant_id"`
		Connector any    `json:"connector"`
		Types     []any  `json:"entities_types"`
	}{d.Kind, d.ApplicantID, struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Type     string `json:"type"`
		Scope    string `json:"scope"` // one text, as CONNECTOR_SCOPE is
		Auto     bool   `json:"auto"`
		Validate bool   `json:"validate_before_import"`
	}{d.Connector.ID, d.Connector.Name, d.Connector.Type, strings.Join(d.Connector.Scope, ","), d.Connector.Auto, d.Connector.ValidateBeforeImport}, []any{}})
	if err != nil {
		panic(err) // texts and booleans
	}
	return [][]byte{append(head[:len(head)-1], `,"bundle":`...), bundle, []byte(`,"update":false}`)}
}

// parts is a text in parts as one that can be read at any place.
type parts [][]byte

func (p parts) size() (n int64) {
	for _, part := range p {
		n += int64(len(part))
	}
	return n
}

// ReadAt implements [io.ReaderAt].
func (p parts) ReadAt(into []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, fmt.Errorf("read at %d: before the beginning", at)
	}
	for _, part := range p {
		if at >= int64(len(part)) {
			at -= int64(len(part))
			continue
		}
		n += copy(into[n:], part[at:])
		if at = 0; n == len(into) {
			return n, nil
		}
	}
	return n, io.EOF
}

// reader reads the text from its beginning.
func (p parts) reader() *io.SectionReader { return io.NewSectionReader(p, 0, p.size()) }
