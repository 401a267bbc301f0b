package status

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// NewLogger writes log lines to out: as JSON objects with timestamp, level, name, message and attributes, which is how
// OpenCTI's own connectors log, or as text. Whatever of the configuration is secret never gets through, even when a
// library puts it into one of its errors.
func NewLogger(cfg config.Config, out io.Writer) *zap.Logger {
	sink := zapcore.Lock(zapcore.AddSync(&redactor{out: out, secrets: searchTexts(cfg.Secrets())}))
	keys := zapcore.EncoderConfig{
		TimeKey: "timestamp", LevelKey: "level", NameKey: "name", MessageKey: "message", StacktraceKey: "stacktrace",
		LineEnding:     zapcore.DefaultLineEnding,
		EncodeTime:     utcTime,
		EncodeLevel:    levelName,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeName:     zapcore.FullNameEncoder,
	}
	var core zapcore.Core
	if cfg.OpenCTI.JSONLogging {
		core = zapcore.NewCore(zapcore.NewJSONEncoder(keys), sink, zapLevel(cfg.Connector.LogLevel))
		core = core.With([]zapcore.Field{zap.Namespace("attributes")})
	} else {
		core = zapcore.NewCore(zapcore.NewConsoleEncoder(keys), sink, zapLevel(cfg.Connector.LogLevel))
	}
	return zap.New(core).Named(cfg.Connector.Name)
}

func utcTime(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z07:00"))
}

func levelName(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
	if l == zapcore.WarnLevel {
		enc.AppendString("warning") // as the Python connectors call it
		return
	}
	enc.AppendString(l.String())
}

func zapLevel(l config.LogLevel) zapcore.Level {
	switch l {
	case config.LogDebug:
		return zapcore.DebugLevel
	case config.LogInfo:
		return zapcore.InfoLevel
	case config.LogWarn:
		return zapcore.WarnLevel
	}
	return zapcore.ErrorLevel
}

// minSecret is the length below which a secret is not searchTexts for: it would hide half of every line and protects
// nothing.
const minSecret = 6

// searchTexts lists the secrets that are looked for, as they are and as JSON spells them.
func searchTexts(secrets []string) [][]byte {
	var texts [][]byte
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		texts = append(texts, []byte(s))
		if quoted := jsonSpelling(s); quoted != s {
			texts = append(texts, []byte(quoted))
		}
	}
	return texts
}

// jsonSpelling is s as it stands between the quotes of a JSON string, written as zap writes it: < and > as they are.
func jsonSpelling(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}

// redactor hides secrets in the lines that pass through it.
type redactor struct {
	out     io.Writer
	secrets [][]byte
}

// Write takes one whole line, as zap gives them.
func (r *redactor) Write(line []byte) (int, error) {
	clean := line
	for _, s := range r.secrets {
		if bytes.Contains(clean, s) {
			clean = bytes.ReplaceAll(clean, s, []byte(config.Hidden))
		}
	}
	if _, err := r.out.Write(clean); err != nil {
		return 0, err
	}
	return len(line), nil
}
