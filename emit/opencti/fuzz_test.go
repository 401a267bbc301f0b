package opencti_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

type canned struct {
	status int
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: c.status, Header: http.Header{}, Request: r,
		Body: io.NopCloser(bytes.NewReader(c.body)), ContentLength: int64(len(c.body)),
	}, nil
}

// FuzzAnswers: whatever a platform answers, a call returns a value or an error of one bounded, printable line.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"about":{"version":"7.1.0"}}}`,
		`{"data":{"registerConnector":{"connector_state":"{}","connector_state_timestamp":"2025-04-17T15:24:00.000Z","connector_user_id":"u",
		  "config":{"connection":{"host":"h","vhost":"/","use_ssl":false,"port":5672,"user":"u","pass":"p"},"push_exchange":"e","push_routing":"r"}}}}`,
		`{"data":{"pingConnector":{"connector_state":null,"connector_state_timestamp":1744903440000}}}`,
		`{"data":{"connector":{"connector_queue_details":{"messages_number":1e300,"messages_size":-4}}}}`,
		`{"data":{"workAdd":{"id":"w"},"workEdit":null,"work":{"tracking":null}}}`,
		`{"data":{"a0":null,"a1":{"__typename":"Organization"}}}`,
		`{"data":{"stixObjectOrStixRelationships":{"pageInfo":{"hasNextPage":true,"endCursor":"x"},
		  "edges":[null,{"node":{"__typename":"Country","id":"i","standard_id":"b","x_opencti_stix_ids":["a",null]}}]}}}`,
		`{"data":{"work":{"status":"complete","processed_time":"?","tracking":{"import_expected_number":-1},
		  "errors":[null,{"timestamp":null,"message":"{'name': 'FUNCTIONAL_ERROR'","source":null}]}}}`,
		`{"data":{"schemaRelationsTypesMapping":[{"key":"A_B","values":["uses"]}]}}`,
		`{"errors":[{"message":"Cannot query field \"stixObjectOrStixRelationships\" on type \"Query\"."}]}`,
		`{"errors":[{"message":"Allowed number of calls for Query->x has been exceeded (max: 2)"}]}`,
		`{"errors":[{"message":"Cannot query field \"connector_state_timestamp\" on type \"Connector\"."}]}`,
		`{"errors":[{"name":"WORK_NOT_ALIVE"}],"data":null}`,
		`{"errors":{"message":["x"]}}`, `{"errors":"x"}`, `<title>502</title>`, ``, `null`, "\xff{",
	} {
		f.Add(200, []byte(seed))
		f.Add(400, []byte(seed))
	}
	f.Add(502, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 100 || status > 999 {
			return
		}
		c := connect(t, opencti.Config{URL: "http://platform", HTTP: &http.Client{Transport: canned{status, body}}})
		ctx := t.Context()
		_, err1 := c.Version(ctx)
		_, err2 := c.Register(ctx, opencti.Registration{})
		_, err3 := c.Ping(ctx, "null", opencti.Info{})
		watched, err4 := c.Watch(ctx, "w")
		_, err5 := c.AddWork(ctx, "run")
		_, err6 := c.Expectations(ctx, "w")
		held, err7 := c.Holds(ctx, []string{"a", "b"})
		report, err8 := c.Work(ctx, "w")
		_, err9 := c.Relations(ctx)
		progress, err10 := c.ImportProgress(ctx, "w")
		if progress.Expected < 0 || progress.Done < 0 || progress.Messages < 0 || len(progress.Errors) > 100 {
			t.Errorf("a work is at %+v", progress)
		}
		if watched.Messages < 0 || watched.Bytes < 0 {
			t.Errorf("a queue of %d messages, %d bytes", watched.Messages, watched.Bytes)
		}
		if len(held) > 2 || (err7 != nil && held != nil) {
			t.Errorf("%d objects are held, %v", len(held), err7)
		}
		if report.Expected < 0 || report.Done < 0 || len(report.Errors) > 100 {
			t.Errorf("a work of %d messages, %d done, %d errors", report.Expected, report.Done, len(report.Errors))
		}
		for _, err := range []error{
			err1, err2, err3, err4, err5, err6, err7, err8, err9, err10,
			c.AddExpectations(ctx, "w", 1), c.CloseWork(ctx, "w", "", true),
		} {
			if err == nil {
				continue
			}
			var e *opencti.Error
			if !errors.As(err, &e) && !errors.Is(err, opencti.ErrConnectorGone) && !errors.Is(err, opencti.ErrWorkNotAlive) {
				t.Errorf("an error of another type: %v", err)
			}
			if text := err.Error(); len(text) > 4000 || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00") {
				t.Errorf("error %q", text)
			}
		}
	})
}
