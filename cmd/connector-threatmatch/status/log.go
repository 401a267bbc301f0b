package status

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// NewLogger writes log lines to out: as JSON objects with timestamp, level, name, message and attributes, which is how
// OpenCTI's own connectors log, or as text. Whatever of the configuration is secret never gets through, even when a
// library puts it into one of its errors.
func NewLogger(cfg config.Config, out io.Writer) *zap.Logger {
	return newLogger(cfg, out, zapLevel(cfg.Connector.LogLevel))
}

// NewNotices is [NewLogger] for what an operator should know who asked for errors only: what is said at warn is written
// whatever the level of the configuration is.
func NewNotices(cfg config.Config, out io.Writer) *zap.Logger {
	return newLogger(cfg, out, min(zapLevel(cfg.Connector.LogLevel), zapcore.WarnLevel))
}

func newLogger(cfg config.Config, out io.Writer, level zapcore.Level) *zap.Logger {
	secrets := remote.NewRedactor(cfg.Secrets()...)
	sink := zapcore.Lock(zapcore.AddSync(secrets.Writer(out)))
	keys := zapcore.EncoderConfig{
		TimeKey: "timestamp", LevelKey: "level", NameKey: "name", MessageKey: "message", StacktraceKey: "stacktrace",
		LineEnding:     zapcore.DefaultLineEnding,
		EncodeTime:     utcTime,
		EncodeLevel:    levelName,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeName:     zapcore.FullNameEncoder,
	}
	if _, shows := out.(inColour); shows && !cfg.OpenCTI.JSONLogging {
		keys.EncodeLevel = zapcore.LowercaseColorLevelEncoder
	}
	var core zapcore.Core
	if cfg.OpenCTI.JSONLogging {
		core = zapcore.NewCore(zapcore.NewJSONEncoder(keys), sink, level)
		core = core.With([]zapcore.Field{zap.Namespace("attributes")})
	} else {
		core = zapcore.NewCore(zapcore.NewConsoleEncoder(keys), sink, level)
	}
	return zap.New(boundedCore{core, secrets}).Named(cfg.Connector.Name)
}

// InColour marks a writer as a terminal that shows colours: levels of text lines are written in them.
func InColour(out io.Writer) io.Writer { return inColour{out} }

type inColour struct{ io.Writer }

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
