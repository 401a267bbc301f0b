package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestNamesStandOnceAndTextsAreUnicode(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf(`"n%d":%d`, i, i))
	}
	for in, want := range map[string]string{
		`{}`: `{}`, `[]`: `[]`, `[[],{}]`: `[[],{}]`, `{"a":[1,{"b":null}],"c":"d"}`: `{"a":[1,{"b":null}],"c":"d"}`,
		`{"a":1,"b":2,"a":3}`:                                 `{"a":3,"b":2}`,
		`{"a":{"x":1,"x":[2]},"a":{"y":1},"b":0}`:             `{"a":{"y":1},"b":0}`,
		`{"b":0,"a":{"x":1,"y":2,"x":[2]}}`:                   `{"b":0,"a":{"x":[2],"y":2}}`,
		`{"na\u006de":"a","name":"b"}`:                        `{"na\u006de":"b"}`,
		`{"\ud800":1,"\udc00":2}`:                             "{\"\uFFFD\":2}",
		`["\ud800x","\ud83d\ude00"]`:                          "[\"\uFFFDx\",\"\\ud83d\\ude00\"]",
		"{\"a\":\"\xff\"}":                                    "{\"a\":\"\uFFFD\"}",
		"{" + strings.Join(many, ",") + `,"n7":"x","n39":[]}`: strings.NewReplacer(`"n7":7`, `"n7":"x"`, `"n39":39`, `"n39":[]`).Replace("{" + strings.Join(many, ",") + "}"),
	} {
		if got := string(repaired([]byte(in))); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", in, got, want)
		}
	}
}

// FuzzRepaired holds what is repaired against what a reader understands that takes the last of repeated names.
func FuzzRepaired(f *testing.F) {
	f.Add([]byte(`{"a":{"x":1,"x":[2,{"y":"\ud800"}]},"a":{"z":[]},"b":"c"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		item, err := readItem(data, false)
		if err != nil || isDeeper(item.text, mostLevels) {
			return
		}
		fixed := repaired(item.text)
		var want, got any
		if json.Unmarshal(item.text, &want) != nil {
			return
		}
		if err := json.Unmarshal(fixed, &got); err != nil {
			t.Fatalf("%s is repaired as %s: %v", item.text, fixed, err)
		}
		again, err := readItem(fixed, false)
		if err != nil || again.lax || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is repaired as %s (%v)", item.text, fixed, err)
		}
	})
}

func TestAnItemEndsWithItsContextBetweenTwoObjects(t *testing.T) {
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	objects, err := mustNew(t, Config{TLP: "amber"}).Transform(ctx, item(`[{"type":"tool","id":"tool--1"},{"type":"tool","id":"tool--2"}]`))
	if len(objects) > 0 || !errors.Is(err, stop) {
		t.Errorf("%d objects, %v", len(objects), err)
	}
}
