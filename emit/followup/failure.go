package followup

import (
	"context"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// mostTries is how often a version is sent again. What several days, or hours, of an OpenCTI in good health do not import is
// for a person to look at.
const mostTries = 3

// triedEnough is said of an object that is not sent again any more.
const triedEnough = "OpenCTI could not import an object although it was sent again several times; look at the logs of its workers for the cause. " +
	"It is sent again once it has changed in ThreatMatch, or with CONNECTOR_REIMPORT=true"

// elementNamed is what a worker says in place of the text of an object that it does not even try to import.
var elementNamed = regexp.MustCompile(`^Element (\S+--\S+) is `)

// objectOf returns the object that failed: as it was sent, or with nothing but its id where OpenCTI tells no more, or with
// not even that.
func (f *Follower) objectOf(e opencti.ImportError) pipeline.Object {
	if o, err := f.cfg.Reread([]byte(e.Source)); err == nil {
		if addition, can := f.cfg.AsAddition(o); can {
			if rec, found := f.cfg.Index.Lookup(index.KeyOf(addition.ID)); found && rec.Addition {
				return addition
			}
		}
		return o
	}
	if m := elementNamed.FindStringSubmatch(e.Source); m != nil {
		return pipeline.Object{ID: m[1], Type: typeOf(m[1])}
	}
	return pipeline.Object{}
}

func typeOf(id string) string {
	typ, _, _ := strings.Cut(id, "--")
	return typ
}

// consider draws the conclusions from a failed import, and reports whether the object is sent again. The error is that the
// disk does not take it: then nothing is concluded.
func (f *Follower) consider(ctx context.Context, w state.Work, e opencti.ImportError) (again bool, err error) {
	o := f.objectOf(e)
	if o.ID == "" {
		return false, nil // said by the connector itself as it closed the work, or asked for at the work's end
	}
	rec, current := f.recordOf(w, &o)
	switch {
	case !current, rec.Mark == index.Refused:
		return false, nil
	case !e.Final() && rec.Mark == index.Lost && o.JSON != nil:
		// A crash came after that, or the version was sent without some of its references and then with them.
		if on, err := f.isOnShelf(o); err != nil {
			return false, err
		} else if on {
			return false, f.putOnShelf(ctx, o)
		}
	}
	failed := failure{work: w.ID, object: o, error: e}
	// What fails for want of another that failed does not fail by itself: once that one has come to its end, it is sent
	// without, or held back until it changes.
	innocent := e.LacksReference() && slices.ContainsFunc(o.Refs, f.isMissing)
	switch {
	case e.Final():
		f.name("OpenCTI does not take an object, so it lacks this version of it; the message says what it does not like. It is sent again once it has changed in ThreatMatch", failed)
		rec.Mark = index.Refused
	case rec.Tries >= mostTries && !innocent:
		f.name(triedEnough, failed)
		rec.Mark = index.Refused
	case o.JSON == nil:
		f.name("OpenCTI could not import an object and does not tell its text; it is sent again when it comes again, or with CONNECTOR_REIMPORT=true", failed)
		rec.Mark, rec.Tries = index.Lost, rec.Tries+1
	default:
		if err := f.putOnShelf(ctx, o); err != nil {
			return false, err
		}
		f.cfg.Log.Info("OpenCTI could not import an object; it is sent again", append(failed.fields(), zap.Uint8("times_sent_again", rec.Tries))...)
		rec.Mark, again = index.Lost, true
		if !innocent {
			rec.Tries++
		}
		f.counts.again.Add(1)
	}
	f.put(o, rec)
	return again, nil
}

// isMissing says that an object is known not to be at OpenCTI, so that what refers to it waits for it or goes without. Without a
// marking nothing goes: what fails for want of one that is refused does fail by itself.
func (f *Follower) isMissing(id string) bool {
	rec, found := f.cfg.Index.Lookup(index.KeyOf(id))
	return found && (rec.Mark == index.Lost || rec.Mark == index.Refused && typeOf(id) != "marking-definition")
}

// recordOf returns what the index is to know of an object that failed, but for its mark and its tries. current says that
// nothing of it was sent since. Where the index knows the version the object goes by its digest, which is that of the text
// that ThreatMatch brings: else the same would be taken for a change when it comes again. Where it does not, because a run was
// killed or the index was lost, or where it was sent without references and is not on the shelf, the text may lack some: then it
// goes without a digest, and once more when it comes.
func (f *Follower) recordOf(w state.Work, o *pipeline.Object) (rec index.Record, current bool) {
	rec, known := f.cfg.Index.Lookup(index.KeyOf(o.ID))
	if known && rec.Run == w.Run && wentInParts(rec, *o) {
		o.JSON = nil // it is not all of it
	}
	if now := time.Now(); pipeline.IsFarAhead(o.Modified, now) {
		// It went as of when it came.
		if o.Modified = now.UTC().Truncate(time.Microsecond); known {
			o.Modified = time.UnixMicro(rec.Modified).UTC()
		}
	}
	modified := int64(0)
	if !o.Modified.IsZero() {
		modified = o.Modified.UnixMicro()
	}
	switch {
	case known && rec.Run != w.Run && rec.Run != 0:
		return rec, false
	case known && o.JSON != nil && !rec.Addition && rec.Modified > modified:
		return rec, false
	case known && o.JSON != nil && rec.Modified == modified && len(o.Refs) < int(rec.Refs):
		return rec, false // it went once more since, with references that it lacked
	case known && (o.JSON == nil || rec.Addition || rec.Modified == modified):
		if rec.Cut == 0 {
			o.Digest, o.Stated, o.Weak = rec.Digest, rec.Stated, rec.Weak
		}
		if rec.Addition && rec.Modified != 0 {
			o.Modified = time.UnixMicro(rec.Modified).UTC() // its text has no date
		}
	default:
		rec = index.Record{Modified: modified, Run: w.Run, Seq: 1, Refs: uint16(min(len(o.Refs), math.MaxUint16)), Kind: o.Kind, Addition: strings.Contains(o.ID, "\n")}
	}
	rec.Day = index.DayOf(time.Now())
	return rec, true
}

// wentInParts says that an object was too large for a message, and what OpenCTI reports as the object is a part of it.
func wentInParts(rec index.Record, o pipeline.Object) bool {
	return rec.Refs == 0 && !rec.Addition && len(o.Refs) > 0
}

// put lets the index know, under both ids.
func (f *Follower) put(o pipeline.Object, rec index.Record) {
	f.cfg.Index.Put(index.KeyOf(o.ID), rec)
	if o.AltID != "" {
		f.cfg.Index.Put(index.KeyOf(o.AltID), rec)
	}
}

func (f *Follower) isOnShelf(o pipeline.Object) (bool, error) {
	w, found, err := f.cfg.Index.Waiting().Get(o.ID)
	return found && w.Kind == index.Unimported, err
}

// putOnShelf lets the next run send an object. One that the shelf has whole, because it was sent without some of its references,
// goes whole; a newer version that waits there goes in its stead.
func (f *Follower) putOnShelf(ctx context.Context, o pipeline.Object) error {
	shelf := f.cfg.Index.Waiting()
	w, found, err := shelf.Get(o.ID)
	if err != nil {
		return err
	}
	poorer := w.Kind == index.Unimported && len(w.Object.Refs) < len(o.Refs) && w.Object.Modified.Equal(o.Modified)
	if !found || poorer || w.Object.Modified.Before(o.Modified) {
		w = index.Waiter{Object: o}
	}
	w.Kind = index.Unimported
	fallenOut, err := shelf.Save(ctx, []index.Waiter{w})
	f.fallenOut += fallenOut
	return err
}

// failure is an import that failed.
type failure struct {
	work   string
	object pipeline.Object
	error  opencti.ImportError
}

// name says at error that OpenCTI does not have an object.
func (f *Follower) name(what string, failed failure) {
	f.counts.failed.Add(1)
	f.cfg.Log.Error(what, failed.fields()...)
}

// fields tell what a person needs to find the object, and never its whole text.
func (f failure) fields() []zap.Field {
	const longest = 500
	var fields []zap.Field
	if f.object.ID != "" {
		fields = append(fields, zap.String("object", f.object.ID), zap.String("type", f.object.Type))
	}
	if name := nameIn(f.object.JSON); name != "" {
		fields = append(fields, zap.String("name", shorten(name, 100)))
	}
	if f.error.Name != "" {
		fields = append(fields, zap.String("error", f.error.Name))
	}
	if f.error.Message != "" {
		fields = append(fields, zap.String("message", shorten(f.error.Message, longest)))
	}
	return append(fields, zap.String("work", f.work))
}

func shorten(text string, longest int) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// nameIn is the name of an object, "" when it has none.
func nameIn(text []byte) string {
	var named struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(text, &named) // a name that is no text is none
	return named.Name
}
