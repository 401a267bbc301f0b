package files

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/filestest"
)

func TestABucketHoldsWhatWasPut(t *testing.T) {
	s := filestest.Start(t)
	for folder, prefix := range map[string]string{"connectors": "connectors/", "/a/b/": "a/b/", "": ""} {
		b := open(t, s.Host, s.Port, func(cfg *BucketConfig) { cfg.Folder = folder })
		if err := b.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 20 << 20} { // more than what the library sends in parts
			name, text := NewNames(connector).Next(noon), document(InBucket, size)
			if err := b.Put(t.Context(), name, text...); err != nil {
				t.Fatal(err)
			}
			if got := stored(t, s, prefix+name); got != joined(text) {
				t.Errorf("of %d bytes in the folder %q the server has %d", len(joined(text)), folder, len(got))
			}
			if err := os.Remove(filepath.Join(s.Folder, prefix+name)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTheSameObjectMayBePutTwiceAndNoOther(t *testing.T) {
	s := filestest.Start(t)
	b, text := open(t, s.Host, s.Port, nil), document(InBucket, 20<<20) // which does not fit between the two
	for range 4 {
		if err := b.Put(t.Context(), "a.json", text...); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"{}", joined(text) + " ", strings.Replace(joined(text), "a", "b", 1)} {
		err := b.Put(t.Context(), "a.json", []byte(other))
		var lasting *LastingError
		if !errors.As(err, &lasting) || !strings.Contains(lasting.Remedy, "CONNECTOR_NAME") {
			t.Errorf("%.20s… in place of it: %v", other, err)
		}
	}
	if got := stored(t, s, "connectors/a.json"); got != joined(text) {
		t.Error("it is another now")
	}
}

// TestWhatHelpsIsSaid has the failures that last, with a word of what to do in each.
func TestWhatHelpsIsSaid(t *testing.T) {
	s := filestest.Start(t)
	readOnly := filestest.Start(t, filestest.ReadOnly())
	for name, tt := range map[string]struct {
		at     *filestest.Server
		change func(*BucketConfig)
		want   string
		denied bool
	}{
		"no such bucket":    {s, func(cfg *BucketConfig) { cfg.Bucket = "nobodys" }, BucketSetting, false},
		"another key":       {s, func(cfg *BucketConfig) { cfg.AccessKey = "nobody" }, "S3_ACCESS_KEY", false},
		"another secret":    {s, func(cfg *BucketConfig) { cfg.SecretKey = "nobody-knows" }, "S3_SECRET_KEY", false},
		"another region":    {s, func(cfg *BucketConfig) { cfg.Region = "us-east-2" }, "S3_BUCKET_REGION", false},
		"no right":          {readOnly, nil, "s3:PutObject", true},
		"TLS where none is": {s, func(cfg *BucketConfig) { cfg.Secure = true }, "S3_USE_SSL=false", false},
	} {
		b := open(t, tt.at.Host, tt.at.Port, tt.change)
		err := b.Put(t.Context(), "a.json", []byte("{}"))
		if err == nil || IsTemporary(err) || !strings.Contains(err.Error(), tt.want) || IsDenied(err) != tt.denied {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), filestest.SecretKey) || strings.Contains(err.Error(), "nobody-knows")) {
			t.Errorf("%s: a secret is shown in %v", name, err)
		}
		if looked := b.Look(t.Context()); (looked == nil) != tt.denied {
			t.Errorf("%s: a look says %v", name, looked)
		}
	}
}

// TestWhatPassesIsTemporary has faults between the connector and the server that are gone the next time.
func TestWhatPassesIsTemporary(t *testing.T) {
	s := filestest.Start(t)
	cut := func(w http.ResponseWriter) {
		socket, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = socket.Close()
		}
	}
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request, server http.Handler){
		"slow down": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
		},
		"no answer": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { cut(w) },
		"an answer that is lost": func(w http.ResponseWriter, r *http.Request, server http.Handler) {
			server.ServeHTTP(httptest.NewRecorder(), r)
			cut(w)
		},
		"cut in the middle": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.CopyN(io.Discard, r.Body, 100<<10)
			cut(w)
		},
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			http.Error(w, "<html>bad gateway", http.StatusBadGateway)
		},
		"no room": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusInsufficientStorage, "XMinioStorageFull")
		},
		"a quota": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusForbidden, "QuotaExceeded")
		},
		"expired": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusBadRequest, "ExpiredToken")
		},
		"too many": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusTooManyRequests, "TooManyRequests")
		},
		"another's write": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			refuse(w, http.StatusConflict, "OperationAborted")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faulty atomic.Bool
			faulty.Store(true)
			host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
				if faulty.Load() {
					fault(w, r, server)
					return
				}
				server.ServeHTTP(w, r)
			})
			b, text, file := open(t, host, port, nil), document(InBucket, 1<<20), name+".json"
			if err := b.Put(t.Context(), file, text...); !IsTemporary(err) {
				t.Errorf("it is not temporary: %v", err)
			}
			faulty.Store(false)
			if err := b.Put(t.Context(), file, text...); err != nil || stored(t, s, "connectors/"+file) != joined(text) {
				t.Errorf("the next time %v, and of %d bytes the server has %d", err, len(joined(text)), len(stored(t, s, "connectors/"+file)))
			}
		})
	}
}

// TestTheLibraryRepeatsNothing is for the text, which a connection that was given up may still read, and for the caller, who waits.
func TestTheLibraryRepeatsNothing(t *testing.T) {
	s := filestest.Start(t)
	var calls atomic.Int32
	host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if r.Method == http.MethodPut { // the look whether it arrived is none
			calls.Add(1)
		}
		refuse(w, http.StatusServiceUnavailable, "SlowDown")
	})
	if err := open(t, host, port, nil).Put(t.Context(), "a.json", []byte("{}")); !IsTemporary(err) || calls.Load() != 1 {
		t.Errorf("it was sent %d times: %v", calls.Load(), err)
	}
}

// TestTheRegionIsLearnt has it from the server: when it is asked, or by its refusal.
func TestTheRegionIsLearnt(t *testing.T) {
	s := filestest.Start(t)
	for name, mayAsk := range map[string]bool{"asked": true, "refused": false} {
		host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
			if r.URL.Query().Has("location") && !mayAsk {
				refuse(w, http.StatusForbidden, "AccessDenied")
				return
			}
			if !mayAsk && strings.Contains(r.Header.Get("Authorization"), "/us-east-1/") {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, "<Error><Code>AuthorizationHeaderMalformed</Code><Message>for a test</Message><Region>"+filestest.Region+"</Region></Error>")
				return
			}
			server.ServeHTTP(w, r)
		})
		b := open(t, host, port, func(cfg *BucketConfig) { cfg.Region = "" })
		if err := b.Put(t.Context(), name+".json", []byte("{}")); err != nil || stored(t, s, "connectors/"+name+".json") != "{}" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAServerThatCannotRefuseToOverwriteIsWrittenToAllTheSame is asked once only.
func TestAServerThatCannotRefuseToOverwriteIsWrittenToAllTheSame(t *testing.T) {
	s := filestest.Start(t)
	var refused atomic.Int32
	host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if r.Header.Get("If-None-Match") != "" {
			refused.Add(1)
			refuse(w, http.StatusNotImplemented, "NotImplemented")
			return
		}
		server.ServeHTTP(w, r)
	})
	b := open(t, host, port, nil)
	for _, name := range []string{"a.json", "b.json"} {
		if err := b.Put(t.Context(), name, []byte("{}")); err != nil || stored(t, s, "connectors/"+name) != "{}" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := refused.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestNobodyWaitsForASlowServerLongerThanToldTo(t *testing.T) {
	s := filestest.Start(t)
	stopped := make(chan struct{})
	host, port := before(t, s, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-stopped:
		case <-r.Context().Done():
		}
	})
	defer close(stopped)
	ctx, stop := context.WithCancelCause(t.Context())
	reason := errors.New("told to stop")
	time.AfterFunc(50*time.Millisecond, func() { stop(reason) })
	if err := open(t, host, port, nil).Put(ctx, "a.json", []byte("{}")); !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := open(t, host, port, nil).Put(ctx, "a.json", []byte("{}")); !IsTemporary(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestOldObjectsGoAndNothingElse(t *testing.T) {
	s := filestest.Start(t)
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	name := func(connector string, days float64) string {
		return NewNames(connector).Next(now.Add(-time.Duration(days * float64(day))))
	}
	stay := []string{name(connector, 0), name(connector, 6.9), name("Threat Match EU", 100), name("Other", 100), "threat_match-notes.json", "threat_match-19700101.json", "readme.txt"}
	goes := []string{name(connector, 7.1), name(connector, 20), name(connector, 100)}
	for _, n := range slices.Concat(stay, goes) {
		if err := open(t, s.Host, s.Port, nil).Put(t.Context(), n, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := open(t, s.Host, s.Port, func(cfg *BucketConfig) { cfg.Folder = "elsewhere" })
	if err := elsewhere.Put(t.Context(), goes[0], []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		days int
		want []string
	}{{0, slices.Concat(stay, goes)}, {7, stay}} {
		b := open(t, s.Host, s.Port, func(cfg *BucketConfig) { cfg.Days = step.days })
		b.files.now = (&clock{now}).now
		if err := b.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(step.want)
		if got := ls(t, filepath.Join(s.Folder, "connectors")); !slices.Equal(got, step.want) {
			t.Errorf("with %d days to keep it has %q, want %q", step.days, got, step.want)
		}
	}
	if stored(t, s, "elsewhere/"+goes[0]) == "" {
		t.Error("what lies in another folder has gone")
	}
}

func TestARemovalThatFailsIsTold(t *testing.T) {
	s := filestest.Start(t)
	old := []string{NewNames(connector).Next(noon.Add(-day)), NewNames(connector).Next(noon)}
	for _, n := range old {
		if err := open(t, s.Host, s.Port, nil).Put(t.Context(), n, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if r.Method == http.MethodDelete {
			refuse(w, http.StatusForbidden, "AccessDenied")
			return
		}
		server.ServeHTTP(w, r)
	})
	b := open(t, host, port, nil)
	b.files.now = (&clock{noon.Add(100 * day)}).now
	if err := b.Expire(t.Context()); !IsDenied(err) || !strings.Contains(err.Error(), "s3:DeleteObject") || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("%v", err)
	}
	if err := b.Expire(t.Context()); err != nil {
		t.Errorf("it was tried again at once: %v", err)
	}
	if err := b.Put(t.Context(), "a.json", []byte("{}")); err != nil {
		t.Errorf("nothing can be put any more: %v", err)
	}
}
