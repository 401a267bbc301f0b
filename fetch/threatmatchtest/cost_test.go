package threatmatchtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// discard is a client that only looks for the last modified.
type discard struct {
	header   http.Header
	modified []byte
	more     bool
	objects  int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	const key = `"modified":"`
	if at := bytes.Index(p, []byte(key)); at >= 0 {
		rest := p[at+len(key):]
		d.modified = append(d.modified[:0], rest[:bytes.IndexByte(rest, '"')]...)
		d.objects++
	} else if bytes.HasPrefix(p, []byte(`{"more":`)) {
		d.more = bytes.HasPrefix(p, []byte(`{"more":true`))
	}
	return len(p), nil
}

// The last tenth of a million needs no more than the first.
func TestAMillionIndicatorsAreServedInFlatMemory(t *testing.T) {
	const total, tenth = 1_000_000, 100_000
	before := heap()
	g := Generate(Shape{Seed: 1, Profiles: 20_000, Indicators: total})
	s := New(Config{Data: g, PageSize: 5000, NoGzip: true, KeepCalls: 10})
	now := time.Now()
	header := http.Header{
		"Accept": {"application/json"}, "Authorization": {"Bearer " + s.tokens.issue(now, now.Add(time.Hour))},
	}
	d := &discard{header: http.Header{}, modified: []byte("2026-01-01T00:00:00.000Z")}
	walk := func(pages int) (held int64) {
		for range pages {
			r, err := http.NewRequest("GET", "/api/taxii/objects?groupId=9000&stixTypeName=indicator&modifiedAfter="+string(d.modified), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header
			s.ServeHTTP(d, r)
		}
		return int64(heap()) - int64(before)
	}
	if held := walk(tenth / 5000); held > 2<<20 {
		t.Errorf("%d KiB are held after the first tenth", held>>10)
	}
	d.modified = appendTime(d.modified[:0], g.modified(total-tenth-1))
	if held := walk(tenth / 5000); held > 2<<20 {
		t.Errorf("%d KiB are held after the last tenth", held>>10)
	}
	if d.objects != 2*tenth || d.more {
		t.Errorf("%d indicators, more %v", d.objects, d.more)
	}
	runtime.KeepAlive(g)
}

// heap is what is in use once the garbage is collected.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkServe is what a page of 100 costs over HTTP's handler, compressed.
func BenchmarkServe(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) {
			s := New(Config{Data: Generate(Shape{Seed: 1, Indicators: 20_000}), NoGzip: plain})
			now := time.Now()
			token := s.tokens.issue(now, now.Add(time.Hour))
			for b.Loop() {
				r, err := http.NewRequest("GET", "/api/taxii/objects?groupId=9000&stixTypeName=indicator&modifiedAfter=2026-01-05T00:00:00.000Z", nil)
				if err != nil {
					b.Fatal(err)
				}
				r.Header = http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer " + token}, "Accept-Encoding": {"gzip"}}
				s.ServeHTTP(&sink{Writer: io.Discard, header: http.Header{}}, r)
			}
			b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

type sink struct {
	io.Writer
	header http.Header
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}

// BenchmarkGenerate makes what a run over a medium shape asks for, and reports objects a second.
func BenchmarkGenerate(b *testing.B) {
	g := Generate(Shape{Seed: 1, Profiles: 500, Alerts: 500, Indicators: 20_000})
	for _, part := range []string{"profiles", "alerts", "indicators"} {
		b.Run(part, func(b *testing.B) {
			b.ReportAllocs()
			objects, bytes := 0, 0
			for n := 0; b.Loop(); n++ {
				if part == "indicators" {
					from := defaultStart.Add(time.Duration(n%190) * defaultSpan / 200)
					page, _ := g.Indicators(from, false, 100)
					objects += len(page)
					for _, o := range page {
						bytes += len(o)
					}
					continue
				}
				set, _ := datasetOf(part)
				item := g.item(set, n%500)
				bytes += len(item)
				objects += topLevel(item)
			}
			b.ReportMetric(float64(objects)/b.Elapsed().Seconds(), "objects/s")
			b.ReportMetric(float64(bytes)/float64(objects), "B/object")
		})
	}
}

// topLevel counts the objects in an array by their opening, which is the same for each.
func topLevel(array []byte) int {
	n := 0
	for i := 0; i+9 < len(array); i++ {
		if string(array[i:i+9]) == `{"type":"` {
			n++
		}
	}
	return n
}
