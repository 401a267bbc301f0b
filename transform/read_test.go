package transform

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// TestAnItemOfMillionsOfOddElementsCostsLittle counts all that is allocated, garbage included.
func TestAnItemOfMillionsOfOddElementsCostsLittle(t *testing.T) {
	const size = 8 << 20
	tr := mustNew(t, Config{TLP: "amber"})
	for _, element := range []string{"0", "{}", "[]", `""`, "null"} {
		for _, blank := range []string{"", " "} {
			t.Run(element+blank, func(t *testing.T) {
				count := size / (len(element) + 1 + len(blank))
				data := []byte("[" + strings.Repeat(element+","+blank, count) + element + "]")
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				objects, err := tr.Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: data})
				runtime.ReadMemStats(&after)
				if spent := after.TotalAlloc - before.TotalAlloc; spent > 10*uint64(len(data)) {
					t.Errorf("%d bytes cost %d", len(data), spent)
				}
				left := 0
				for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
					var named *ObjectError
					if errors.As(e, &named) {
						_, n := named.LeftOut()
						left += n
					}
				}
				if len(objects) != 0 || left != count+1 {
					t.Errorf("%d objects, %d left out, want %d", len(objects), left, count+1)
				}
			})
		}
	}
}

// TestBlanksBetweenTokensDoNotCount maps items that are spread over lines like those that are not, whether somebody has read them
// before or not.
func TestBlanksBetweenTokensDoNotCount(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red", ThreatActorAsIntrusionSet: true})
	rapid.Check(t, func(t *rapid.T) {
		in := drawItem.Draw(t, "item")
		if one, isOne := strings.CutSuffix(in, `}]`); isOne && !strings.Contains(one, `},{"type"`) && rapid.Bool().Draw(t, "alone") {
			in = one[1:] + "}"
		}
		want, _ := tr.Transform(t.Context(), item(in))
		for _, as := range []jsontext.Options{jsontext.WithIndent("\t"), jsontext.SpaceAfterComma(true), jsontext.SpaceAfterColon(true)} {
			spread, err := jsontext.AppendFormat(nil, []byte(in), jsontext.PreserveRawStrings(true), as)
			for _, strictly := range []bool{false, true} {
				if strictly && err != nil {
					continue // for what no strict reader takes
				}
				if err != nil {
					spread = []byte(in)
				}
				got, _ := tr.Transform(t.Context(), pipeline.Item{Data: append(append([]byte("\r\n "), spread...), '\n'), Strict: strictly})
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("%s:\n got %v\nwant %v", spread, got, want)
				}
			}
		}
	})
}

func TestAnIDThatIsTooLongIsNone(t *testing.T) {
	for length, comes := range map[int]bool{36: true, 500: true, 513: false, 1 << 20: false} {
		id := "tool--" + strings.Repeat("a", length-6)
		text := fmt.Sprintf(`[{"type":"tool","id":%q,"name":"a"},{"type":"report","id":"report--1","name":"b","object_refs":[%[1]q,"tool--2"]},{"type":"tool","id":"tool--2","name":"c","x_opencti_id":%[1]q}]`, id)
		objects, err := mustNew(t, Config{TLP: "amber"}).Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: []byte(text)})
		var named *ObjectError
		if (err == nil) != comes || !comes && (!errors.As(err, &named) || named.Why != LongID || named.ObjectID != "") {
			t.Errorf("%d: %v", length, err)
		}
		for _, o := range objects {
			for _, known := range append(o.Refs, o.ID, o.AltID) {
				if len(known) > 512 {
					t.Errorf("%d: %s… of %s", length, known[:20], o.ID[:min(20, len(o.ID))])
				}
			}
			if o.ID == "report--1" && strings.Contains(string(o.JSON), id) != comes {
				t.Errorf("%d: the report refers to it: %t", length, !comes)
			}
		}
	}
}
