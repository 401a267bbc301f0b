package opencti

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/textproto"
)

// uploadPending is written by hand: generated code sends no files.
const uploadPending = `mutation uploadPending($file: Upload!) {
  uploadPending(file: $file) {
    id
    name
  }
}`

// UploadWorkbench uploads a bundle as a file that an analyst looks through before it is imported: a workbench. One of the same
// name is replaced. It needs the right KNOWLEDGE_KNASKIMPORT.
func (c *Client) UploadWorkbench(ctx context.Context, name string, bundle []byte) error {
	body, err := multipartRequest(name, bundle)
	if err != nil {
		return &Error{Operation: "uploadPending", Message: "write the request: " + err.Error(), Unsent: true}
	}
	var answer struct {
		UploadPending *struct{ ID, Name string } `json:"uploadPending"`
	}
	if err := c.call(ctx, "uploadPending", uploadPending, body, &answer); err != nil {
		return err
	}
	if answer.UploadPending == nil {
		return &Error{Operation: "uploadPending", Message: "OpenCTI has not taken the file"}
	}
	return nil
}

// multipartRequest is a request with a file for the variable of that name, as the GraphQL multipart request specification has it.
func multipartRequest(name string, file []byte) (document, error) {
	operations, err := json.Marshal(map[string]any{
		"operationName": "uploadPending", "query": uploadPending, "variables": map[string]any{"file": nil},
	})
	if err != nil {
		return document{}, err
	}
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	for _, part := range []struct{ field, name, kind, value string }{
		{"operations", "", "application/json", string(operations)},
		{"map", "", "application/json", `{"0":["variables.file"]}`},
		{"0", name, "application/json", string(file)},
	} {
		disposition := fmt.Sprintf("form-data; name=%q", part.field)
		if part.name != "" {
			disposition = multipart.FileContentDisposition(part.field, part.name)
		}
		p, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {part.kind}})
		if err != nil {
			return document{}, err
		}
		if _, err := p.Write([]byte(part.value)); err != nil {
			return document{}, err
		}
	}
	if err := w.Close(); err != nil {
		return document{}, err
	}
	return document{text.Bytes(), w.FormDataContentType()}, nil
}
