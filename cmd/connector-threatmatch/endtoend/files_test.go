package endtoend

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// filesWorld is a world whose connector puts bundles into a place as files, and nothing into the queue unless it is told to.
func filesWorld(t *testing.T, cfg threatmatchtest.Config, place string) (w *world, folder string) {
	t.Helper()
	w = newWorld(t, worldConfig{api: cfg})
	w.env["CONNECTOR_SEND_TO_QUEUE"] = "false"
	if place == "directory" {
		folder = t.TempDir()
		w.env["CONNECTOR_SEND_TO_DIRECTORY"], w.env["CONNECTOR_SEND_TO_DIRECTORY_PATH"] = "true", folder
		return w, folder
	}
	server := filestest.Start(t)
	w.env["CONNECTOR_SEND_TO_S3"], w.env["CONNECTOR_SEND_TO_S3_BUCKET"] = "true", filestest.Bucket
	w.env["S3_ENDPOINT"], w.env["S3_PORT"], w.env["S3_USE_SSL"] = server.Host, strconv.Itoa(server.Port), "false"
	w.env["S3_ACCESS_KEY"], w.env["S3_SECRET_KEY"], w.env["S3_BUCKET_REGION"] = filestest.AccessKey, filestest.SecretKey, filestest.Region
	w.secrets = append(w.secrets, filestest.SecretKey)
	return w, filepath.Join(server.Folder, "connectors")
}

// fileNames are the files of a folder, in order.
func fileNames(folder string) (names []string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// readFiles reads the bundles of a folder, in the order of their names, as strictly as could be.
func (w *world) readFiles(folder, kind string) (all []delivery) {
	w.t.Helper()
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasSuffix(path, ".json") {
			w.t.Errorf("%s lies there", path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range fileNames(folder) {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			w.t.Fatal(err)
		}
		var document struct {
			Kind      string `json:"bundle_type"`
			Applicant string `json:"applicant_id"`
			Connector struct {
				ID       string `json:"id"`
				Name     string `json:"name"`
				Type     string `json:"type"`
				Scope    string `json:"scope"`
				Auto     *bool  `json:"auto"`
				Validate *bool  `json:"validate_before_import"`
			} `json:"connector"`
			Types  []string        `json:"entities_types"`
			Bundle json.RawMessage `json:"bundle"`
			Update *bool           `json:"update"`
		}
		if err := strictly(text, &document); err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		c := document.Connector
		if !strings.HasPrefix(name, "threatmatch-") || document.Kind != kind || document.Applicant == "" || document.Types == nil || document.Update == nil || *document.Update ||
			c.ID != w.env["CONNECTOR_ID"] || c.Name != "ThreatMatch" || c.Type != "EXTERNAL_IMPORT" || c.Scope != "threatmatch" || c.Auto == nil || c.Validate == nil {
			w.t.Errorf("%s: %+v", name, document)
		}
		all = append(all, readBundle(w.t, document.Bundle)...)
	}
	return all
}

var places = map[string]string{"directory": "DIRECTORY_BUNDLE", "S3": "S3_BUNDLE"}

func TestEverythingIsPutIntoFiles(t *testing.T) {
	t.Parallel()
	for place, kind := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			data := someData()
			w, folder := filesWorld(t, threatmatchtest.Config{Data: data}, place)
			w.run(exitOK)
			messages := w.readFiles(folder, kind)
			checkOrder(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			if len(w.take()) > 0 || len(w.platform.Works()) > 0 {
				t.Error("something went to the queue, or a work was opened")
			}
			before := fileNames(folder)
			w.run(exitOK)
			if now := fileNames(folder); !slices.Equal(now, before) {
				t.Errorf("a run without news has made %d files", len(now)-len(before))
			}
		})
	}
}

func TestFilesAndTheQueueGetTheSame(t *testing.T) {
	t.Parallel()
	data := someData()
	w, folder := filesWorld(t, threatmatchtest.Config{Data: data}, "directory")
	w.env["CONNECTOR_SEND_TO_QUEUE"] = ""
	w.run(exitOK)
	queued := w.take()
	w.checkWhole(data)
	w.checkBooks(queued, false)
	filed := w.readFiles(folder, places["directory"])
	same := slices.EqualFunc(queued, filed, func(a, b delivery) bool { return string(a.Object) == string(b.Object) })
	if !same {
		t.Errorf("%d messages were queued and %d objects put into files, or not the same", len(queued), len(filed))
	}
}

func TestNoFileIsMissingHoweverTheProcessDies(t *testing.T) {
	t.Parallel()
	for place, kind := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 9, Profiles: 40, Alerts: 40, Indicators: 3000})
			w, folder := filesWorld(t, threatmatchtest.Config{Data: data, Latency: 20 * time.Millisecond, PageSize: 50}, place)
			for _, files := range []int{1, 3, 6, 8} {
				p := w.start()
				eventually(t, "some files are there", func() bool { return len(fileNames(folder)) >= files || p.ended() })
				if p.ended() {
					break
				}
				p.signal(syscall.SIGKILL)
				p.wait()
			}
			w.run(exitOK)
			if place == "directory" { // what was being written is not under its name
				left, err := filepath.Glob(filepath.Join(folder, "*.tmp"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range left {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			messages := w.readFiles(folder, kind)
			checkOrder(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
		})
	}
}

func TestAFolderThatIsMissingStopsTheRunAndTheState(t *testing.T) {
	t.Parallel()
	data := someData()
	w, folder := filesWorld(t, threatmatchtest.Config{Data: data}, "directory")
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	p := w.run(exitRunFailed)
	if !p.logs(folder+" does not exist") || !p.logs("CONNECTOR_SEND_TO_DIRECTORY_PATH") {
		t.Error(p.tail())
	}
	if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() {
		t.Errorf("the state says that something was delivered: %s", w.platform.State())
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	w.run(exitOK)
	checkHeld(t, w.readFiles(folder, places["directory"]), held(t, data, defaultMapping))
}

func TestARunWithNothingToWriteTellsOfAFolderThatIsMissing(t *testing.T) {
	t.Parallel()
	w, folder := filesWorld(t, threatmatchtest.Config{Data: someData()}, "directory")
	w.run(exitOK)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if p := w.run(exitOK); !p.logs("files could not be looked after") || !p.logs(folder+" does not exist") {
		t.Error(p.tail())
	}
}

func TestABucketThatIsMissingStopsTheRunAndTheState(t *testing.T) {
	t.Parallel()
	w, _ := filesWorld(t, threatmatchtest.Config{Data: someData()}, "S3")
	w.env["CONNECTOR_SEND_TO_S3_BUCKET"] = "another-bucket"
	p := w.run(exitRunFailed)
	if !p.logs("no bucket another-bucket") || !p.logs("CONNECTOR_SEND_TO_S3_BUCKET") {
		t.Error(p.tail())
	}
	if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() {
		t.Errorf("the state says that something was delivered: %s", w.platform.State())
	}
}

func TestAnOpenCTIThatDoesNotTellItsStorageStopsNoRunThatNeedsNoneOfIt(t *testing.T) {
	t.Parallel()
	data := someData()
	w, folder := filesWorld(t, threatmatchtest.Config{Data: data}, "S3")
	quiet := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(string(body), `"ownStorage"`) {
			_, _ = rw.Write([]byte(`{"errors":[{"name":"FORBIDDEN_ACCESS","message":"no"}]}`))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.platform.ServeHTTP(rw, r)
	}))
	t.Cleanup(quiet.Close)
	w.env["OPENCTI_URL"] = quiet.URL
	w.env["S3_BUCKET_REGION"], w.env["S3_ACCESS_KEY"], w.env["S3_SECRET_KEY"] = "", "", ""
	if p := w.run(exitRunFailed); !p.logs("ask OpenCTI for its bucket") {
		t.Errorf("without keys: %s", p.tail())
	}
	w.env["S3_ACCESS_KEY"], w.env["S3_SECRET_KEY"] = filestest.AccessKey, filestest.SecretKey
	w.run(exitOK)
	checkHeld(t, w.readFiles(folder, places["S3"]), held(t, data, defaultMapping))
}
