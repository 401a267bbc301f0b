package opencti

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"
)

// stixBundlePush is written by hand: generated code has the bundle in memory four times.
const stixBundlePush = `mutation stixBundlePush($connectorId: String!, $bundle: String!, $work: String) {
  stixBundlePush(connectorId: $connectorId, bundle: $bundle, work_id: $work)
}`

// PushBundle has OpenCTI put a bundle into the connector's queue, for a work, and returns when it has. It needs the right
// CONNECTORAPI. What is wrong with the platform's own broker is answered as UNSUPPORTED_ERROR, "Invalid bundle". It is not
// idempotent: after an answer that was lost the bundle may be in the queue.
func (c *Client) PushBundle(ctx context.Context, workID string, bundle []byte) error {
	text := make([]byte, 0, len(bundle)+len(bundle)/4+len(stixBundlePush)+300)
	text = appendQuoted(append(text, `{"operationName":"stixBundlePush","query":`...), stixBundlePush)
	text = appendQuoted(append(text, `,"variables":{"connectorId":`...), c.connectorID)
	text = appendQuoted(append(text, `,"work":`...), workID)
	text = append(appendQuoted(append(text, `,"bundle":`...), bundle), `}}`...)
	var answer struct {
		Taken *bool `json:"stixBundlePush"`
	}
	err := c.call(ctx, "stixBundlePush", stixBundlePush, document{text, "application/json"}, &answer)
	if err == nil && (answer.Taken == nil || !*answer.Taken) {
		err = &Error{Operation: "stixBundlePush", Message: "OpenCTI has not taken the bundle"}
	}
	return err
}

// appendQuoted appends a JSON string. What is no UTF-8 becomes the character that stands for it.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// CountsBundles reports whether OpenCTI has told a work, for which one bundle was pushed and nothing else was said, to expect
// something. Platforms without works of many parts never do, and forget what such a work has expected once that is done.
func (c *Client) CountsBundles(ctx context.Context, workID string) (bool, error) {
	if c.lacking("isMultiPartWork") {
		return false, nil
	}
	n, err := c.Expectations(ctx, workID)
	return n > 0, err
}

// CreateDraft opens a draft, into which things can be imported for an analyst to look through. It needs the right KNOWLEDGE_KNUPDATE. When
// the answer is lost an empty draft may stay behind.
func (c *Client) CreateDraft(ctx context.Context, name string) (id string, err error) {
	answer, err := draftWorkspaceAdd(ctx, c, DraftWorkspaceAddInput{Name: name})
	if err != nil {
		return "", err
	}
	if answer.DraftWorkspaceAdd == nil || answer.DraftWorkspaceAdd.Id == "" {
		return "", &Error{Operation: "draftWorkspaceAdd", Message: "the answer holds no draft"}
	}
	return answer.DraftWorkspaceAdd.Id, nil
}

// AddDraftContext says that what a work brings goes into a draft.
func (c *Client) AddDraftContext(ctx context.Context, workID, draftID string) error {
	_, err := addDraftContext(ctx, c, workID, &draftID)
	return err
}
