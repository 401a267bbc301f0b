package emit

import (
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// guard calls what reads the texts of objects in the mapping. A panic there costs the object that it is about, and not the process,
// which would meet the object again after each restart.
type guard struct {
	Mapping // what looks at no text is called as it is
	fit     Fit
	account *counters
	log     *zap.Logger
	told    map[index.Key]bool // the objects that count as broken
}

func newGuard(c Config, account *counters) *guard {
	return &guard{Mapping: c.Mapping, fit: c.Fit, account: account, log: c.Log, told: make(map[index.Key]bool)}
}

// call reports whether f came to its end. An object that it panics over counts once, and is told as the transformer's are.
func (g *guard) call(id string, f func()) (sound bool) {
	broken := pipeline.Catch(f)
	if broken == nil {
		return true
	}
	const most = 100_000 // some 3 MB of keys; beyond, one may count twice
	key := index.KeyOf(nameable(id))
	if g.told[key] {
		return false
	}
	if len(g.told) < most {
		g.told[key] = true
	}
	if g.account.broken.Add(1) <= pipeline.MaxNamed {
		g.log.Error("left out what the connector fails over", zap.String("reason", string(pipeline.Fault)), zap.String("object", nameable(id)),
			zap.Error(broken), zap.ByteString("stack", broken.Stack()))
	}
	return false
}

// withoutRefs is [Mapping.WithoutRefs]. What it fails over counts as what makes no sense without the references: it is held back, or
// left out where a filter leaves out one of them.
func (g *guard) withoutRefs(o pipeline.Object, drop func(ref string) bool) (rest pipeline.Object, ok bool) {
	if !g.call(o.ID, func() { rest, ok = g.WithoutRefs(o, drop) }) {
		return o, false
	}
	return rest, ok
}

// yield is [Mapping.Yield]. What it fails over must not go: it would be marked less strictly than it has to be.
func (g *guard) yield(o pipeline.Object, stated pipeline.Stated) (rest pipeline.Object, sound bool) {
	sound = g.call(o.ID, func() { rest = g.Yield(o, stated) })
	return rest, sound
}

// addition is [Mapping.Addition]. What it fails over adds nothing.
func (g *guard) addition(o pipeline.Object, part pipeline.Part) (addition pipeline.Object, ok bool) {
	if !g.call(o.ID, func() { addition, ok = g.Addition(o, part) }) {
		return pipeline.Object{}, false
	}
	return addition, ok
}

// split is [Mapping.Split]. What it fails over cannot be divided; a part that it fails over is nil.
func (g *guard) split(o pipeline.Object, most int) (parts int, text func(part int) []byte) {
	var divided func(part int) []byte
	if !g.call(o.ID, func() { parts, divided = g.Split(o, most) }) || parts == 0 {
		return 0, nil
	}
	return parts, func(part int) (text []byte) {
		if !g.call(o.ID, func() { text = divided(part) }) {
			return nil
		}
		return text
	}
}

// fitted is [Fit].
func (g *guard) fitted(o pipeline.Object, kind func(ref string) uint8) (fitted pipeline.Object, from, to string, sound bool) {
	if g.fit == nil || o.Type != "relationship" {
		return o, "", "", true
	}
	sound = g.call(o.ID, func() { fitted, from, to = g.fit(o, kind) })
	return fitted, from, to, sound
}
