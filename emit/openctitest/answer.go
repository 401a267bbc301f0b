package openctitest

import (
	"encoding/json"
	"errors"
	"net/http"
)

// answer is what GraphQL answers with.
type answer struct {
	Errors []*failure `json:"errors,omitempty"`
	Data   any        `json:"data"`
}

// failure is an error as the platform writes it.
type failure struct {
	Message    string     `json:"message"`
	Name       string     `json:"name,omitempty"`
	Path       []string   `json:"path,omitempty"`
	Extensions extensions `json:"extensions"`
}

func (f *failure) Error() string { return f.Message }

type extensions struct {
	Code string `json:"code,omitempty"`
}

func fail(name, message string) *failure {
	return &failure{Name: name, Message: message, Extensions: extensions{Code: name}}
}

func writeAnswer(w http.ResponseWriter, status int, a *answer) {
	body, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, f *failure) {
	writeAnswer(w, http.StatusBadRequest, &answer{Errors: []*failure{f}})
}

func asFailure(err error, path []string) *failure {
	var f *failure
	if !errors.As(err, &f) {
		return &failure{Message: err.Error(), Name: "UNKNOWN_ERROR", Path: path, Extensions: extensions{Code: "INTERNAL_SERVER_ERROR"}}
	}
	located := *f
	located.Path = path
	return &located
}
