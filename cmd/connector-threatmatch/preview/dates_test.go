package preview

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// changed is a ThreatMatch with a profile and an indicator of each of some moments.
func changed(t *testing.T, moments ...time.Time) *threatmatchtest.Folder {
	t.Helper()
	data := new(threatmatchtest.Folder)
	for i, at := range moments {
		stamps := fmt.Sprintf(`"spec_version":"2.1","created":%q,"modified":%[1]q`, at.Format(time.RFC3339))
		uuid := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		old := fmt.Sprintf(`{"type":"tool","id":"tool--%s","spec_version":"2.1","created":"2001-01-01T00:00:00Z","modified":"2001-01-01T00:00:00Z","name":"a"}`, uuid)
		must(t, data.Put(fetch.ProfilesDataset, int64(i+1), at, fmt.Appendf(nil, `[%s,{"type":"malware","id":"malware--%s",%s,"name":"a","is_family":false}]`, old, uuid, stamps)))
		must(t, data.PutIndicator(fmt.Appendf(nil, `{"type":"indicator","id":"indicator--%s",%s,"pattern":"[ipv4-addr:value = '192.0.2.%d']","pattern_type":"stix","valid_from":"2025-01-01T00:00:00Z"}`, uuid, stamps, i+1)))
	}
	return data
}

func TestWhereInTheWindowItLiesIsTold(t *testing.T) {
	oldest, newest := day.Add(90*time.Minute), day.Add(50*24*time.Hour)
	s := newSite(t, threatmatchtest.Config{Data: changed(t, day.Add(30*24*time.Hour), oldest, newest, day.AddDate(-1, 0, 0))})
	o := defaults()
	o.Dataset = []string{"profiles", "alerts", "iocs"}
	r := s.mustLook(o)
	for _, name := range []string{"profiles", "iocs"} {
		if d := r.of(t, name); d.Oldest == nil || !d.Oldest.Equal(oldest) || !d.Newest.Equal(newest) {
			t.Errorf("%s lie from %v to %v", name, d.Oldest, d.Newest)
		}
	}
	if d := r.of(t, "alerts"); d.Oldest != nil || d.Newest != nil || r.Earlier != nil {
		t.Errorf("%+v, %+v", d, r.Earlier)
	}
	var out bytes.Buffer
	must(t, Options{}.print(r, &out))
	for _, want := range []string{"profiles     2025-01-01 01:30   2025-02-20 00:00\n", "alerts                      -                  -\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestAnEmptyWindowSaysWhatToTry(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	for name, tt := range map[string]struct {
		lies     []time.Time // what ThreatMatch holds
		to       string
		datasets []string
		from     string // what is to be tried
		says     string
	}{
		"in the last months": {[]time.Time{now.AddDate(0, 0, -60)}, "", []string{"profiles", "iocs"}, "P90D", "of profiles, iocs: try --from P90D."},
		"in the last year":   {[]time.Time{now.AddDate(0, 0, -300), now.AddDate(-9, 0, 0)}, "", []string{"profiles", "iocs"}, "P1Y", "try --from P1Y."},
		"long ago":           {[]time.Time{now.AddDate(-9, 0, 0)}, "", []string{"profiles", "iocs"}, "1970-01-01", "try --from 1970-01-01."},
		"nowhere":            {nil, "", nil, "", "nothing earlier either"},
		"later only":         {[]time.Time{now.AddDate(0, 0, -1)}, "P5D", nil, "", "try a later --to"},
		"before an end":      {[]time.Time{now.AddDate(0, 0, -1), now.AddDate(0, 0, -80)}, "P5D", []string{"profiles", "iocs"}, "P90D", "try a later --to"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, threatmatchtest.Config{Data: changed(t, tt.lies...)})
			o := defaults()
			o.From, o.To = "P30D", tt.to
			r := s.mustLook(o)
			if r.Earlier == nil || r.Earlier.From != tt.from || !slices.Equal(r.Earlier.Datasets, tt.datasets) {
				t.Errorf("%+v", r.Earlier)
			}
			if calls := len(s.api.Calls()); int64(calls) != r.Calls {
				t.Errorf("%d calls, %d counted", calls, r.Calls)
			}
			var out bytes.Buffer
			must(t, Options{}.print(r, &out))
			if !strings.Contains(out.String(), "This window holds nothing.") || !strings.Contains(out.String(), tt.says) || strings.Contains(out.String(), "messages") {
				t.Errorf("%q is missing in\n%s", tt.says, out.String())
			}
		})
	}
}

func TestWhereAnEmptyWindowCannotBeComparedAGuessIsMade(t *testing.T) {
	s := newSite(t, threatmatchtest.Config{Data: new(threatmatchtest.Folder)})
	s.env["THREATMATCH_IMPORT_FROM_DATE"] = "P30D"
	s.api.Fault(threatmatchtest.Rule{Path: "/api/profiles/all", From: 2, To: -1, Do: threatmatchtest.Status(400)})
	var out, problems bytes.Buffer
	if err := Run(t.Context(), Options{Items: 1, Pages: 1}, s.configuration(), Host{Stdout: &out, Stderr: &problems}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "such as --from P1Y") {
		t.Error(out.String())
	}
}
