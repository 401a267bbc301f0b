package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// small is a sandbox that a test can wait for.
func small(more ...string) []string {
	return append([]string{"sandbox", "--profiles", "6", "--alerts", "6", "--indicators", "120"}, more...)
}

func TestTheSandboxEndsWithAnAccountThatAddsUp(t *testing.T) {
	status, out, problems := run(t, nil, small()...)
	if status != 0 || !strings.Contains(out, "The account adds up.") || !strings.Contains(out, "6 of 6 profiles, 6 of 6 alerts, 120 of 120 iocs") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if !strings.Contains(problems, "(done)") {
		t.Errorf("no progress was shown: %s", problems)
	}
}

func TestTheSandboxWritesDownWhatWentOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "messages.ndjson")
	status, out, problems := run(t, nil, small("--messages", file)...)
	text, err := os.ReadFile(file)
	if status != 0 || err != nil {
		t.Fatalf("status %d, %v\n%s", status, err, problems)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if want := fmt.Sprintf("%d messages:", len(lines)); !strings.Contains(out, want) {
		t.Errorf("the account should say %q:\n%s", want, out)
	}
	for _, line := range lines {
		var object struct{ ID, Type string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || !strings.HasPrefix(object.ID, object.Type+"--") {
			t.Errorf("%v in %s", err, line)
		}
	}
}

func TestTheSandboxKeepsHowToImportAndForgetsWhereTo(t *testing.T) {
	env := []string{"THREATMATCH_IMPORT_ALERTS=false", "OPENCTI_URL=http://production", "OPENCTI_TOKEN=" + configtest.Token, "CONNECTOR_ID=" + configtest.ConnectorID,
		"MQ_HOST=production", "HTTP_PROXY=http://production:3128", "THREATMATCH_CLIENT_SECRET=" + configtest.ClientSecret, "CONNECTOR_STATE_DIR=/production",
		"CONNECTOR_SEND_TO_DIRECTORY=true"} // without a folder, which is an error where it counts
	status, out, problems := run(t, env, small("--no-progress")...)
	if status != 0 || !strings.Contains(out, "6 of 6 profiles, 120 of 120 iocs") || strings.Contains(out, "alerts") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if strings.Count(problems, "\n") != 1 || !strings.Contains(problems, "Without effect") || !strings.Contains(problems, "CONNECTOR_SEND_TO_DIRECTORY.") {
		t.Errorf("it should say what has no effect, and nothing else: %s", problems)
	}
}

func TestTheSandboxTakesABrokerOfItsUsers(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	status, out, problems := run(t, nil, small("--rabbitmq", broker.URL())...)
	if status != 0 || !strings.Contains(out, "The account adds up.") {
		t.Errorf("status %d\n%s\n%s", status, out, problems)
	}
	if broker.Published() < 120 {
		t.Errorf("%d messages reached the broker", broker.Published())
	}
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclarePassive("amqp.worker.exchange", "direct", true, false, false, false, nil); err == nil {
		t.Error("an exchange stayed on the broker")
	}
}

func TestASandboxWhoseBrokerCannotBeReachedSaysWhatToDoAndDoesNotStart(t *testing.T) {
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	strangers := strings.Replace(broker.URL(), "guest:guest", "guest:not-this", 1)
	away, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	if err := away.Refuse(true); err != nil {
		t.Fatal(err)
	}
	for url, advice := range map[string]string{away.URL(): "see that RabbitMQ runs there", strangers: "check the user, the password"} {
		for _, args := range [][]string{{"--serve", "--rabbitmq", url}, {"--rabbitmq", url}} {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			var out, problems strings.Builder
			status := execute(ctx, small(args...), console{&out, &problems, nil})
			cancel()
			if status != exitRunFailed || out.String() != "" || !strings.Contains(problems.String(), advice) || !strings.Contains(problems.String(), "leave --rabbitmq out") {
				t.Errorf("%q: status %d\n%s\n%s", args, status, out.String(), problems.String())
			}
			if strings.Contains(problems.String(), "not-this") {
				t.Errorf("the password was shown: %s", problems.String())
			}
		}
	}
}

func TestAServedSandboxIsFoundByTheEnvironmentThatItPrints(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	read, write := io.Pipe()
	served := make(chan int, 1)
	go func() {
		served <- execute(ctx, small("--serve"), console{write, io.Discard, nil})
		write.Close()
	}()
	var env []string
	text := make([]byte, 1<<16)
	n, err := read.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text[:n])) {
		if pair, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			name, value, _ := strings.Cut(pair, "=")
			env = append(env, name+"="+strings.Trim(value, "'"))
		}
	}
	from := time.Now().UTC().AddDate(0, 0, -60).Format(time.DateOnly)
	if found := regexp.MustCompile(`profiles, changed from (\S+) to`).FindStringSubmatch(string(text[:n])); found != nil && found[1] < from {
		from = found[1] // midnight has passed meanwhile
	}
	day := func(after int) string {
		first, _ := time.Parse(time.DateOnly, from)
		return first.AddDate(0, 0, after).Format(time.DateOnly)
	}
	for _, want := range []string{
		"6 profiles, changed from " + from + " to " + day(50) + "\n", "120 iocs, changed from " + from + " to " + day(59) + "\n", "guest:guest@127.0.0.1",
	} {
		if !strings.Contains(string(text[:n]), want) {
			t.Errorf("%q is missing in\n%s", want, text[:n])
		}
	}
	rest := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(read) // a closed pipe is its end
		rest <- string(all)
	}()
	if status, out, problems := run(t, env, "preview", "--no-progress"); status != 0 || !strings.Contains(out, "changed from "+from+"T00:00:00Z to now") || strings.Contains(out, "holds nothing") {
		t.Errorf("a preview ended with status %d: %s\n%s", status, problems, out)
	}
	if status, _, problems := run(t, env); status != 0 || !strings.Contains(problems, "the run has ended, complete") || strings.Contains(problems, "does not tell which relations") {
		t.Errorf("the connector ended with status %d: %s", status, problems)
	}
	cancel()
	select {
	case status := <-served:
		if last := <-rest; status != 0 || !strings.Contains(last, "messages arrived") {
			t.Errorf("the sandbox ended with status %d: %s", status, last)
		}
	case <-time.After(hang):
		t.Fatal("the sandbox does not end")
	}
}
