package threatmatch

import (
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// silentAfter is how long failures last that may pass before they are told of: as long as the attempts of one call, which may
	// be the fault of what it asks for.
	silentAfter = 14 * time.Second
	// muteAfter is how long a call may wait for an answer that comes in the end: a big list takes its time.
	muteAfter = 45 * time.Second
)

// Settings say how the API is reached.
var Settings = remote.SettingsOf("THREATMATCH_URL", "HTTPS_CA_CERTIFICATES")

func newSilence(cfg Config) *remote.Silence {
	turns := time.Duration(0)
	if cfg.RatePerSecond > 0 {
		const most = 3 // that a call may take of the rate: for itself, for its token, and for itself again
		turns = time.Duration(most * float64(time.Second) / cfg.RatePerSecond)
	}
	return &remote.Silence{
		Name: "ThreatMatch", Log: cfg.Alarms, After: silentAfter + turns, Mute: muteAfter + turns, Settings: Settings,
		Fields: []zap.Field{zap.Duration("waits_at_most", cfg.Patience)},
	}
}

// heard notes an answer. One to the question for a token says nothing of those to all others.
func (c *caller) heard(k *call) {
	if !k.forToken {
		c.silence.Heard()
	}
}
