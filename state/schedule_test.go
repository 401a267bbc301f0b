package state

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

var scheduled = flag.Uint64("seed", 0, "run this seed of the schedules only")

// history is what an operator and a run did, as the test sees it. Each commit's position names the run that made it.
type history struct {
	*rig
	rand   *rand.Rand
	cfg    openctitest.Config
	runs   int
	resets int // by an operator, or by deletion
	voids  map[*RunCheckpoint]bool
	run    *RunCheckpoint
	said   []string
}

func (h *history) say(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

func (h *history) chance(n int) bool { return h.rand.IntN(n) == 0 }

func (h *history) begin() {
	h.runs++
	h.run = h.rig.begin()
	h.say("run %d begins", h.runs)
}

// reset is an operator's. Without timestamps nothing tells one from a state that was never stored, as long as the
// platform has not shown any.
func (h *history) reset(delete bool) {
	if err := h.exchange.begin(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	known := h.exchange.held
	h.exchange.end()
	if h.cfg.NoStateTimestamp && (!known || isNothing(h.platform.State())) {
		return
	}
	h.resets++
	h.voids[h.run] = true
	var err error
	if delete {
		h.say("the connector is deleted")
		err = h.platform.DeleteConnector()
	} else {
		h.say("reset")
		err = h.platform.Reset()
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) fault() {
	n := 1 + h.rand.IntN(3)
	switch h.rand.IntN(7) {
	case 0:
		h.say("%d stale echoes", n)
		h.platform.StaleEcho(n)
	case 1:
		h.say("%d lost pings", n)
		h.platform.Fault(openctitest.Rule{Operation: "pingConnector", To: n, Do: openctitest.DropAnswer})
	case 2:
		h.say("%d refused pings", n)
		h.platform.Fault(openctitest.Rule{Operation: "pingConnector", To: n, Do: openctitest.GraphQLError("SOMETHING", "wrong")})
	case 3:
		h.say("%d lost questions", n)
		h.platform.Fault(openctitest.Rule{Operation: "connector", To: 4 * n, Do: openctitest.DropAnswer})
	case 4:
		h.say("%d bad gateways", n)
		h.platform.Fault(openctitest.Rule{To: n, Do: openctitest.Status(502, "<html>")})
	case 5:
		h.say("%d slow answers", n)
		h.platform.Fault(openctitest.Rule{To: n, Do: openctitest.Slow(time.Duration(n) * 25 * time.Second)})
	case 6:
		h.say("%d questions are refused", n)
		h.platform.Fault(openctitest.Rule{Operation: "connector", To: n, Do: openctitest.GraphQLError("DATABASE_ERROR", "wrong")})
	}
}

// commit commits for the present run. After a reset it must not succeed.
func (h *history) commitOne(n int) {
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Duration(1+h.rand.IntN(60))*time.Second)
	defer cancel()
	void := h.voids[h.run]
	c := within(fmt.Sprintf("%d.%d", h.runs, n))
	err := h.run.Commit(ctx, map[string]pipeline.Cursor{"iocs": c})
	h.say("commit %s: %v", c.Pass.After, err)
	switch {
	case err == nil && void:
		h.t.Errorf("commit %s succeeded after the reset", c.Pass.After)
	case errors.Is(err, ErrReset) && !void:
		h.t.Errorf("commit %s met a reset that nobody made", c.Pass.After)
	case err == nil:
		if held := h.platform.State(); !strings.Contains(held, strconv.Quote(c.Pass.After)) {
			h.t.Errorf("commit %s succeeded, the platform holds %s", c.Pass.After, held)
		}
	}
}

// Whatever is lost, late or refused: a commit that succeeded is held, a reset is obeyed once, and nothing that nobody
// ordered is forgotten.
func TestNoOrderIsMissedAndNoneIsMadeUp(t *testing.T) {
	first, last := uint64(1), uint64(200)
	if testing.Short() {
		last = 50
	}
	if *scheduled > 0 {
		first, last = *scheduled, *scheduled
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 2))
				cfg := openctitest.Config{NoStateTimestamp: random.IntN(2) == 0}
				h := &history{rig: newRig(t, cfg), rand: random, cfg: cfg, voids: map[*RunCheckpoint]bool{}}
				stop := h.beat()
				defer stop()
				h.begin()
				for n := range 5 + random.IntN(25) {
					switch random.IntN(10) {
					case 0:
						h.reset(h.chance(4))
						// Two resets within one ping are one order.
						for h.voids[h.run] {
							h.settle(n)
						}
					case 1, 2, 3:
						h.fault()
					case 4:
						time.Sleep(time.Duration(random.IntN(90)) * time.Second)
					case 5:
						h.begin()
					default:
						h.commitOne(n)
					}
				}
				h.platform.ClearFaults()
				time.Sleep(5 * time.Minute)
				stop()
				if got := h.resetsSeen(); got != h.resets {
					t.Errorf("%d resets, %d obeyed", h.resets, got)
				}
				if text, held := h.Text(), h.platform.State(); text != held && !(isNothing(text) && isNothing(held)) {
					t.Errorf("the keeper holds %s, the platform %s", text, held)
				}
				if h.errorsLogged() > strings.Count(strings.Join(h.said, "\n"), "deleted") {
					t.Errorf("errors: %v", h.log.FilterLevelExact(2).All())
				}
				if t.Failed() {
					t.Logf("untimed: %v\n%s", cfg.NoStateTimestamp, strings.Join(h.said, "\n"))
				}
			})
		})
	}
}

// settle goes on with a run that is void until the keeper knows, and begins the next one.
func (h *history) settle(n int) {
	for tries := 0; h.resetsSeen() < h.resets; tries++ {
		if tries > 20 {
			h.platform.ClearFaults()
		}
		if tries > 40 {
			h.t.Fatalf("the reset is not obeyed:\n%s", strings.Join(h.said, "\n"))
		}
		switch h.rand.IntN(4) {
		case 0:
			h.fault()
		case 1:
			time.Sleep(time.Duration(h.rand.IntN(60)) * time.Second)
		default:
			h.commitOne(n)
		}
	}
	before := h.run
	h.begin()
	if err := h.commit(before, "iocs", within("void")); !errors.Is(err, ErrReset) {
		h.t.Errorf("the void run commits: %v", err)
	}
	if c := h.run.Cursor("iocs"); c.Pass != nil {
		h.t.Errorf("the run after a reset begins at %+v\n%s", c.Pass, strings.Join(h.said, "\n"))
	}
}
