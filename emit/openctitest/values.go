package openctitest

import (
	"encoding/json"
	"time"
)

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func nullable(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

// text reads an argument that validation has found to be a text or an id.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if s := text(v); s != "" {
			return []string{s}
		}
		return nil
	}
	var out []string
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case json.Number:
		f, _ := v.Float64()
		return f
	}
	return 0
}
