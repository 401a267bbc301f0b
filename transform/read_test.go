package transform

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

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
