package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// probe is how Kubernetes asks a container how it is.
type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

// manifest is what the tests want to know of any kind of manifest.
type manifest struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Automount *bool             `yaml:"automountServiceAccountToken"` // of a service account
	Data      map[string]string `yaml:"data"`                         // of a config map
	Spec      struct {
		Replicas       int       `yaml:"replicas"`
		ServiceName    string    `yaml:"serviceName"`
		MaxUnavailable int       `yaml:"maxUnavailable"`
		MinAvailable   any       `yaml:"minAvailable"`
		PolicyTypes    []string  `yaml:"policyTypes"`
		Ingress        []traffic `yaml:"ingress"`
		Egress         []traffic `yaml:"egress"`
		Template       struct {
			Spec pod `yaml:"spec"`
		} `yaml:"template"`
		Claims []struct {
			Metadata struct {
				Name string `yaml:"name"`
			} `yaml:"metadata"`
		} `yaml:"volumeClaimTemplates"`
	} `yaml:"spec"`
}

// traffic is one rule of a network policy.
type traffic struct {
	From  []map[string]any `yaml:"from"`
	To    []map[string]any `yaml:"to"`
	Ports []struct {
		Port int `yaml:"port"`
	} `yaml:"ports"`
}

func (r traffic) ports() (ports []int) {
	for _, p := range r.Ports {
		ports = append(ports, p.Port)
	}
	return ports
}

type pod struct {
	Account      string `yaml:"serviceAccountName"`
	Automount    *bool  `yaml:"automountServiceAccountToken"`
	ServiceLinks *bool  `yaml:"enableServiceLinks"`
	Grace        int    `yaml:"terminationGracePeriodSeconds"`
	Security     struct {
		NonRoot bool `yaml:"runAsNonRoot"`
		User    int  `yaml:"runAsUser"`
		Group   int  `yaml:"runAsGroup"`
		FSGroup int  `yaml:"fsGroup"`
		Seccomp struct {
			Type string `yaml:"type"`
		} `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []container `yaml:"containers"`
}

type container struct {
	Image   string `yaml:"image"`
	EnvFrom []struct {
		ConfigMap struct {
			Name string `yaml:"name"`
		} `yaml:"configMapRef"`
		Secret struct {
			Name string `yaml:"name"`
		} `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	Ports []struct {
		Name string `yaml:"name"`
		Port int    `yaml:"containerPort"`
	} `yaml:"ports"`
	Startup   probe `yaml:"startupProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Resources struct {
		Limits map[string]string `yaml:"limits"`
	} `yaml:"resources"`
	Security struct {
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct {
			Drop []string `yaml:"drop"`
			Add  []string `yaml:"add"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
	Mounts []struct {
		Name string `yaml:"name"`
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// cluster is what the base makes, by kind.
func cluster(t *testing.T) map[string]manifest {
	t.Helper()
	byKind := map[string]manifest{}
	for decoder := yaml.NewDecoder(bytes.NewReader(manifests(t, "kubernetes"))); ; {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return byKind
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := byKind[m.Kind]; twice {
			t.Fatalf("there are two of kind %s", m.Kind)
		}
		byKind[m.Kind] = m
	}
}

func off(b *bool) bool { return b != nil && !*b }

func TestInKubernetesTheConnectorRunsOnceAndWithoutPrivileges(t *testing.T) {
	all := cluster(t)
	set := all["StatefulSet"]
	p := set.Spec.Template.Spec
	if set.Spec.Replicas != 1 || len(p.Containers) != 1 || set.Spec.ServiceName != all["Service"].Metadata.Name {
		t.Fatalf("%+v", set.Spec)
	}
	if p.Account != all["ServiceAccount"].Metadata.Name || !off(p.Automount) || !off(all["ServiceAccount"].Automount) || !off(p.ServiceLinks) || p.Grace != 30 {
		t.Errorf("%+v", p)
	}
	if s := p.Security; !s.NonRoot || s.User != 10001 || s.Group != 10001 || s.FSGroup != 10001 || s.Seccomp.Type != "RuntimeDefault" {
		t.Errorf("%+v", s)
	}
	c := p.Containers[0]
	if s := c.Security; !off(s.Escalation) || !s.ReadOnly || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("%+v", s)
	}
	if c.Resources.Limits["memory"] != "256Mi" {
		t.Errorf("limits are %v", c.Resources.Limits)
	}
	if len(set.Spec.Claims) != 1 || c.Mounts[0].Name != set.Spec.Claims[0].Metadata.Name || c.Mounts[0].Path != "/var/lib/connector-threatmatch" {
		t.Errorf("the state is on %+v, claimed is %+v", c.Mounts, set.Spec.Claims)
	}
	var stateDir string
	for _, e := range c.Env {
		if e.Name == "CONNECTOR_STATE_DIR" {
			stateDir = e.Value
		}
	}
	if !strings.HasPrefix(stateDir, c.Mounts[0].Path+"/") {
		t.Errorf("the state is in %s: the connector does not own the volume, and can keep nobody out", stateDir)
	}
	if b := all["PodDisruptionBudget"].Spec; b.MaxUnavailable != 1 || b.MinAvailable != nil {
		t.Errorf("a node with the pod cannot be drained: %+v", b)
	}
}

func TestKubernetesAsksTheStatusPageHowTheConnectorIs(t *testing.T) {
	c := cluster(t)["StatefulSet"].Spec.Template.Spec.Containers[0]
	for _, want := range []struct {
		what, path string
		is         probe
	}{{"startup", "/livez", c.Startup}, {"liveness", "/livez", c.Liveness}, {"readiness", "/readyz", c.Readiness}} {
		if want.is.HTTPGet.Path != want.path || want.is.HTTPGet.Port != "status" {
			t.Errorf("the %s probe asks %+v", want.what, want.is.HTTPGet)
		}
	}
	if window := c.Startup.PeriodSeconds * c.Startup.FailureThreshold; window < 60 {
		t.Errorf("a slow start is ended after %d seconds", window)
	}
	ports, env := map[string]int{}, map[string]string{}
	for _, p := range c.Ports {
		ports[p.Name] = p.Port
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if ports["status"] != 9096 || env["CONNECTOR_STATUS_ADDRESS"] != ":9096" || ports["metrics"] != 9095 || env["CONNECTOR_METRICS_PORT"] != "9095" {
		t.Errorf("ports %v, environment %v", ports, env)
	}
}

func TestKubernetesGetsSettingsThatThereAreAndSecretsFromElsewhere(t *testing.T) {
	all := cluster(t)
	if s, there := all["Secret"]; there {
		t.Errorf("the base holds the secret %s", s.Metadata.Name)
	}
	var schema struct {
		Properties map[string]struct {
			WriteOnly bool `json:"writeOnly"`
		} `json:"properties"`
	}
	if err := json.Unmarshal([]byte(read(t, catalogue+"__metadata__/connector_config_schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	config := all["ConfigMap"]
	for name := range config.Data {
		if p, there := schema.Properties[name]; !there || p.WriteOnly {
			t.Errorf("%s does not belong into the config map: it is a secret, or no setting", name)
		}
	}
	if config.Data["CONNECTOR_EXPOSE_METRICS"] != "true" {
		t.Errorf("no metrics: %v", config.Data)
	}
	c := all["StatefulSet"].Spec.Template.Spec.Containers[0]
	if len(c.EnvFrom) != 2 || c.EnvFrom[0].ConfigMap.Name != config.Metadata.Name || c.EnvFrom[1].Secret.Name != "connector-threatmatch" {
		t.Errorf("the environment comes from %+v", c.EnvFrom)
	}
	for _, name := range []string{"OPENCTI_TOKEN", "THREATMATCH_CLIENT_ID", "THREATMATCH_CLIENT_SECRET"} {
		if !strings.Contains(read(t, "README.md"), "\n"+name+"=…\n") {
			t.Errorf("README.md does not put %s into the secret", name)
		}
	}
	if !strings.Contains(read(t, "../Makefile"), "\nIMAGE       ?= "+c.Image+"\n") {
		t.Errorf("make image does not build %s", c.Image)
	}
}

func TestInKubernetesTheConnectorReachesWhatItWorksWithOnly(t *testing.T) {
	policy := cluster(t)["NetworkPolicy"].Spec
	if !slices.Equal(policy.PolicyTypes, []string{"Ingress", "Egress"}) {
		t.Errorf("the policy is for %v", policy.PolicyTypes)
	}
	if len(policy.Ingress) != 1 || len(policy.Ingress[0].From) != 1 || !slices.Equal(policy.Ingress[0].ports(), []int{9095, 9096}) {
		t.Errorf("let in is %+v", policy.Ingress)
	}
	var out [][]int
	for _, rule := range policy.Egress {
		out = append(out, rule.ports())
		if len(rule.To) == 0 && !slices.Equal(rule.ports(), []int{53, 53}) {
			t.Errorf("anybody can be reached at %v", rule.ports())
		}
	}
	if !slices.EqualFunc(out, [][]int{{53, 53}, {8080, 5672, 5671}, {443}}, slices.Equal) {
		t.Errorf("let out is %v", out)
	}
}

// fenced are the blocks of YAML that README.md shows between two texts, without their indentation.
func fenced(t *testing.T, from, to string) (blocks []string) {
	t.Helper()
	_, rest, begun := strings.Cut(read(t, "README.md"), from)
	shown, _, ended := strings.Cut(rest, to)
	if !begun || !ended {
		t.Fatalf("README.md has no part from %q to %q", from, to)
	}
	for _, m := range regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$").FindAllStringSubmatch(shown, -1) {
		blocks = append(blocks, regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], ""))
	}
	return blocks
}

func TestTheKustomizationOfTheReadmeChangesTheBase(t *testing.T) {
	base, err := filepath.Abs("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	toBase, err := filepath.Rel(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(fenced(t, "\n## Kubernetes\n", "\n## What else is here\n"), "")
	text = strings.Replace(text, "../threatmatch/deploy/kubernetes", toBase, 1)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	made := string(manifests(t, dir))
	for _, want := range []string{
		"image: registry.example.org/connector-threatmatch-go:2026.1\n", "THREATMATCH_IMPORT_FROM_DATE: P90D\n", "CONNECTOR_EXPOSE_METRICS: \"true\"\n",
		"- port: 4000\n", "- port: 8080\n", "namespace: opencti\n",
	} {
		if !strings.Contains(made, want) {
			t.Errorf("what README.md shows does not make %q", want)
		}
	}
	if err := judge(t, []byte(made), strictSchemas(t)); err != nil {
		t.Error(err)
	}
}
