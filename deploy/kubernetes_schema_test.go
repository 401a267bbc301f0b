package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the manifests are judged with. The tools come as Go modules, which the tests' own dependencies come as too; none is a
// dependency of the connector.
const (
	kustomize   = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
	kubeconform = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
	// kubernetesSchemas holds the OpenAPI documents of Kubernetes itself, as its API servers publish them.
	kubernetesSchemas = "sigs.k8s.io/kubectl-validate@v0.0.4"
	kubernetesRelease = "1.30"
)

// goCommand runs the go command on input and returns what it prints. A test that cannot get a tool for want of a network is skipped.
func goCommand(t *testing.T, input []byte, args ...string) (printed []byte, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var problems bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &problems
	if printed, err = cmd.Output(); err != nil {
		if regexp.MustCompile(`dial tcp|no such host|module lookup disabled`).Match(problems.Bytes()) {
			t.Skipf("Go modules cannot be reached: %s", &problems)
		}
		err = fmt.Errorf("go %s: %w: %s%s", strings.Join(args, " "), err, &problems, printed)
	}
	return printed, err
}

// manifests are what `kubectl apply -k` sends of a folder.
func manifests(t *testing.T, folder string) []byte {
	t.Helper()
	// What only another process reads, go test does not know of: it would show the result of before a change.
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s holds %q: %v", folder, files, err)
	}
	for _, path := range files {
		read(t, path)
	}
	text, err := goCommand(t, nil, "run", kustomize, "build", folder)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// strictSchemas writes a JSON schema for each kind of Kubernetes' into a folder. They take no field that they do not know, as
// `kubectl apply` does.
func strictSchemas(t *testing.T) (folder string) {
	t.Helper()
	text, err := goCommand(t, nil, "mod", "download", "-json", kubernetesSchemas)
	var module struct{ Dir string }
	if err = errors.Join(err, json.Unmarshal(text, &module)); err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	root := filepath.Join(module.Dir, "pkg", "openapiclient", "builtins", kubernetesRelease)
	for _, group := range []string{"api/v1", "apis/apps/v1", "apis/networking.k8s.io/v1", "apis/policy/v1"} {
		var document struct {
			Components struct {
				Schemas map[string]map[string]any `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal([]byte(read(t, filepath.Join(root, filepath.FromSlash(group)+".json"))), &document); err != nil {
			t.Fatal(err)
		}
		schemas := document.Components.Schemas
		for _, s := range schemas {
			refuseUnknownFields(s)
		}
		for name, s := range schemas {
			kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
			if len(kinds) != 1 {
				continue // a part of a kind, or one that all groups share
			}
			kind := kinds[0].(map[string]any)
			schema, err := json.Marshal(map[string]any{"$ref": "#/components/schemas/" + name, "components": map[string]any{"schemas": schemas}})
			if err != nil {
				t.Fatal(err)
			}
			group, _, _ := strings.Cut(kind["group"].(string), ".")
			file := strings.ToLower(strings.Trim(fmt.Sprintf("%s-%s", kind["kind"], group), "-")) + "-v1.json"
			if err := os.WriteFile(filepath.Join(folder, file), schema, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

func refuseUnknownFields(schema map[string]any) {
	if _, hasFields := schema["properties"]; hasFields && schema["additionalProperties"] == nil {
		schema["additionalProperties"] = false
	}
}

// judge has manifests compared with the schemas of a folder.
func judge(t *testing.T, text []byte, schemas string) error {
	t.Helper()
	_, err := goCommand(t, text, "run", kubeconform, "-summary", "-verbose",
		"-schema-location", filepath.Join(schemas, "{{.ResourceKind}}{{.KindSuffix}}.json"))
	return err
}

func TestKubernetesTakesTheManifests(t *testing.T) {
	schemas, text := strictSchemas(t), manifests(t, "kubernetes")
	if err := judge(t, text, schemas); err != nil {
		t.Error(err)
	}
	for right, wrong := range map[string]string{
		"readOnlyRootFilesystem:":              "readOnlyRootFileSystem:",
		"replicas: 1":                          `replicas: "1"`,
		"serviceName: connector-threatmatch\n": "\n", // required
		"kind: PodDisruptionBudget":            "kind: PodDisruptionBudgets",
	} {
		broken := strings.ReplaceAll(string(text), right, wrong)
		if broken == string(text) {
			t.Errorf("the manifests do not say %q", right)
			continue
		}
		if err := judge(t, []byte(broken), schemas); err == nil {
			t.Errorf("%q passes for right", wrong)
		}
	}
}
