package transform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// TestObservablesHaveTheIDsOfOpenCTI goes by ids that OASIS' own library (stix2 3.0 for Python) makes of these observables,
// and for the hostname, which STIX does not have, by its canonical JSON.
func TestObservablesHaveTheIDsOfOpenCTI(t *testing.T) {
	for pattern, want := range map[string]string{
		"[ipv4-addr:value = '198.51.100.7']":                                                           "ipv4-addr--12592121-be4c-5a93-a813-5a5af16e50db",
		"[ipv4-addr:value = '198.51.100.0/24']":                                                        "ipv4-addr--1ea47840-aa39-5aa8-b4a2-cd203eb6662a",
		"[ipv6-addr:value = '2001:db8::7']":                                                            "ipv6-addr--9ed76cd5-ab3b-55a5-b6ec-b55c3efb0be2",
		"[ipv6-addr:value = '2001:DB8::/32']":                                                          "ipv6-addr--03389b87-0624-513e-928d-7116432e08b3",
		"[domain-name:value = 'C2.Example.org']":                                                       "domain-name--44e7c539-1d97-5c97-b567-f6b693bd515f",
		"[domain-name:value = 'bücher.example']":                                                       "domain-name--dbf3aff2-b3cd-57d2-9616-0ddfde9d01ad",
		`[url:value = 'http://c2.example.org/a?b=\'c\'&d=\\e']`:                                        "url--bbf1b6ba-0425-54f8-a4b2-cce222e76e9d",
		"[email-addr:value = 'Bad.Guy@Example.org']":                                                   "email-addr--2ad70c0e-da96-5142-a2a0-86ea229b5876",
		"[file:hashes.MD5 = 'd41d8cd98f00b204e9800998ecf8427e']":                                       "file--02fff920-f614-527c-81d1-6353633a6d21",
		"[file:hashes.'SHA-1' = 'da39a3ee5e6b4b0d3255bfef95601890afd80709']":                           "file--fa6e66a5-f019-51f9-8ab5-812023e58c6e",
		"[file:hashes.'SHA-256' = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']": "file--22f8ff52-8f62-5f03-a53a-6f50f54fd74c",
		"[file:hashes.'SHA-512' = 'cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e']": "file--39cf7bb7-502d-50ad-845c-b910a0598953",
		"[hostname:value = 'mail-01']":           "hostname--4a0f5c05-95f5-5ea7-be7b-0bb6e2a93348",
		"[x-opencti-hostname:value = 'mail-01']": "hostname--4a0f5c05-95f5-5ea7-be7b-0bb6e2a93348",
	} {
		seen := observations(pattern)
		if len(seen) != 1 || seen[0].id() != want {
			t.Errorf("%s: %v, want %s", pattern, seen, want)
		}
	}
}

func TestAPatternTellsOfObservablesOnlyWhereItSaysNoMore(t *testing.T) {
	for pattern, want := range map[string]string{
		"[ipv4-addr:value='192.0.2.1' OR ipv4-addr:value = '192.0.2.2']":           `{"value":"192.0.2.1"} {"value":"192.0.2.2"}`,
		"[ipv4-addr:value='192.0.2.1'] OR [domain-name:value = 'a.example']":       `{"value":"192.0.2.1"} {"value":"a.example"}`,
		"[ipv4-addr:value='192.0.2.1'] OR [ipv4-addr:value = '192.0.2.1']":         `{"value":"192.0.2.1"}`,
		"[file:hashes.'MD5' = '" + strings.Repeat("aB", 16) + "']":                 `{"hashes":{"MD5":"` + strings.Repeat("aB", 16) + `"}}`,
		"[file:hashes.'sha-1' = '" + strings.Repeat("ab", 20) + "']":               `{"hashes":{"SHA-1":"` + strings.Repeat("ab", 20) + `"}}`,
		`[url:value = 'https://a.example/\\x']`:                                    `{"value":"https://a.example/\\x"}`,
		"[domain-name:value = '_dmarc.a.example']":                                 `{"value":"_dmarc.a.example"}`,
		"[domain-name:value = '1.2.a.xn--p1ai']":                                   `{"value":"1.2.a.xn--p1ai"}`,
		"[ipv4-addr:value='192.0.2.1' OR ipv4-addr:value = '192.0.2.256']":         "",
		"[ipv4-addr:value='192.0.2.1' AND ipv4-addr:value = '192.0.2.2']":          "",
		"[ipv4-addr:value='192.0.2.1'] AND [ipv4-addr:value = '192.0.2.2']":        "",
		"[ipv4-addr:value='192.0.2.1'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.2']": "",
		"[ipv4-addr:value='192.0.2.1'] OR":                                         "",
		"[ipv4-addr:value='192.0.2.1' OR ]":                                        "",
		"[ipv4-addr:value='192.0.2.1'] WITHIN 5 SECONDS":                           "",
		"[ipv4-addr:value != '192.0.2.1']":                                         "",
		"[ipv4-addr:value = '192.0.2.256']":                                        "",
		"[ipv4-addr:value = '192.0.2.01']":                                         "",
		"[ipv4-addr:value = '192.0.2.0/33']":                                       "",
		"[ipv4-addr:value = '2001:db8::1']":                                        "",
		"[ipv6-addr:value = '192.0.2.1']":                                          "",
		"[ipv6-addr:value = 'fe80::1%eth0']":                                       "",
		"[ipv6-addr:value = '::ffff:192.0.2.1']":                                   "",
		"[domain-name:value = 'localhost']":                                        "",
		"[domain-name:value = '192.0.2.1']":                                        "",
		"[domain-name:value = 'a..example']":                                       "",
		"[domain-name:value = '-a.example']":                                       "",
		"[domain-name:value = 'a.example.']":                                       "",
		"[domain-name:value = 'a b.example']":                                      "",
		"[domain-name:value = 'a[.]example']":                                      "",
		"[domain-name:value = 'http://a.example']":                                 "",
		"[domain-name:value = '" + strings.Repeat("a", 64) + ".example']":          "",
		"[domain-name:value = '" + strings.Repeat("a.", 126) + "ex']":              "",
		"[domain-name:resolves_to_refs[*].value = '192.0.2.1']":                    "",
		"[domain-name:value[0] = 'a.example']":                                     "",
		"[url:value = 'a.example/b']":                                              "",
		"[url:value = 'http://']":                                                  "",
		"[url:value = 'http:///x']":                                                "",
		"[url:value = '://a']":                                                     "",
		"[url:value = 'ht tp://a.example']":                                        "",
		"[url:value = 'http://a.example/b c']":                                     "",
		`[url:value = 'http://a.example/\n']`:                                      "",
		"[url:value = b'aHR0cDovL2EuZXhhbXBsZQ==']":                                "",
		"[email-addr:value = 'a.example']":                                         "",
		"[email-addr:value = '@a.example']":                                        "",
		"[email-addr:value = 'a@b@c.example']":                                     "",
		"[email-addr:value = 'a b@c.example']":                                     "",
		"[email-addr:display_name = 'a@b.example']":                                "",
		"[file:hashes.MD5 = 'd41d8cd98f00b204e9800998ecf8427']":                    "",
		"[file:hashes.MD5 = 'z41d8cd98f00b204e9800998ecf8427e']":                   "",
		"[file:hashes.'SHA-1' = 'd41d8cd98f00b204e9800998ecf8427e']":               "",
		"[file:hashes.SSDEEP = '3:a:b']":                                           "",
		"[file:name = 'a.exe']":                                                    "",
		"[process:name = 'a.exe']":                                                 "",
		"[hostname:value = 'a_b']":                                                 "",
		"":                                                                         "",
		"[ipv4-addr:value='192.0.2.1'" + strings.Repeat(" OR ipv4-addr:value='192.0.2.1'", mostComparisons) + "]": "",
	} {
		var got []string
		for _, o := range observations(pattern) {
			got = append(got, "{"+quote(o.name)+":"+o.value+"}")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", pattern, got, want)
		}
	}
}

// observing makes observables.
var observing = Config{TLP: "amber", Observables: true}

func TestAnIndicatorBringsItsObservableAndARelationBasedOnIt(t *testing.T) {
	const id = "indicator--5a1f2f0e-7c4f-5c2b-9a55-0d3b5a3f8e11"
	const in = `{"type":"indicator","id":"` + id + `","pattern_type":"stix","pattern":"[ipv4-addr:value = '198.51.100.7']","x_opencti_score":70,"labels":["x"],` +
		`"created_by_ref":"identity--1",` + red + `}`
	tr := mustNew(t, observing)
	objects, err := tr.Transform(t.Context(), item(in))
	if err != nil {
		t.Fatal(err)
	}
	with := `"created_by_ref":"identity--1",` + red + `}`
	for _, want := range []string{
		`{"type":"ipv4-addr","spec_version":"2.1","id":"ipv4-addr--12592121-be4c-5a93-a813-5a5af16e50db","value":"198.51.100.7","x_opencti_score":70,` + with,
		// The id is the one of pycti 7.261026.0.
		`{"type":"relationship","spec_version":"2.1","id":"relationship--02faafb5-5f7d-5156-b786-f5184f15e813","relationship_type":"based-on",` +
			`"source_ref":"` + id + `","target_ref":"ipv4-addr--12592121-be4c-5a93-a813-5a5af16e50db",` + with,
	} {
		at := slices.IndexFunc(objects, func(o pipeline.Object) bool { return string(o.JSON) == want })
		if at < 0 {
			t.Fatalf("%s\nis not in %s", want, texts(objects))
		}
		o := objects[at]
		if isObservable := o.Type == "ipv4-addr"; o.Weak != isObservable || o.Stated.Level != levelRed || o.Stated.Author == 0 || o.Digest == 0 {
			t.Errorf("%+v", o)
		}
		if o.Type == "relationship" {
			if !slices.Contains(o.Refs, id) || !slices.Contains(o.Refs, "ipv4-addr--12592121-be4c-5a93-a813-5a5af16e50db") {
				t.Errorf("refers to %v", o.Refs)
			}
			if _, _, to := (Fitter{Table: relations.BuiltIn()}).Fit(o, func(string) uint8 { return 0 }); to != "" {
				t.Errorf("OpenCTI would get it as %s", to)
			}
		}
	}
	if plain, _ := mustNew(t, Config{TLP: "amber"}).Transform(t.Context(), item(in)); len(plain) != len(objects)-2 {
		t.Errorf("without being asked for: %s", texts(plain))
	}
}

func texts(objects []pipeline.Object) string {
	var all []string
	for _, o := range objects {
		all = append(all, string(o.JSON))
	}
	return strings.Join(all, "\n")
}

func TestAnObservableOfTheItemItselfStays(t *testing.T) {
	objects, err := mustNew(t, observing).Transform(t.Context(), item(`[{"type":"indicator","id":"indicator--1","pattern_type":"stix","pattern":"[url:value = 'http://a.example']"},
		{"type":"url","id":"`+observation{"url", "value", `"http://a.example"`}.id()+`","value":"http://a.example","x_opencti_description":"seen"}]`))
	urls := slices.DeleteFunc(objects, func(o pipeline.Object) bool { return o.Type != "url" })
	if err != nil || len(urls) != 1 || !strings.Contains(string(urls[0].JSON), "seen") || urls[0].Weak {
		t.Errorf("%s, %v", texts(urls), err)
	}
}

func TestAScoreIsAddedWhereTheDataHasNone(t *testing.T) {
	score := 0
	for _, c := range []struct{ typ, members, want string }{
		{"indicator", ``, `"x_opencti_score":0`},
		{"indicator", `"x_opencti_score":null`, `"x_opencti_score":0`},
		{"indicator", `"x_opencti_score":90`, `"x_opencti_score":90`},
		{"indicator", `"extensions":{"` + openctiExtension + `":{"score":90}}`, ""},
		{"indicator", `"extensions":{"` + openctiExtension + `":{"score":null}}`, `"x_opencti_score":0`},
		{"url", `"value":"http://a.example"`, `"x_opencti_score":0`},
		{"malware", ``, ""},
		{"report", ``, ""},
	} {
		object := fmt.Sprintf(`{"type":%q,"id":%q%s}`, c.typ, c.typ+"--1", strings.TrimSuffix(","+c.members, ","))
		for _, labels := range []Labels{LabelsAsKnowledge, LabelsDropped} {
			got := string(transformOne(t, mustNew(t, Config{TLP: "amber", Score: &score, Labels: labels}), object).JSON)
			if c.want == "" && strings.Contains(got, scoreKey) || c.want != "" && (!strings.Contains(got, c.want) || strings.Count(got, scoreKey) != 1) {
				t.Errorf("%s: %s, want %s", object, got, c.want)
			}
		}
		if got := string(transformOne(t, mustNew(t, Config{TLP: "amber"}), object).JSON); strings.Count(got, scoreKey) > strings.Count(c.members, ":90") {
			t.Errorf("without being asked for: %s", got)
		}
	}
	for _, bad := range []int{-1, 101} {
		if _, err := New(Config{TLP: "amber", Score: &bad}); err == nil {
			t.Errorf("%d is taken for a score", bad)
		}
	}
}

func TestAnObservableHasTheScoreOfItsIndicator(t *testing.T) {
	score := 40
	for given, want := range map[string]string{``: "40", `,"x_opencti_score":70`: "70", `,"extensions":{"` + openctiExtension + `":{"score":70}}`: "70", `,"x_opencti_score":"x"`: ""} {
		tr := mustNew(t, Config{TLP: "amber", Observables: true, Score: &score})
		objects, _ := tr.Transform(t.Context(), item(`{"type":"indicator","id":"indicator--1","pattern_type":"stix","pattern":"[url:value = 'http://a.example']"`+given+`}`))
		at := slices.IndexFunc(objects, func(o pipeline.Object) bool { return o.Type == "url" })
		var url map[string]any
		if at < 0 || json.Unmarshal(objects[at].JSON, &url) != nil {
			t.Fatalf("%s: %s", given, texts(objects))
		}
		if got := fmt.Sprint(url[scoreKey]); got != want && (want != "" || url[scoreKey] != nil) {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}

func TestTheValidityOfAnIndicatorStaysLetterForLetter(t *testing.T) {
	score := 10
	for _, c := range []Config{{TLP: "amber"}, {TLP: "amber", Score: &score, Observables: true, Labels: LabelsDropped}} {
		tr := mustNew(t, c)
		rapid.Check(t, func(t *rapid.T) {
			draw := func(name string) string {
				at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, name), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(time.FixedZone("", rapid.IntRange(-12, 14).Draw(t, "zone")*3600))
				layout := rapid.SampledFrom([]string{time.RFC3339, time.RFC3339Nano, "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000000Z07:00"}).Draw(t, "layout")
				return fmt.Sprintf(`"%s":"%s"`, name, at.Format(layout))
			}
			from, until := draw("valid_from"), draw("valid_until")
			objects, err := tr.Transform(t.Context(), item(`{"type":"indicator","id":"indicator--1",`+from+`,"pattern_type":"stix","pattern":"[url:value = 'http://a.example']",`+until+`}`))
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(objects, func(o pipeline.Object) bool { return o.Type == "indicator" })
			if text := string(objects[at].JSON); strings.Count(text, from) != 1 || strings.Count(text, until) != 1 || strings.Count(text, "valid_") != 2 {
				t.Fatalf("%s, %s became %s", from, until, text)
			}
		})
	}
}
