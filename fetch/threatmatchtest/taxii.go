package threatmatchtest

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The groups. One holds every indicator, the other none.
const (
	allContent    = "9000"
	lowConfidence = "9001"
)

func groups(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `[{"id":"`+lowConfidence+`","name":"Low confidence"},{"id":"`+allContent+`","name":"All content"}]`+"\n")
}

// indicators answers with a page of indicators.
func (s *Server) indicators(w http.ResponseWriter, r *http.Request) {
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
		objects, more = s.config.Data.Indicators(after, s.config.Inclusive, s.config.PageSize)
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
