package status

import (
	"encoding/json"
	"net/http"
)

// verdict is the answer about health.
type verdict struct {
	Status string   `json:"status"` // ok or failing
	State  activity `json:"state"`
	Reason string   `json:"reason,omitempty"`
}

func writeVerdict(w http.ResponseWriter, at activity, reason string) {
	v, code := verdict{Status: "ok", State: at}, http.StatusOK
	if reason != "" {
		v.Status, v.Reason, code = "failing", reason, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who asked has gone
}
