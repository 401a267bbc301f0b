package transform

import (
	"strings"
	"testing"
)

func TestAPlainPatternSaysWhatItIsAbout(t *testing.T) {
	for pattern, want := range map[string]string{
		"[domain-name:value = 'c2.example.org']":                          "Domain-Name",
		"[ipv4-addr:value='192.0.2.1']":                                   "IPv4-Addr",
		"  [ ipv6-addr : value =  '2001:db8::1' ]\n":                      "IPv6-Addr",
		"[url:value = 'http://c2.example.org/a?b=\\'c\\'']":               "Url",
		"[url:value == 'http://c2.example.org/[a]']":                      "Url",
		"[email-addr:value = 'a@b.example']":                              "Email-Addr",
		"[file:hashes.'SHA-256'='b593']":                                  "StixFile",
		"[file:hashes.MD5 = 'b593']":                                      "StixFile",
		"[file:hashes.\"SHA-256\" = 'b593']":                              "",
		"[file:name = 'a.exe']":                                           "StixFile",
		"[file:extensions.'windows-pebinary-ext'.sections[0].name = 'x']": "StixFile",
		"[file:extensions.x.sections[*].entropy = 7.5]":                   "StixFile",
		"[mac-addr:value = '00:00:5e:00:53:01']":                          "Mac-Addr",
		"[autonomous-system:number = 64500]":                              "Autonomous-System",
		"[network-traffic:dst_port = -1]":                                 "Network-Traffic",
		"[mutex:name = 'Global\\\\x']":                                    "Mutex",
		"[hostname:value = 'h']":                                          "Hostname",
		"[x-opencti-hostname:value = 'h']":                                "Hostname",
		"[windows-registry-key:key = 'HKLM\\\\x']":                        "Windows-Registry-Key",
		"[process:is_hidden = true]":                                      "Process",
		"[x509-certificate:validity_not_after = t'2025-01-01T00:00:00Z']": "X509-Certificate",
		"[artifact:payload_bin = b'AAAA']":                                "Artifact",
		"[cryptocurrency-wallet:value = 'w']":                             "Cryptocurrency-Wallet",

		"[ipv4-addr:value != '192.0.2.1']":                                 "",
		"[ipv4-addr:value LIKE '192.0.%']":                                 "",
		"[ipv4-addr:value IN ('192.0.2.1')]":                               "",
		"[NOT ipv4-addr:value = '192.0.2.1']":                              "",
		"[ipv4-addr:value NOT = '192.0.2.1']":                              "",
		"[ipv4-addr:value > 1]":                                            "",
		"[ipv4-addr:value = '192.0.2.1' OR ipv4-addr:value = '192.0.2.2']": "",
		"[ipv4-addr:value = '192.0.2.1' AND url:value = 'x']":              "",
		"[ipv4-addr:value = '192.0.2.1'] AND [url:value = 'x']":            "",
		"[ipv4-addr:value = '192.0.2.1'] WITHIN 5 SECONDS":                 "",
		"([ipv4-addr:value = '192.0.2.1'])":                                "",
		"[domain-name:resolves_to_refs[*].value = '192.0.2.1']":            "",
		"[network-traffic:dst_ref.value = '192.0.2.1']":                    "",
		"[x-custom:value = 'x']":                                           "",
		"[malware:name = 'x']":                                             "",
		"[ssh-key:fingerprint_sha256 = 'x']":                               "",
		"[simple-observable:value = 'x']":                                  "",
		"[ipv4-addr:value = '192.0.2.1'":                                   "",
		"ipv4-addr:value = '192.0.2.1'":                                    "",
		"[ipv4-addr:value = '192.0.2.1]":                                   "",
		"[ipv4-addr:value = '192.0.2.1\\']":                                "",
		"[ipv4-addr:value = '']":                                           "",
		"[ipv4-addr:value'x' = 'y']":                                       "",
		"[ipv4-addr:value = ]":                                             "",
		"[ipv4-addr: = 'x']":                                               "",
		"[:value = 'x']":                                                   "",
		"[ipv4-addr = 'x']":                                                "",
		"[ipv4-addr:value[] = 'x']":                                        "",
		"[ipv4-addr:value. = 'x']":                                         "",
		"[]":                                                               "", "": "",
	} {
		if got := observableTypeOf(pattern); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

func TestAnIndicatorSaysItsObservableTypeUnlessItDidItself(t *testing.T) {
	const url = `"pattern":"[url:value = 'http://c2.example.org/a']"`
	const said = `,"x_opencti_main_observable_type":"Url"`
	tr := mustNew(t, Config{TLP: "amber"})
	for _, c := range []struct{ name, in, want string }{
		{"plain", `"pattern_type":"stix",` + url, `"pattern_type":"stix",` + url + said},
		{"in capitals", `"pattern_type":" STIX",` + url, `"pattern_type":" STIX",` + url + said},
		{"given", `"pattern_type":"stix",` + url + `,"x_opencti_main_observable_type":"Text"`, `"pattern_type":"stix",` + url + `,"x_opencti_main_observable_type":"Text"`},
		{"given null", `"pattern_type":"stix","x_opencti_main_observable_type":null,` + url, `"pattern_type":"stix",` + url + said},
		{"given blank", `"pattern_type":"stix","x_opencti_main_observable_type":" ",` + url, `"pattern_type":"stix",` + url + said},
		{"given as something else", `"pattern_type":"stix","x_opencti_main_observable_type":["Text"],` + url, `"pattern_type":"stix",` + url + said},
		{"given in OpenCTI's extension", `"pattern_type":"stix",` + url + `,"extensions":{"` + openctiExtension + `":{"main_observable_type":"Text"}}`, `"pattern_type":"stix",` + url + `,"extensions":{"` + openctiExtension + `":{"main_observable_type":"Text"}}`},
		{"an extension about something else", `"pattern_type":"stix",` + url + `,"extensions":{"` + openctiExtension + `":{"score":5}}`, `"pattern_type":"stix",` + url + `,"extensions":{"` + openctiExtension + `":{"score":5}}` + said},
		{"another language", `"pattern_type":"yara",` + url, `"pattern_type":"yara",` + url},
		{"no language", url, url},
		{"no pattern", `"pattern_type":"stix"`, `"pattern_type":"stix"`},
		{"a pattern that is no text", `"pattern_type":"stix","pattern":["x"]`, `"pattern_type":"stix","pattern":["x"]`},
		{"a name stays", `"name":"Loader [profiles - 2342]","pattern_type":"stix",` + url, `"name":"Loader [profiles - 2342]","pattern_type":"stix",` + url + said},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mapMembers(t, tr, "indicator", c.in); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
	if got := mapMembers(t, tr, "malware", `"pattern_type":"stix",`+url); strings.Contains(got, observableTypeKey) {
		t.Errorf("what is no indicator: %s", got)
	}
	if got := mapMembers(t, mustNew(t, upstreamConfig), "indicator", `"pattern_type":"stix",`+url); strings.Contains(got, observableTypeKey) {
		t.Errorf("what release 7.260817 sent: %s", got)
	}
}

func FuzzObservableType(f *testing.F) {
	for _, seed := range []string{"[file:hashes.'SHA-256'='b593']", "[a:b[*].'c'[0] == t'x']", "[url:value = '\\", "[ipv4-addr:value = -1.5]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		typ := observableTypeOf(pattern)
		if typ != "" && (strings.Count(pattern, "=") == 0 || !strings.HasSuffix(strings.TrimRight(pattern, patternBlanks), "]")) {
			t.Errorf("%q is about %s", pattern, typ)
		}
		if spaced := " " + strings.Replace(pattern, "[", "[ ", 1) + "\n"; observableTypeOf(spaced) != typ {
			t.Errorf("%q is about %q, with blanks about %q", pattern, typ, observableTypeOf(spaced))
		}
	})
}
