package opencti

import (
	"encoding/json"
	"strconv"
	"time"
)

// Info is what the platform shows about a connector besides its state.
type Info struct {
	RunAndTerminate bool
	// Buffering says that the connector waits for the queue to drain.
	Buffering bool
	// QueueThreshold and QueueMessagesSize are in MB, 10^6 bytes.
	QueueThreshold    float64
	QueueMessagesSize float64
	// NextRun and LastRun are zero when there is none.
	NextRun time.Time
	LastRun time.Time
}

// MarshalJSON writes the platform's ConnectorInfoInput.
func (i Info) MarshalJSON() ([]byte, error) {
	at := func(t time.Time) *string {
		if t.IsZero() {
			return nil
		}
		s := t.UTC().Format("2006-01-02T15:04:05Z")
		return &s
	}
	return json.Marshal(map[string]any{
		"run_and_terminate":   i.RunAndTerminate,
		"buffering":           i.Buffering,
		"queue_threshold":     i.QueueThreshold,
		"queue_messages_size": i.QueueMessagesSize,
		"next_run_datetime":   at(i.NextRun),
		"last_run_datetime":   at(i.LastRun),
	})
}

// stamp is a DateTime of the platform. What cannot be read as one is none: a date that went wrong must not keep the
// rest of an answer from being heard.
type stamp struct{ at time.Time }

func (s *stamp) UnmarshalJSON(raw []byte) error {
	if t := text(raw); t != "" {
		s.at, _ = time.Parse(time.RFC3339Nano, t)
	} else if ms, err := strconv.ParseInt(string(raw), 10, 64); err == nil && ms > 0 {
		s.at = time.UnixMilli(ms).UTC()
	}
	return nil
}

func (s *stamp) time() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.at
}

// heldObject is what the platform tells of an object that it holds. Its GraphQL types are too many to list: code that is
// generated for them would take none that is new.
type heldObject struct {
	Type string `json:"__typename"`
	// ID is the platform's own.
	ID         string   `json:"id"`
	StandardID string   `json:"standard_id"`
	StixIDs    []string `json:"x_opencti_stix_ids"`
}

// names are all the ids that the object answers to.
func (o heldObject) names() []string {
	return append([]string{o.ID, o.StandardID}, o.StixIDs...)
}
