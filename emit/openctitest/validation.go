package openctitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
)

// Workbench is a file that was uploaded for an analyst to look through.
type Workbench struct {
	Name string
	Kind string // Content-Type
	Text []byte
}

// Workbenches returns the uploaded files, in the order of their first uploads.
func (p *Platform) Workbenches() []Workbench {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Workbench(nil), p.workbenches...)
}

// uploadPending stores a file in place of one of the same name.
func (p *Platform) uploadPending(args map[string]any) (any, error) {
	file, _ := args["file"].(Workbench)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, before := range p.workbenches {
		if before.Name == file.Name {
			p.workbenches[i] = file
			return object{"id": "import/pending/" + file.Name, "name": file.Name}, nil
		}
	}
	p.workbenches = keep(p.workbenches, file)
	return object{"id": "import/pending/" + file.Name, "name": file.Name}, nil
}

// Draft is a draft that was opened.
type Draft struct{ ID, Name string }

// Drafts returns the drafts, in order.
func (p *Platform) Drafts() []Draft {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Draft(nil), p.drafts...)
}

func (p *Platform) addDraft(args map[string]any) (any, error) {
	input, _ := args["input"].(map[string]any)
	p.mu.Lock()
	defer p.mu.Unlock()
	d := Draft{fmt.Sprintf("draft-%d", len(p.drafts)+1), text(input["name"])}
	p.drafts = keep(p.drafts, d)
	return object{"id": d.ID, "name": d.Name}, nil
}

// readUpload reads a request with files, as the GraphQL multipart request specification has it: the operation, then which
// variable each file is for, then the files.
func readUpload(body io.Reader, boundary string) (*request, error) {
	parts := multipart.NewReader(body, boundary)
	var req request
	if err := readPart(parts, "operations", &req); err != nil {
		return nil, err
	}
	var places map[string][]string
	if err := readPart(parts, "map", &places); err != nil {
		return nil, err
	}
	for range places {
		part, err := parts.NextPart()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		file := Workbench{Name: part.FileName(), Kind: part.Header.Get("Content-Type"), Text: text}
		if file.Name == "" || len(places[part.FormName()]) == 0 {
			return nil, errors.New("a file has no name, or no variable")
		}
		for _, place := range places[part.FormName()] {
			name, ok := strings.CutPrefix(place, "variables.")
			if value, declared := req.Variables[name]; !ok || !declared || value != nil {
				return nil, errors.New("the variable of a file must be null")
			}
			req.Variables[name] = file
		}
	}
	return &req, nil
}

func readPart(parts *multipart.Reader, name string, into any) error {
	part, err := parts.NextPart()
	if err != nil {
		return err
	}
	if part.FormName() != name {
		return errors.New("the parts must be operations, map, and the files")
	}
	dec := json.NewDecoder(part)
	dec.UseNumber()
	return dec.Decode(into)
}
