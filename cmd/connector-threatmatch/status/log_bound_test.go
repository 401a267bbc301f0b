package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

// anyText is a text of any length, in which a secret can lie anywhere.
func anyText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		piece := rapid.OneOf(rapid.String(), rapid.Just(configtest.ClientSecret), rapid.Just("\x00\"\\<"), rapid.StringN(100, 3000, -1))
		return strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
	})
}

func TestALineHasABoundAndStaysWhole(t *testing.T) {
	cfg := load(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		var out bytes.Buffer
		log := NewLogger(cfg, &out)
		var fields []zap.Field
		for i := range rapid.IntRange(0, 20).Draw(rt, "fields") {
			key, text := fmt.Sprint("field_", i), anyText().Draw(rt, "text")
			fields = append(fields, rapid.SampledFrom([]zap.Field{
				zap.String(key, text), zap.ByteString(key, []byte(text)), zap.Error(errors.New(text)), zap.Int(key, i), zap.Any(key, map[string]string{"a": text}),
				zap.Strings(key, strings.Fields(text)), zap.Strings(key, make([]string, len(text))),
			}).Draw(rt, "field"))
		}
		log.Error(anyText().Draw(rt, "message"), fields...)
		line := out.Bytes()
		if len(line) > mostLine || !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
			rt.Errorf("%d bytes, valid %t: %s", len(line), json.Valid(line), line)
		}
		for i := range len(configtest.ClientSecret) - 7 {
			if part := configtest.ClientSecret[i : i+8]; bytes.Contains(line, []byte(part)) {
				rt.Fatalf("a part of a secret shows: %s", part)
			}
		}
	})
}

// TestNoPartOfASecretShowsWhereALineIsCut moves a secret through the place at which a text is cut, letter by letter.
func TestNoPartOfASecretShowsWhereALineIsCut(t *testing.T) {
	cfg, cut := load(t, nil), 0
	for before := range mostLine + 100 {
		if before%8 != 0 && before < mostLine-600 {
			continue
		}
		var out bytes.Buffer
		NewLogger(cfg, &out).Error(strings.Repeat("x", before) + configtest.ClientSecret + strings.Repeat("y", mostLine))
		if part := configtest.ClientSecret[:4]; strings.Contains(out.String(), part) {
			t.Fatalf("behind %d bytes %s shows", before, part)
		}
		if strings.Contains(out.String(), "(cut)") {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no line was cut")
	}
}

func TestAShortLineIsNotCut(t *testing.T) {
	var out bytes.Buffer
	refs := []string{"tool--1", "tool--2"}
	NewLogger(load(t, nil), &out).Error("it failed", zap.Strings("references", refs), zap.Error(errors.New(strings.Repeat("why ", 700))))
	if line := out.String(); strings.Contains(line, "cut") || !strings.Contains(line, `"references":["tool--1","tool--2"]`) {
		t.Errorf("got %s", line)
	}
}
