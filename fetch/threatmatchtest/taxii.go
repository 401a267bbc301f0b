package threatmatchtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

func (s *Server) groups(w http.ResponseWriter, _ *http.Request) {
	type group struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	list := make([]group, len(s.config.Groups))
	for i, g := range s.config.Groups {
		list[i] = group{strconv.FormatInt(g.ID, 10), g.Name}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// indicators answers with a page of indicators.
func (s *Server) indicators(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "malformed query")
		return
	}
	group, _ := single(query, "groupId")
	at := slices.IndexFunc(s.config.Groups, func(g Group) bool { return strconv.FormatInt(g.ID, 10) == group })
	if at < 0 {
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
	if s.config.Groups[at].Name == allContent {
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
