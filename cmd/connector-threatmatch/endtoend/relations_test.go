package endtoend

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestWhichRelationsOpenCTITakesIsAskedForWithPatience(t *testing.T) {
	t.Parallel()
	const (
		question = "schemaRelationsTypesMapping"
		builtIn  = "uses"       // as the program's own table has it
		fitted   = "related-to" // what becomes of it by the platform's
	)
	away, broken := openctitest.Status(502, "<html>"), openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")
	for name, tt := range map[string]struct {
		first, second openctitest.Do // of the two runs
		lasts         time.Duration
		want          [2]string // types of the relations that the runs bring
		fails         bool      // the first run, which is repeated within minutes
	}{
		"it answers":                            {want: [2]string{fitted, fitted}},
		"it is away at first":                   {first: away, lasts: 5 * time.Minute, want: [2]string{fitted, fitted}},
		"it is away for long at first":          {first: away, lasts: 30 * time.Minute, want: [2]string{fitted, fitted}, fails: true},
		"it is away later":                      {second: away, lasts: 30 * time.Minute, want: [2]string{fitted, fitted}},
		"it fails later":                        {second: broken, lasts: 30 * time.Minute, want: [2]string{fitted, fitted}},
		"it refuses":                            {first: openctitest.GraphQLError("FORBIDDEN_ACCESS", "no"), lasts: 30 * time.Minute, want: [2]string{builtIn, fitted}},
		"it fails, and never said anything":     {first: broken, lasts: 30 * time.Minute, want: [2]string{builtIn, fitted}},
		"it does not know the question, though": {first: openctitest.GraphQLError("GRAPHQL_VALIDATION_FAILED", `Cannot query field "`+question+`" on type "Query".`), lasts: 30 * time.Minute, want: [2]string{builtIn, fitted}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				relation := func(n int) string { return fmt.Sprintf("relationship--00000000-0000-4000-8000-%012d", n) }
				put := func(n int, listed time.Time) {
					stamps := fmt.Sprintf(`"spec_version":"2.1","created":%q,"modified":%[1]q`, shopDay.Format(time.RFC3339))
					must(t, data.Put("profiles", int64(n), listed, fmt.Appendf(nil, `[{"type":"malware","id":%[1]q,%[2]s,"name":"a","is_family":false},`+
						`{"type":"malware","id":%[3]q,%[2]s,"name":"b","is_family":false},`+
						`{"type":"relationship","id":%[4]q,%[2]s,"relationship_type":"uses","source_ref":%[1]q,"target_ref":%[3]q}]`,
						malwareID(1), stamps, malwareID(2), relation(n))))
				}
				b := newBubble(t, dir, threatmatchtest.Config{Data: &data}, rabbitmqtest.Config{},
					openctitest.Config{Relations: map[string][]string{"Malware_Malware": {"drops"}}},
					"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1H")
				core, logs := observer.New(zapcore.InfoLevel)
				b.log = zap.New(core)
				put(1, shopDay)
				sent := map[string]string{}
				fail := func(do openctitest.Do) {
					if do != nil {
						b.platform.Fault(openctitest.Rule{Operation: question, To: -1, Do: do})
					}
				}
				hear := func() {
					time.Sleep(tt.lasts)
					b.platform.ClearFaults()
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					for _, m := range b.take(1 << 30) {
						for _, typ := range []string{builtIn, fitted} {
							if strings.Contains(string(m.Object), `"relationship_type":"`+typ+`"`) {
								sent[m.ID] = typ
							}
						}
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				fail(tt.first)
				ended := b.begin(ctx)
				hear()
				if sent[relation(1)] != tt.want[0] {
					t.Errorf("the first run sent %v; logged %v", sent, logs.All())
				}
				put(2, time.Now())
				fail(tt.second)
				time.Sleep(time.Hour)
				hear()
				if sent[relation(2)] != tt.want[1] {
					t.Errorf("the second run sent %v; logged %v", sent, logs.All())
				}
				if failed := logs.FilterMessageSnippet("the run failed").Len(); (failed > 0) != tt.fails {
					t.Errorf("%d runs failed", failed)
				}
				cancel()
				<-ended
			})
		})
	}
}
