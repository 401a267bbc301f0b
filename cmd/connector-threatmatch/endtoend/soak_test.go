//go:build linux

package endtoend

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSoak lets two connectors live through all troubles for as long as SOAK says, one of them killed and stopped now and then,
// beside others that are killed at random moments of a run, and a broker that is restarted. A model of ThreatMatch holds each state
// against what has arrived, and OpenCTI against ThreatMatch in the end. What the undisturbed process takes of the machine has to stay
// flat. SOAK_PLOTS is where the plots go.
func TestSoak(t *testing.T) {
	text := os.Getenv("SOAK")
	if text == "" {
		t.Skip("SOAK says how long; see make soak")
	}
	limit, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	seed, end := crashSeed(t), time.Now().Add(limit)
	node, log := sharedNode(t), &history{counts: map[string]int{}}
	done := make(chan struct{})
	var restarts, all sync.WaitGroup
	restarts.Go(func() { restartNode(t, node, seed, time.Minute, 1<<20, done, log) })

	lives := map[string]*soakLife{}
	for i, name := range []string{"left alone", "killed and stopped"} {
		l := newSoakLife(t, name, seed+uint64(i))
		l.record = newSoakRecord()
		lives[name] = l
		all.Go(func() { l.live(end, i == 1) })
	}
	all.Go(func() {
		const enough = 3 // failed rounds tell all that more of them would
		for round, failed := seed, 0; time.Now().Before(end) && failed < enough; round++ {
			if !t.Run("", func(t *testing.T) { lanes(t, round, 20, 10, log) }) {
				failed++
			}
		}
	})
	all.Wait()
	close(done)
	restarts.Wait()

	t.Logf("SEED=%d: runs beside: %s", seed, log)
	for name, l := range lives {
		t.Logf("%v; %v", l, l.record)
		if dir := os.Getenv("SOAK_PLOTS"); dir != "" {
			path := filepath.Join(dir, "soak-"+strings.ReplaceAll(name, " ", "-")+".svg")
			if err := os.WriteFile(path, l.record.plot("A connector that is "+name+", for "+limit.String()), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	if limit >= 20*time.Minute {
		for _, curve := range lives["left alone"].record.grown() {
			t.Errorf("not flat: %s", curve)
		}
	}
}
