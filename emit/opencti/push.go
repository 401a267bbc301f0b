package opencti

import "context"

// PushBundle has OpenCTI put a bundle into the connector's queue, for a work, and returns when it has. It needs the right
// CONNECTORAPI. What is wrong with the platform's own broker is answered as UNSUPPORTED_ERROR, "Invalid bundle". It is not
// idempotent: after an answer that was lost the bundle may be in the queue.
func (c *Client) PushBundle(ctx context.Context, workID string, bundle []byte) error {
	answer, err := stixBundlePush(ctx, c, c.connectorID, string(bundle), &workID)
	if err == nil && (answer.StixBundlePush == nil || !*answer.StixBundlePush) {
		err = &Error{Operation: "stixBundlePush", Message: "OpenCTI has not taken the bundle"}
	}
	return err
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
