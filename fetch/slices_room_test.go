package fetch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// heavyServer serves indicators of any size, step by step.
type heavyServer struct {
	*sharedServer
	text func(id string) string
}

func (s *heavyServer) IndicatorsWithin(ctx context.Context, group, after string, grow func(int64) error) (threatmatch.IndicatorPage, error) {
	page, err := s.sharedServer.IndicatorsWithin(ctx, group, after, grow)
	if err != nil {
		return page, err
	}
	var size int64
	for i, object := range page.Objects {
		of := newIdentifier().identify(object)
		page.Objects[i] = fmt.Appendf(nil, `{"id":%q,"modified":%q,"text":%q}`, of.id, of.modified, s.text(of.id))
		size += int64(len(page.Objects[i]))
		if err := grow(size); err != nil {
			return threatmatch.IndicatorPage{}, fmt.Errorf("read answer: %w", err)
		}
	}
	return page, nil
}

// TestSlicesStayWithinTheRoom lets what takes the pages dawdle, while pages are of any size, larger than the room too. All come, in
// the end all room is given back, and what is taken is never more than the room but for the pages whose turn it is.
func TestSlicesStayWithinTheRoom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const room = 40_000
		s := drawHistory(rt)
		s.truncate, s.strictMs = 0, false
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 20, 500, 2000, 6000, 50_000}), 1, 7).Draw(rt, "sizes")
		heavy := &heavyServer{sharedServer: &sharedServer{indicatorServer: s, latency: drawLatency(rt)},
			text: func(id string) string { return strings.Repeat("x", sizes[int(id[len(id)-1])%len(sizes)]) }}
		pause := time.Duration(rapid.IntRange(0, 400).Draw(rt, "pause")) * time.Millisecond
		options := Options{Concurrency: rapid.IntRange(1, 9).Draw(rt, "concurrency")}
		came, most, rest := map[string]bool{}, int64(0), int64(0)
		synctest.Test(t, func(*testing.T) {
			shared := NewRoom(room)
			options.Room = shared
			defer func() { rest = shared.taken }()
			for page, err := range Indicators(heavy, options).Pages(context.Background(), longAgo) {
				if err != nil {
					rt.Errorf("%v", err)
				}
				time.Sleep(pause)
				shared.mu.Lock()
				most = max(most, shared.taken)
				shared.mu.Unlock()
				for _, item := range page.Items {
					came[item.ID] = true
				}
			}
		})
		for _, i := range s.objects {
			if !came[i.id] && s.readable(i, longAgo.Since) {
				rt.Fatalf("%s is lost; bounds %v", i.id, s.bounds)
			}
		}
		if rest != 0 || most > 3*room { // a claim is at most the whole room
			rt.Fatalf("%d bytes of the room are not given back, and %d were taken", rest, most)
		}
	})
}

// TestWhoseTurnItIsIsReadWhileAllWhoReadWaitForTheirs takes the ground in front though the room is for one reader, who waits for the
// turn of ground behind it.
func TestWhoseTurnItIsIsReadWhileAllWhoReadWaitForTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sideBySide{pager: &pager{room: NewRoom(1000)}, most: 2, changed: make(chan struct{}), reading: 1}
		s.typical.Store(2000)
		s.ctx, s.cancel = context.WithCancel(t.Context())
		defer s.cancel()
		s.ground.ctx = s.ctx
		front, behind, end := time.Unix(1000, 0), time.Unix(2000, 0), time.Unix(3000, 0)
		s.ground.add(0, front, behind)
		s.ground.add(1, behind, end)
		s.ground.slices[1].take()
		if slice := s.take(); slice != s.ground.slices[0] {
			t.Error("nobody reads what all wait for")
		}
		s.mu.Lock()
		s.reading--
		s.ground.slices[0].stage = read
		s.mu.Unlock()
		taken := make(chan *timeSlice, 1)
		go func() { taken <- s.take() }()
		synctest.Wait()
		select {
		case <-taken:
			t.Error("more is read than the room takes")
		default:
		}
		s.cancel()
		if slice := <-taken; slice != nil {
			t.Error("ground is given out after the end")
		}
	})
}
