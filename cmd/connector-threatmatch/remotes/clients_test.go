package remotes

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// blankItem answers with an item of nothing but blanks, of so many MiB.
type blankItem int64

func (size blankItem) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"access_token":"a","expires_at":9e9}`
	if !strings.HasSuffix(r.URL.Path, "/token") {
		body = `{"objects":[` + strings.Repeat(" ", int(size)<<20) + `]}`
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestAnAnswerMayBeAsLargeAsTheMemoryThatIsSet(t *testing.T) {
	for _, tt := range []struct {
		memory  int
		size    blankItem
		refused bool
	}{{16, 60, false}, {64, 66, true}, {80, 66, false}} {
		cfg := config.Config{Connector: config.Connector{Memory: tt.memory}}
		cfg.ThreatMatch.URL, cfg.ThreatMatch.ClientID, cfg.ThreatMatch.ClientSecret = "https://a.test", "id", "secret"
		c, err := ThreatMatch(cfg, tt.size, "1", zap.NewNop(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Item(t.Context(), "alerts", "1")
		if errors.Is(err, threatmatch.ErrTooLarge) != tt.refused || (err != nil) != tt.refused {
			t.Errorf("CONNECTOR_MEMORY of %d, an item of %d MiB: %v", tt.memory, tt.size, err)
		}
		if tt.refused && !strings.Contains(err.Error(), "CONNECTOR_MEMORY") {
			t.Errorf("nobody learns what to do: %v", err)
		}
	}
}
