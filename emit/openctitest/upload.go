package openctitest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// readUpload reads a GraphQL multipart request: the operation, a map from parts to variables, and the parts.
func readUpload(r *http.Request) (*request, *failure) {
	if err := r.ParseMultipartForm(32 << 20); err != nil {
		return nil, fail("BAD_REQUEST", "read multipart request: "+err.Error())
	}
	defer func() { _ = r.MultipartForm.RemoveAll() }()
	req, f := decodeRequest([]byte(r.FormValue("operations")))
	if f != nil {
		return nil, f
	}
	var parts map[string][]string
	if err := json.Unmarshal([]byte(r.FormValue("map")), &parts); err != nil {
		return nil, fail("BAD_REQUEST", "the map must name the variable of each part")
	}
	for part, paths := range parts {
		file, header, err := r.FormFile(part)
		if err != nil {
			return nil, fail("BAD_REQUEST", "read part: "+err.Error())
		}
		content, err := io.ReadAll(file)
		_ = file.Close()
		if err != nil {
			return nil, fail("BAD_REQUEST", "read part: "+err.Error())
		}
		for _, path := range paths {
			name, ok := strings.CutPrefix(path, "variables.")
			if !ok || strings.Contains(name, ".") {
				return nil, fail("BAD_REQUEST", "a part must stand for a variable")
			}
			if req.Variables == nil {
				req.Variables = map[string]any{}
			}
			req.Variables[name] = &Upload{Name: header.Filename, Content: content}
		}
	}
	return req, nil
}

func (p *Platform) uploadPending(args map[string]any) (any, error) {
	var u Upload
	switch file := args["file"].(type) {
	case *Upload:
		u = *file
	case Upload:
		u = file
	default:
		return nil, fail("FUNCTIONAL_ERROR", "the file did not arrive")
	}
	u.EntityID, u.Markings = text(args["entityId"]), texts(args["file_markings"])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uploads = keep(p.uploads, u)
	return object{"id": "import/pending/" + u.Name, "name": u.Name}, nil
}
