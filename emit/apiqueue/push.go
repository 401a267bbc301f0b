package apiqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// bundle is what goes in one call: messages of one rank about different objects.
type bundle struct {
	messages []emit.Message
	senders  []emit.Sender // of each
	bytes    int64
	about    map[string]bool
}

// fits reports whether a message may go in the same call.
func (b *bundle) fits(m emit.Message, cfg Config) bool {
	return len(b.messages) == 0 || m.Rank == b.rank() && !b.about[m.ObjectID()] &&
		len(b.messages) < cfg.BundleObjects && b.bytes+int64(len(m.Object)) <= cfg.BundleBytes
}

func (b *bundle) add(m emit.Message, sender emit.Sender) {
	b.messages, b.senders = append(b.messages, m), append(b.senders, sender)
	b.bytes += int64(len(m.Object))
	if b.about == nil {
		b.about = map[string]bool{}
	}
	b.about[m.ObjectID()] = true
}

func (b *bundle) rank() int64 { return b.messages[0].Rank }

// text is the STIX bundle.
func (b *bundle) text() []byte {
	if len(b.messages) == 1 {
		return b.messages[0].Bundle()
	}
	return emit.BundleOf(b.messages)
}

// push returns when a bundle was dealt with. One of several that is too large for OpenCTI, or for a proxy before it, goes again
// object by object; one of a single object is refused.
func (o *Outlet) push(b bundle) error {
	text := b.text()
	err := o.insist(b.messages[0].Work, text)
	switch {
	case err == nil:
		o.count(func(s *Stats) { s.Confirmed += uint64(len(b.messages)) })
		for _, sender := range b.senders {
			sender.Settled(nil)
		}
		return nil
	case !opencti.IsTooLarge(err):
		return err
	case len(b.messages) == 1:
		o.count(func(s *Stats) { s.Refused++ })
		object := b.messages[0].Object
		size := emit.MessageSize(len(object), "")
		b.senders[0].Settled(&emit.Refused{
			Err: tooLarge{err, size}, Object: object, Size: size,
			Remedy: "raise OpenCTI's app:max_payload_body_size, or the limit of the proxy before it",
		})
		return nil
	}
	for i := range b.messages {
		if err := o.push(bundle{messages: b.messages[i : i+1], senders: b.senders[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}

// tooLarge says that a request was refused for its size: all that is known is that less is taken.
type tooLarge struct {
	error
	size int
}

// Unwrap returns OpenCTI's answer.
func (t tooLarge) Unwrap() error { return t.error }

// MostBytes is the size of the largest message that may be taken.
func (t tooLarge) MostBytes() int { return t.size - 1 }

// insist returns when a bundle is in the queue. An answer that was lost is not believed: the bundle goes again, and OpenCTI merges
// what comes twice.
func (o *Outlet) insist(work string, text []byte) error {
	for failures := 0; ; failures++ {
		err := o.cfg.Platform.PushBundle(o.ctx, work, text)
		if err == nil {
			o.taken()
			return nil
		}
		if opencti.IsTooLarge(err) {
			o.taken() // it answers
			return err
		}
		if err := o.outlast(o.ctx, failures, err); err != nil {
			return err
		}
		o.count(func(s *Stats) { s.Again++ })
	}
}

// outlast waits before a call is made again that has failed. It returns an error where that makes no sense.
func (o *Outlet) outlast(ctx context.Context, failures int, failure error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case opencti.IsUnauthorized(failure), opencti.IsRefused(failure):
		return fmt.Errorf("send bundles through OpenCTI's API: %w", failure)
	case o.refusedTooLong(failure):
		return fmt.Errorf("send bundles through OpenCTI's API, which has refused them for %s: %w", o.cfg.Patience, failure)
	case !opencti.IsTemporary(failure):
		if err := o.cfg.Books.Check(ctx); errors.Is(err, emit.ErrWorkGone) {
			return err // it may be refused for that
		}
	}
	return remote.Wait(ctx, o.cfg.Backoff.Delay(failures))
}

// taken ends the time in which OpenCTI does not answer as it should.
func (o *Outlet) taken() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.began.IsZero() {
		o.cfg.Log.Info("OpenCTI's API takes what is sent again", zap.Duration("after", time.Since(o.began)))
	}
	o.began, o.refusing, o.stats.Failing = time.Time{}, time.Time{}, false
}

// refusedTooLong takes note of a failure, and reports whether OpenCTI answers with errors for longer than is put up with. One that
// does not answer has all the time.
func (o *Outlet) refusedTooLong(failure error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Failing = true
	if o.began.IsZero() {
		o.began = time.Now()
		o.cfg.Log.Warn("OpenCTI's API does not take what is sent; it is sent again", zap.Error(failure))
	}
	if opencti.IsTemporary(failure) {
		o.refusing = time.Time{}
		return false
	}
	if o.refusing.IsZero() {
		o.refusing = time.Now()
	}
	return time.Since(o.refusing) >= o.cfg.Patience
}
