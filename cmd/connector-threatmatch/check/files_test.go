package check_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestTheFolderOfTheBundlesIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]check.Finding{
		dir:                          {Status: check.OK, Detail: dir + " can be written to"},
		filepath.Join(dir, "nobody"): {Status: check.Failed, Detail: "does not exist", Remedy: "CONNECTOR_SEND_TO_DIRECTORY_PATH"},
		file:                         {Status: check.Failed, Detail: "is not a folder", Remedy: "CONNECTOR_SEND_TO_DIRECTORY_PATH"},
	} {
		r := newRig(t)
		r.set["CONNECTOR_SEND_TO_DIRECTORY"], r.set["CONNECTOR_SEND_TO_DIRECTORY_PATH"] = "true", path
		found := r.look()
		if got := found.of("directory, access"); got.Status != want.Status || !strings.Contains(got.Detail, want.Detail) || !strings.Contains(got.Remedy, want.Remedy) {
			t.Errorf("%s: %+v", path, got)
		}
		if got := found.of("directory, free space"); (got.Status == check.OK) != (want.Status == check.OK) {
			t.Errorf("%s: %+v", path, got)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: something was written: %v, %v", path, entries, err)
		}
	}
	for _, f := range newRig(t).look().list {
		if f.Part == "directory" || f.Part == "S3 bucket" {
			t.Errorf("it is looked at though nothing goes there: %+v", f)
		}
	}
}

func TestTheBucketOfTheBundlesIsLookedAt(t *testing.T) {
	s := filestest.Start(t)
	told := openctitest.Storage{Endpoint: s.Host, Port: s.Port, Bucket: filestest.Bucket, Region: filestest.Region, AccessKey: filestest.AccessKey, SecretKey: filestest.SecretKey}
	for name, tt := range map[string]struct {
		told    openctitest.Storage
		version string
		set     string // NAME=value pairs
		of      string
		want    check.Finding
	}{
		"all of OpenCTI": {told, "", "", "bucket", check.Finding{Status: check.OK, Detail: "can be listed"}},
		"its address":    {told, "", "", "address", check.Finding{Status: check.OK, Detail: "s3://bundles... as OpenCTI says"}},
		"nothing of OpenCTI": {openctitest.Storage{}, "6.8.0", "S3_ENDPOINT=" + s.Host + " S3_PORT=" + strconv.Itoa(s.Port) + " S3_USE_SSL=false CONNECTOR_SEND_TO_S3_BUCKET=bundles S3_ACCESS_KEY=" + filestest.AccessKey + " S3_SECRET_KEY=" + filestest.SecretKey,
			"bucket", check.Finding{Status: check.OK, Detail: "can be listed"}},
		"OpenCTI does not tell this user": {told, "no-rights", "S3_ENDPOINT=" + s.Host + " S3_PORT=" + strconv.Itoa(s.Port) + " S3_USE_SSL=false CONNECTOR_SEND_TO_S3_BUCKET=bundles S3_ACCESS_KEY=" + filestest.AccessKey + " S3_SECRET_KEY=" + filestest.SecretKey,
			"bucket", check.Finding{Status: check.OK, Detail: "can be listed"}},
		"its server": {told, "", "S3_ENDPOINT=" + s.Host + " CONNECTOR_SEND_TO_S3_BUCKET=bundles S3_ACCESS_KEY=" + filestest.AccessKey + " S3_SECRET_KEY=" + filestest.SecretKey,
			"bucket", check.Finding{Status: check.OK, Detail: "can be listed"}},
		"nobody says":      {told, "6.8.0", "", "address", check.Finding{Status: check.Failed, Detail: "nobody says", Remedy: "set S3_ENDPOINT"}},
		"no such bucket":   {told, "", "CONNECTOR_SEND_TO_S3_BUCKET=nobodys", "bucket", check.Finding{Status: check.Failed, Detail: "has no bucket nobodys", Remedy: "CONNECTOR_SEND_TO_S3_BUCKET"}},
		"another secret":   {told, "", "S3_ACCESS_KEY=" + filestest.AccessKey + " S3_SECRET_KEY=another", "bucket", check.Finding{Status: check.Failed, Detail: "does not take the keys", Remedy: "S3_SECRET_KEY"}},
		"nothing is there": {told, "", "S3_PORT=1", "connection", check.Finding{Status: check.Failed, Detail: "nothing listens", Remedy: "S3_ENDPOINT and S3_PORT"}},
		"TLS":              {told, "", "S3_USE_SSL=true", "connection", check.Finding{Status: check.Failed, Detail: "does not speak TLS", Remedy: "S3_USE_SSL=false"}},
		"writing":          {told, "", "", "writing", check.Finding{Status: check.Untried, Detail: "writes nothing"}},
	} {
		r := newRig(t)
		r.platform.Storage, r.platform.Version = tt.told, tt.version
		if tt.version == "no-rights" {
			r.platform.Version, r.platform.Capabilities = "", []string{"KNOWLEDGE"}
		}
		r.set["CONNECTOR_SEND_TO_S3"] = "true"
		for pair := range strings.FieldsSeq(tt.set) {
			key, value, _ := strings.Cut(pair, "=")
			r.set[key] = value
		}
		found := r.look()
		got := found.of("S3 bucket, " + tt.of)
		for part := range strings.SplitSeq(tt.want.Detail, "...") {
			if got.Status != tt.want.Status || !strings.Contains(got.Detail, part) || !strings.Contains(got.Remedy, tt.want.Remedy) {
				t.Errorf("%s: %+v in\n%s", name, got, found)
			}
		}
		if strings.Contains(found.String(), filestest.SecretKey) || strings.Contains(found.String(), filestest.AccessKey) {
			t.Errorf("%s: a key is shown in\n%s", name, found)
		}
		if entries, err := os.ReadDir(s.Folder); err != nil || len(entries) != 0 {
			t.Errorf("%s: something was written: %v, %v", name, entries, err)
		}
	}
}
