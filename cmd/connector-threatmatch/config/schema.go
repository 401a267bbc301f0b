package config

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Schema is the JSON Schema of the environment variables, as OpenCTI's catalogue and connector manager want it.
func Schema() []byte {
	table := allSettings(time.Now()) // no part of the schema depends on the time
	properties := &orderedObject{}
	required := []string{}
	for _, s := range table {
		properties.put(s.env, s.schemaProperty())
		for _, old := range s.old {
			p := s.schemaProperty()
			p.drop("default")
			p.put("deprecated", true)
			p.put("description", "Use "+s.env+" instead.")
			properties.put(old, p)
		}
		if name := s.fileVariable(); name != "" {
			p := &orderedObject{}
			p.put("description", s.fileDescription())
			p.put("type", "string")
			properties.put(name, p)
		}
		if s.required && !s.managed {
			required = append(required, s.env)
		}
	}
	schema := &orderedObject{}
	schema.put("$schema", "https://json-schema.org/draft/2020-12/schema")
	schema.put("$id", "https://www.filigran.io/connectors/threatmatch_config.schema.json")
	schema.put("type", "object")
	schema.put("properties", properties)
	schema.put("required", required)
	schema.put("additionalProperties", true)

	return schema.indented()
}

func (s setting) schemaProperty() *orderedObject {
	t := s.value.schema()
	p := &orderedObject{}
	if s.def != "" {
		p.put("default", t.typed(s.def))
	}
	p.put("description", strings.ReplaceAll(s.about, "`", ""))
	if t.Const != "" {
		p.put("const", t.Const)
	}
	if t.Enum != nil {
		p.put("enum", t.Enum)
	}
	if t.Format != "" {
		p.put("format", t.Format)
	}
	if t.Minimum != nil {
		p.put("minimum", *t.Minimum)
	}
	if t.ExclusiveMinimum != nil {
		p.put("exclusiveMinimum", *t.ExclusiveMinimum)
	}
	if t.Maximum != nil {
		p.put("maximum", *t.Maximum)
	}
	if t.Type == "array" {
		p.put("items", map[string]string{"type": "string"})
	}
	p.put("type", t.Type)
	if s.secret {
		p.put("writeOnly", true)
	}
	if s.successor != "" {
		p.put("deprecated", true)
	}
	return p
}

// fileDescription is about the variable that names a file with the secret.
func (s setting) fileDescription() string {
	return "Path of a file that holds " + s.env + ", in its place."
}

// typed is a default as a value of its own JSON type.
func (t schemaType) typed(text string) any {
	switch t.Type {
	case "boolean":
		v, _ := parseBool(text)
		return v
	case "integer", "number":
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	case "array":
		list, _ := commaSeparated().parse(text)
		return list
	}
	return text
}

// orderedObject is a JSON object that keeps its members in the order in which they came.
type orderedObject struct {
	names  []string
	values map[string]any
}

func (o *orderedObject) put(name string, value any) {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, there := o.values[name]; !there {
		o.names = append(o.names, name)
	}
	o.values[name] = value
}

func (o *orderedObject) drop(name string) {
	delete(o.values, name)
	for i, n := range o.names {
		if n == name {
			o.names = append(o.names[:i:i], o.names[i+1:]...)
			return
		}
	}
}

// MarshalJSON writes the members in order.
func (o *orderedObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(o.values[name]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// indented is the object for readers.
func (o *orderedObject) indented() []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(o); err != nil {
		panic(err) // holds texts, numbers and booleans only
	}
	return out.Bytes()
}
