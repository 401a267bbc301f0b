// Package deploy holds what it takes to run the connector; only its tests are Go.
package deploy

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "draw the logo and copy the Dockerfile anew")

const catalogue = "catalogue/threatmatch/"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheManifestSaysWhatTheCatalogueAsksFor(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal([]byte(read(t, catalogue+"__metadata__/connector_manifest.json")), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"title": "ThreatMatch", "slug": "threatmatch", "license_type": "Commercial", "verified": false, "last_verified_date": nil,
		"playbook_supported": false, "max_confidence_level": 75.0, "support_version": ">=5.5.4", "manager_supported": true,
		"subscription_link": "https://www.secalliance.com/threat-intelligence-portal", "container_version": "rolling",
		"container_image": "opencti/connector-threatmatch", "container_type": "EXTERNAL_IMPORT",
		"logo": "external-import/threatmatch/__metadata__/logo.png",
	}
	for key, value := range want {
		if v, there := got[key]; !there || v != value {
			t.Errorf("%s is %v, want %v", key, v, value)
		}
	}
	for key, value := range map[string]string{"use_cases": "Adversary & Campaign Insights", "solution_categories": "Threat Intelligence Feed"} {
		if list, ok := got[key].([]any); !ok || len(list) != 1 || list[0] != value {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	for _, key := range []string{"description", "short_description"} {
		text, _ := got[key].(string)
		if text == "" || len(text) > 250 {
			t.Errorf("%s has %d characters", key, len(text))
		}
	}
	for _, key := range []string{"contact", "source_code"} {
		if _, there := got[key]; !there {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestTheSchemaFollowsTheCataloguesForm(t *testing.T) {
	var schema struct {
		Schema               string                    `json:"$schema"`
		Type                 string                    `json:"type"`
		AdditionalProperties bool                      `json:"additionalProperties"`
		Properties           map[string]map[string]any `json:"properties"`
		Required             []string                  `json:"required"`
	}
	if err := json.Unmarshal([]byte(read(t, catalogue+"__metadata__/connector_config_schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Schema != "https://json-schema.org/draft/2020-12/schema" || schema.Type != "object" || !schema.AdditionalProperties {
		t.Errorf("%+v", schema)
	}
	shared := []string{"HTTP_PROXY", "HTTP_PROXY_FILE", "HTTPS_PROXY", "HTTPS_PROXY_FILE", "NO_PROXY", "HTTPS_CA_CERTIFICATES"}
	for name, p := range schema.Properties {
		prefixed := slices.ContainsFunc([]string{"OPENCTI_", "CONNECTOR_", "THREATMATCH_", "MQ_", "S3_"}, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		})
		if name != strings.ToUpper(name) || !prefixed && !slices.Contains(shared, name) {
			t.Errorf("%s has none of the prefixes", name)
		}
		if _, hasDefault := p["default"]; hasDefault && slices.Contains(schema.Required, name) {
			t.Errorf("%s is required although it has a default", name)
		}
		if (p["format"] == "password") != (p["writeOnly"] == true) {
			t.Errorf("%s is half a secret", name)
		}
	}
	for name, value := range map[string]any{"CONNECTOR_LOG_LEVEL": "error", "THREATMATCH_IMPORT_FROM_DATE": "P30D"} {
		if schema.Properties[name]["default"] != value {
			t.Errorf("%s has the default %v", name, schema.Properties[name]["default"])
		}
	}
	doc := read(t, catalogue+"__metadata__/CONNECTOR_CONFIG_DOC.md")
	for name := range schema.Properties {
		if !strings.Contains(doc, "\n| "+name+" | ") {
			t.Errorf("%s is not in CONNECTOR_CONFIG_DOC.md", name)
		}
	}
}

func TestTheSamplesHavePlaceholdersInJustThatSpelling(t *testing.T) {
	asked := []string{"OPENCTI_TOKEN", "CONNECTOR_ID", "THREATMATCH_CLIENT_ID", "THREATMATCH_CLIENT_SECRET"}
	for path, prefix := range map[string]string{
		catalogue + ".env.sample": "", catalogue + "docker-compose.yml": "      - ", "connector.env.sample": "",
	} {
		text := read(t, path)
		if !strings.Contains(text, "\n"+prefix+"OPENCTI_URL=http://localhost\n") && !strings.HasPrefix(text, "# Base URL of OpenCTI.\nOPENCTI_URL=http://localhost\n") {
			t.Errorf("%s does not say OPENCTI_URL=http://localhost", path)
		}
		for _, name := range asked {
			if !strings.Contains(text, "\n"+prefix+name+"=ChangeMe\n") {
				t.Errorf("%s does not say %s=ChangeMe", path, name)
			}
		}
		for line := range strings.Lines(text) {
			name, _, isSetting := strings.Cut(strings.TrimPrefix(line, prefix), "=")
			if isSetting && strings.HasPrefix(line, prefix) && name == strings.ToUpper(name) && !strings.HasPrefix(name, "#") &&
				name != "OPENCTI_URL" && !slices.Contains(asked, name) {
				t.Errorf("%s sets %s, which has a default or may be left out", path, name)
			}
		}
	}
	sample := read(t, catalogue+"config.yml.sample")
	for _, want := range []string{"\n  url: 'http://localhost'\n", "\n  token: ChangeMe\n", "\n  id: ChangeMe\n", "\n  client_secret: ChangeMe\n", "\n  # log_level: error\n"} {
		if !strings.Contains(sample, want) {
			t.Errorf("config.yml.sample lacks %q", want)
		}
	}
	if !strings.HasPrefix(read(t, "config.sample.yml"), sample) {
		t.Error("config.sample.yml does not begin as the catalogue's sample")
	}
}

func TestTheServiceRunsWithoutPrivileges(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Restart  string   `yaml:"restart"`
			ReadOnly bool     `yaml:"read_only"`
			CapDrop  []string `yaml:"cap_drop"`
			Volumes  []string `yaml:"volumes"`
			Health   struct {
				Test []string `yaml:"test"`
			} `yaml:"healthcheck"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yml")), &compose); err != nil {
		t.Fatal(err)
	}
	s, ok := compose.Services["connector-threatmatch"]
	if !ok || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Restart != "unless-stopped" ||
		!slices.Equal(s.Volumes, []string{"threatmatch-state:/var/lib/connector-threatmatch"}) {
		t.Errorf("%+v", s)
	}
	if want := []string{"CMD", "/usr/local/bin/connector-threatmatch", "health"}; !slices.Equal(s.Health.Test, want) {
		t.Errorf("health is asked with %q, not by the program itself", s.Health.Test)
	}
	dockerfile := read(t, "Dockerfile")
	for _, want := range []string{"\nUSER 10001:10001\n", "\nENTRYPOINT [\"/usr/local/bin/connector-threatmatch\"]\n", "\nVOLUME /var/lib/connector-threatmatch\n", "\nFROM scratch\n",
		`CMD ["/usr/local/bin/connector-threatmatch", "health"]`} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
}

// logo draws two shapes that match: a ring and the point it closes in on.
func logo() []byte {
	const size = 256
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	dark, light, red := color.NRGBA{16, 32, 56, 255}, color.NRGBA{235, 240, 247, 255}, color.NRGBA{217, 48, 62, 255}
	cover := func(d float64) float64 { return min(max(0.5-d, 0), 1) } // of a pixel at distance d outside an edge
	blend := func(under, over color.NRGBA, part float64) color.NRGBA {
		mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*(1-part) + float64(b)*part)) }
		return color.NRGBA{mix(under.R, over.R), mix(under.G, over.G), mix(under.B, over.B), 255}
	}
	for y := range size {
		for x := range size {
			dx, dy := float64(x)-size/2+0.5, float64(y)-size/2+0.5
			r := math.Hypot(dx, dy)
			c := blend(dark, light, cover(math.Abs(r-84)-9))
			c = blend(c, light, cover(math.Abs(r-46)-6))
			cross := math.Min(math.Abs(dx), math.Abs(dy)) - 5
			if r > 60 && r < 116 {
				c = blend(c, light, cover(cross))
			}
			img.SetNRGBA(x, y, blend(c, red, cover(r-20)))
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		panic(err) // writes to memory
	}
	return out.Bytes()
}

func TestTheLogoIsASquarePicture(t *testing.T) {
	const path = catalogue + "__metadata__/logo.png"
	if *update {
		if err := os.WriteFile(path, logo(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img, err := png.Decode(strings.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	if b := img.Bounds(); b.Dx() != b.Dy() || b.Dx() < 128 {
		t.Errorf("the logo is %v", b)
	}
}
