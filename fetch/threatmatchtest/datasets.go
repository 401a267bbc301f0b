package threatmatchtest

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// list answers with the ids of a dataset's items.
func (s *Server) list(w http.ResponseWriter, r *http.Request, dataset string) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "malformed query")
		return
	}
	if mode, _ := single(query, "mode"); mode != "compact" {
		refuse(w, http.StatusBadRequest, "mode=compact is expected")
		return
	}
	text, _ := single(query, "date_since")
	since, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		refuse(w, http.StatusBadRequest, "date_since=YYYY-MM-DD HH:MM is expected")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 16<<10)
	_, _ = out.WriteString(`{"list":[`)
	first := true
	for id := range s.config.Data.IDs(dataset, since) {
		if !first {
			_ = out.WriteByte(',')
		}
		first = false
		_, _ = out.Write(strconv.AppendInt(out.AvailableBuffer(), id, 10))
		if r.Context().Err() != nil {
			return
		}
	}
	_, _ = out.WriteString(`]}`)
	_ = out.Flush()
}

// item answers with the objects of one item.
func (s *Server) item(w http.ResponseWriter, dataset, escapedID string) {
	id, err := url.PathUnescape(escapedID)
	if err != nil {
		refuse(w, http.StatusNotFound, "no such item")
		return
	}
	objects, ok := s.config.Data.Item(dataset, id)
	if !ok {
		refuse(w, http.StatusNotFound, "no such item")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"objects":`)
	_, _ = w.Write(objects)
	_, _ = io.WriteString(w, `}`)
}
