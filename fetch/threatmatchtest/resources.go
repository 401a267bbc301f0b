package threatmatchtest

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serveList answers with the ids of a dataset's items.
func serveList(w http.ResponseWriter, r *http.Request, data Data, name string) {
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
	for id := range data.IDs(name, since) {
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

// serveItem answers with the objects of one item.
func serveItem(w http.ResponseWriter, data Data, name, escapedID string) {
	id, err := url.PathUnescape(escapedID)
	if err != nil {
		refuse(w, http.StatusNotFound, "no such item")
		return
	}
	objects, ok := data.Item(name, id)
	if !ok {
		refuse(w, http.StatusNotFound, "no such item")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"objects":`)
	_, _ = w.Write(objects)
	_, _ = io.WriteString(w, `}`)
}

// The groups. One holds every indicator, the other none.
const (
	allContent    = "9000"
	lowConfidence = "9001"
)

func serveGroups(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `[{"id":"`+lowConfidence+`","name":"Low confidence"},{"id":"`+allContent+`","name":"All content"}]`+"\n")
}

// serveIndicators answers with a page of indicators.
func serveIndicators(w http.ResponseWriter, r *http.Request, config Config) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "malformed query")
		return
	}
	group, _ := single(query, "groupId")
	if group != allContent && group != lowConfidence {
		refuse(w, http.StatusBadRequest, "groupId is not one of the groups")
		return
	}
	if kind, _ := single(query, "stixTypeName"); kind != "indicator" {
		refuse(w, http.StatusBadRequest, "stixTypeName=indicator is expected")
		return
	}
	text, _ := single(query, "modifiedAfter")
	after, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || text[len(text)-1] != 'Z' {
		refuse(w, http.StatusBadRequest, "modifiedAfter=YYYY-MM-DDTHH:MM:SS.sssZ is expected")
		return
	}
	var objects [][]byte
	more := false
	if group == allContent {
		objects, more = config.Data.Indicators(after, config.Inclusive, config.PageSize)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"more":`+strconv.FormatBool(more)+`,"objects":[`)
	for i, object := range objects {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		_, _ = w.Write(object)
	}
	_, _ = io.WriteString(w, "]}")
}

// single returns a query parameter that must be there exactly once.
func single(query url.Values, name string) (string, bool) {
	v := query[name]
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}
