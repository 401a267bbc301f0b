package config

import (
	"strings"
	"time"
)

// FileSchema is the JSON Schema of config.yml, for editors and for whoever checks the file before it is there. It takes less
// than [Load] does: one spelling of a boolean, and of the words of a list. Nothing is required, for the environment can say it.
func FileSchema() []byte {
	sections := &orderedObject{}
	for _, s := range allSettings(time.Now()) {
		if s.path == "" {
			continue
		}
		section, key, _ := strings.Cut(s.path, keyDelimiter)
		sectionOf(sections, section).put(key, s.fileProperty())
		for _, old := range s.older {
			section, key, _ := strings.Cut(old, keyDelimiter)
			p := s.fileProperty()
			p.drop("default")
			p.put("deprecated", true)
			p.put("description", "Use "+s.path+" instead.")
			sectionOf(sections, section).put(key, p)
		}
	}
	schema := &orderedObject{}
	schema.put("$schema", "https://json-schema.org/draft/2020-12/schema")
	schema.put("title", "config.yml of connector-threatmatch")
	schema.put("type", []string{"object", "null"})
	schema.put("properties", sections)
	schema.put("additionalProperties", false)
	return schema.indented()
}

// sectionOf returns the properties of a section, which it adds where it is missing.
func sectionOf(sections *orderedObject, name string) *orderedObject {
	if section, ok := sections.values[name].(*orderedObject); ok {
		return section.values["properties"].(*orderedObject)
	}
	section, properties := &orderedObject{}, &orderedObject{}
	section.put("type", []string{"object", "null"}) // a section of which everything is commented out
	section.put("properties", properties)
	section.put("additionalProperties", false)
	sections.put(name, section)
	return properties
}

// fileProperty is the property of the environment's schema with the types that YAML has for it: a text may look like a number
// or a boolean there, and a list may be one.
func (s setting) fileProperty() *orderedObject {
	p := s.schemaProperty()
	switch t := s.value.schema(); {
	case t.Type == "array":
		p.put("type", []string{"array", "string"})
	case t.Type == "string" && t.Enum == nil && t.Const == "":
		p.put("type", []string{"string", "number", "boolean"})
	}
	p.put("description", strings.ReplaceAll(s.about, "`", "")+" In the environment: "+s.env+".")
	return p
}
