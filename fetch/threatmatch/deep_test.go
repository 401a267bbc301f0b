package threatmatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// nested is an array within so many others.
func nested(levels int) string {
	return strings.Repeat(`[`, levels) + strings.Repeat("]", levels)
}

func TestWhatIsNestedTooDeepToBeReadCostsItselfAlone(t *testing.T) {
	const good = `{"id":"tool--1","name":"a\"[[\\"}`
	for _, levels := range []int{mostNested, mostNested + 1, 9998, 10_000, 10_001, 1_000_000} {
		deep := `{"id":"tool--2","x":{"y":` + nested(levels) + `,"z":"]}"}}`
		objects := "[" + good + "," + deep + "," + good + "]"
		item, err := newClient(t, newAPI(always(200, `{"objects":`+objects+`}`))).Item(t.Context(), "alerts", "1")
		mayRemain(t, levels, item.Objects, err)
		page, err := newClient(t, newAPI(always(200, `{"more":false,"objects":`+objects+`}`))).Indicators(t.Context(), "1", "")
		if len(page.Objects) != 3 || page.More || string(page.Objects[0]) != good || string(page.Objects[2]) != good {
			t.Errorf("%d levels: %d objects on a page, %v", levels, len(page.Objects), err)
		}
		c := newClient(t, newAPI(always(200, `{"about":`+nested(levels)+`,"list":[1,`+nested(levels)+`,2]}`)))
		if ids, err := c.List(t.Context(), "alerts", time.Time{}); !slices.Equal(ids, []string{"1", "2"}) {
			t.Errorf("%d levels: listed are %v, %v", levels, ids, err)
		}
	}
}

// mayRemain wants two good objects, and between them one that is recognized, and as too deep.
func mayRemain(t *testing.T, levels int, objects json.RawMessage, err error) {
	t.Helper()
	var read []map[string]any
	if err != nil || json.Unmarshal(objects, &read) != nil || len(read) != 3 {
		t.Errorf("%d levels: %d bytes of objects, %v", levels, len(objects), err)
		return
	}
	if read[0]["name"] != `a"[[\` || read[2]["name"] != read[0]["name"] || read[1]["id"] != "tool--2" {
		t.Errorf("%d levels: %.200s", levels, objects)
	}
	if least := min(levels, mostNested-3); !strings.Contains(string(objects), nested(least)) {
		t.Errorf("%d levels: less than %d are left", levels, least)
	}
}

func TestWhatIsNoJSONIsNoneHoweverDeep(t *testing.T) {
	for _, body := range []string{
		`{"objects":` + strings.Repeat("[", 20_000), `{"objects":[` + nested(20_000) + `]`, `{"objects":[` + nested(20_000) + `]}]`,
		`{"objects":["` + strings.Repeat("[", 20_000), `{"objects":["\`, strings.Repeat(`{"a":`, 20_000) + "]",
	} {
		err, _ := decodeBody([]byte(body), func(b []byte, lax bool) error { _, err := decodeItem(b, lax); return err })
		if err == nil || !strings.Contains(err.Error(), "not JSON") {
			t.Errorf("%.40s…: %v", body, err)
		}
	}
}

func TestAnEntryThatIsNoGroupCostsItself(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	a := newAPI(always(200, `[null,1,"x",[],`+nested(10_001)+`,{"error":"no"},{"id":5,"name":"five"},{"id":"g1","name":"All content"}]`))
	a.away = true // so that it is asked for groups
	groups, err := newClient(t, a, func(cfg *Config) { cfg.Log = zap.New(core) }).Groups(t.Context())
	if err != nil || !slices.Equal(groups, []Group{{"5", "five"}, {"g1", "All content"}}) {
		t.Errorf("%v, %v", groups, err)
	}
	if told := logged.FilterMessageSnippet("no groups").All(); len(told) != 1 || fmt.Sprint(told[0].ContextMap()["entries"]) != "6" {
		t.Errorf("the log says %v", logged.All())
	}
}
