package opencti_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestThePlatformsStorageIsTold(t *testing.T) {
	want := opencti.Storage{Endpoint: "minio", Port: 9000, Bucket: "opencti-bucket", Region: "us-east-1", AccessKey: "key-nobody-may-see", SecretKey: "secret-nobody-may-see"}
	_, c, _ := start(t, openctitest.Config{Storage: openctitest.Storage(want)})
	for _, when := range []string{"before", "after"} {
		if got, err := c.Storage(t.Context()); err != nil || got != want {
			t.Errorf("%s its registration: %v, %v", when, got, err)
		}
		register(t, c)
	}
	if shown := fmt.Sprintf("%v %+v %#v", want, want, want); strings.Contains(shown, "nobody-may-see") || !strings.Contains(shown, "minio:9000/opencti-bucket") {
		t.Error(shown)
	}
}

func TestAPlatformThatTellsNoStorageIsNoFailure(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{
		"an older release":    {Version: "6.8.0", Storage: openctitest.Storage{AccessKey: "a", SecretKey: "b"}},
		"without keys of its": {Storage: openctitest.Storage{Endpoint: "s3.amazonaws.com", Port: 443}},
	} {
		_, c, _ := start(t, cfg)
		for _, when := range []string{"before", "after"} {
			if got, err := c.Storage(t.Context()); err != nil || got != (opencti.Storage{}) {
				t.Errorf("%s, %s its registration: %v, %v", name, when, got, err)
			}
			register(t, c)
		}
	}
	_, c, _ := start(t, openctitest.Config{Version: "5.12.0", Storage: openctitest.Storage{AccessKey: "a"}})
	if got, err := c.Storage(t.Context()); err != nil || got != (opencti.Storage{}) {
		t.Errorf("without another connector: %v, %v", got, err)
	}
	_, c, _ = start(t, openctitest.Config{Capabilities: []string{"MODULES"}})
	if _, err := c.Storage(t.Context()); !opencti.IsForbidden(err) {
		t.Errorf("without the right: %v", err)
	}
}
