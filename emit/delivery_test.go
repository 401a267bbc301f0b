package emit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// late is a broker that confirms what it is told to, from a goroutine of its own.
type late struct {
	queue
	mu      sync.Mutex
	pending []func(error)
	changed chan struct{} // holds a token when something was confirmed
	block   bool          // takes nothing more
}

func (l *late) Publish(ctx context.Context, body []byte, settled func(error), meanwhile func()) error {
	for l.blocks() {
		if err := l.wait(ctx, meanwhile); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, settled)
	return l.queue.Publish(ctx, body, func(error) {}, nil)
}

// Flush waits while the broker takes nothing.
func (l *late) Flush(ctx context.Context, meanwhile func()) error {
	for l.blocks() {
		if err := l.wait(ctx, meanwhile); err != nil {
			return err
		}
	}
	return nil
}

func (l *late) wait(ctx context.Context, meanwhile func()) error {
	meanwhile()
	select {
	case <-l.changed:
		return nil
	case <-ctx.Done():
		l.confirm() // too late for meanwhile
		return context.Cause(ctx)
	}
}

func (l *late) blocks() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.block
}

// stop has the broker take nothing more.
func (l *late) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.block = true
}

// confirm takes what was published for good.
func (l *late) confirm() {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	var confirming sync.WaitGroup
	confirming.Go(func() {
		for _, settled := range pending {
			settled(nil)
		}
	})
	confirming.Wait()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func lateRig(change func(*Config)) (*rig, *late) {
	broker := &late{changed: make(chan struct{}, 1)}
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) {
		c.BatchObjects = 1
		if change != nil {
			change(c)
		}
		*c = toQueue(broker, *c)
	})
	return r, broker
}

func TestWhatIsConfirmedIsSettledByTheNextCall(t *testing.T) {
	calls := map[string]func(r *rig) error{
		"Put":  func(r *rig) error { return r.Put(t.Context(), pipeline.Item{}, nil, func(pipeline.Outcome) {}) },
		"Tick": func(r *rig) error { return r.Tick(t.Context()) },
		"Finish": func(r *rig) error {
			return r.Finish(t.Context(), pipeline.Complete)
		},
		"Close": func(r *rig) error { r.Close(); return nil },
	}
	for name, call := range calls {
		r, broker := lateRig(nil)
		outcomes := r.put(t, object(t, toolText))
		broker.confirm()
		if len(*outcomes) > 0 || r.Account().Confirmed > 0 {
			t.Errorf("%s: settled as %v on the broker's goroutine", name, *outcomes)
		}
		if err := call(r); err != nil {
			t.Fatal(err)
		}
		if !isDelivered(outcomes) || r.Account().Confirmed != 1 {
			t.Errorf("%s: settled as %v", name, *outcomes)
		}
	}
}

func TestWhatIsConfirmedIsSettledWhileTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &drain{at: time.Now()}
		r, broker := lateRig(func(c *Config) { c.Gauge = NewGauge(d, 1000, func(bool, int64) {}, zap.NewNop()) })
		first := r.put(t, object(t, toolText))
		d.mu.Lock()
		d.told = 5000
		d.mu.Unlock()
		time.Sleep(lookAgain)
		ctx, stop := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			ended <- r.Put(ctx, pipeline.Item{}, []pipeline.Object{object(t, hubText)}, func(pipeline.Outcome) {})
		}()
		time.Sleep(time.Minute) // it waits for room by now
		broker.confirm()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !isDelivered(first) {
			t.Errorf("settled as %v; its page could not be committed for as long as the queue is full", *first)
		}
		stop(errors.New("told to stop"))
		if err := <-ended; err == nil {
			t.Error("went on with a full queue")
		}
	})
}

func TestWhatIsConfirmedIsSettledWhileTheBrokerTakesNothing(t *testing.T) {
	calls := map[string]func(ctx context.Context, t *testing.T, r *rig) error{
		"Put": func(ctx context.Context, t *testing.T, r *rig) error {
			return r.Put(ctx, pipeline.Item{}, []pipeline.Object{object(t, hubText)}, func(pipeline.Outcome) {})
		},
		"Finish": func(ctx context.Context, _ *testing.T, r *rig) error { return r.Finish(ctx, pipeline.Complete) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, broker := lateRig(nil)
				first := r.put(t, object(t, toolText))
				broker.stop()
				ctx, stop := context.WithCancelCause(t.Context())
				ended := make(chan error)
				go func() { ended <- call(ctx, t, r) }()
				synctest.Wait() // for the broker
				broker.confirm()
				synctest.Wait()
				if !isDelivered(first) {
					t.Errorf("settled as %v; its page could not be committed for as long as the broker is blocked", *first)
				}
				stop(errors.New("told to stop"))
				if err := <-ended; err == nil {
					t.Error("went on without the broker")
				}
			})
		})
	}
}

func TestWhatIsConfirmedIsSettledAlsoWhenTheCallFails(t *testing.T) {
	r, broker := lateRig(nil)
	first := r.put(t, object(t, toolText))
	broker.stop()
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("told to stop"))
	// It confirms when the call has given up waiting.
	if err := r.Put(ctx, pipeline.Item{}, []pipeline.Object{object(t, hubText)}, func(pipeline.Outcome) {}); err == nil {
		t.Fatal("published to a broker that takes nothing")
	}
	if !isDelivered(first) {
		t.Errorf("settled as %v; no other call may follow", *first)
	}
}

func TestConfirmsThatComeAllTheTimeAreSettledOnceEach(t *testing.T) {
	r, broker := lateRig(func(c *Config) { c.BatchObjects = 7 })
	stop := make(chan struct{})
	var confirming sync.WaitGroup
	confirming.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				broker.confirm()
				runtime.Gosched()
			}
		}
	})
	var items []*[]pipeline.Outcome
	for i := range 300 {
		items = append(items, r.put(t,
			object(t, fmt.Sprintf(`{"type":"tool","id":"tool--%d"}`, i)),
			object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","object_refs":["tool--%d","tool--%d"]}`, i, i, i+1))))
	}
	r.put(t, object(t, `{"type":"tool","id":"tool--300"}`))
	for range 3 {
		r.finish(t, pipeline.Complete)
	}
	close(stop)
	confirming.Wait()
	broker.confirm()
	r.finish(t, pipeline.Complete)
	for i, outcomes := range items {
		if n := len(slices.DeleteFunc(slices.Clone(*outcomes), func(o pipeline.Outcome) bool { return o != pipeline.Delivered })); n != 1 {
			t.Errorf("item %d was settled as %v", i, *outcomes)
		}
	}
	if a := r.Account(); a.Confirmed != 601 || a.Messages != 601 || len(r.order.live) > 0 {
		t.Errorf("account %+v, %d objects stay in memory", a, len(r.order.live))
	}
}
