package status

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// mostLine bounds a log line, in bytes: collectors cut longer ones, and then they are no JSON any more.
	mostLine = 4 << 10
	// frame is what a line has beside its message and the values of its fields.
	frame = 512
	// leastValue is what each field may have, however many there are.
	leastValue = 32
)

// boundedCore cuts what is too long for a line: a server's answer, an error over a thousand items, a list of references.
type boundedCore struct {
	zapcore.Core
	// secrets go before anything is cut, for nobody would know half a secret.
	secrets *remote.Redactor
}

// With adds fields to all lines to come.
func (c boundedCore) With(fields []zapcore.Field) zapcore.Core {
	return boundedCore{c.Core.With(c.cutFields(fields, mostLine/4)), c.secrets}
}

// Check adds the core to those that a line is written to.
func (c boundedCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes a line, cut to its bound.
func (c boundedCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	room := mostLine - frame
	entry.Message = c.cutText(entry.Message, room/2)
	return c.Core.Write(entry, c.cutFields(errorsOnce(fields), room-cost(entry.Message)))
}

// errorsOnce makes texts of errors, in which what several of their parts say stands once.
func errorsOnce(fields []zapcore.Field) []zapcore.Field {
	told := slices.Clone(fields) // the caller may use them again
	for i, f := range told {
		if f.Type == zapcore.ErrorType {
			told[i] = zap.String(f.Key, remote.Once(f.Interface.(error)))
		}
	}
	return told
}

// cutFields shares room out among fields: what the short ones leave is for the long ones.
func (c boundedCore) cutFields(fields []zapcore.Field, room int) []zapcore.Field {
	texts := make([]string, len(fields))
	costs := 0
	for i, f := range fields {
		var isText bool
		if texts[i], isText = textOf(f); !isText {
			texts[i] = ""
		}
		costs += len(f.Key) + cost(texts[i]) + leastValue
	}
	if costs <= room {
		return fields
	}
	cut := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		cut[i] = f
		share := max(leastValue, (room-len(f.Key))/(len(fields)-i))
		if texts[i] != "" {
			cut[i] = zap.String(f.Key, c.cutText(texts[i], share))
		}
		room -= len(f.Key) + min(share, cost(texts[i])+leastValue)
	}
	return cut
}

// textOf returns what a field says in words, and false for one that is short in any case.
func textOf(f zapcore.Field) (string, bool) {
	switch f.Type {
	case zapcore.StringType:
		return f.String, true
	case zapcore.ByteStringType, zapcore.BinaryType:
		return string(f.Interface.([]byte)), true
	case zapcore.ErrorType:
		return f.Interface.(error).Error(), true
	case zapcore.StringerType:
		return f.Interface.(fmt.Stringer).String(), true
	case zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.ReflectType:
		e := zapcore.NewMapObjectEncoder()
		f.AddTo(e)
		text, err := json.Marshal(e.Fields[f.Key])
		return string(text), err == nil
	}
	return "", false
}

// cost is what a text may take in a line of JSON.
func cost(text string) (n int) {
	for i := range len(text) {
		n += costOf(text[i])
	}
	return n
}

func costOf(b byte) int {
	switch {
	case b < ' ' || b == utf8.RuneSelf-1:
		return len(`\u0000`)
	case b == '"' || b == '\\' || b == '<' || b == '>' || b == '&':
		return len(`\u0000`)
	}
	return 1
}

// cutText cuts a text so that it costs no more than room.
func (c boundedCore) cutText(text string, room int) string {
	if cost(text) <= room {
		return text
	}
	text = c.secrets.Redact(text)
	if cost(text) <= room {
		return text
	}
	const cutOff = "… (cut)"
	room -= len(cutOff)
	end := 0
	for end < len(text) && room >= costOf(text[end]) {
		room -= costOf(text[end])
		end++
	}
	return strings.ToValidUTF8(text[:end], "") + cutOff
}
