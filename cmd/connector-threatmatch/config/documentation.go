package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Table is the settings as Markdown tables, one for each section, for the README.
func Table() string {
	var b strings.Builder
	section := ""
	for _, s := range allSettings(time.Now()) {
		if title := s.section(); title != section {
			if section != "" {
				b.WriteString("\n")
			}
			section = title
			fmt.Fprintf(&b, "### %s\n\n", title)
			b.WriteString("| Environment variable | `config.yml` | Default | Description |\n|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.env, inBackticks(s.path), s.shownDefault(), s.description())
	}
	return b.String()
}

func (s setting) section() string {
	switch {
	case s.path == "":
		return "Network"
	case strings.HasPrefix(s.path, "opencti."):
		return "OpenCTI"
	case strings.HasPrefix(s.path, "connector."):
		return "Connector"
	case strings.HasPrefix(s.path, "threatmatch."):
		return "ThreatMatch"
	case strings.HasPrefix(s.path, "s3."):
		return "S3"
	}
	return "RabbitMQ"
}

func (s setting) shownDefault() string {
	switch {
	case s.required:
		return "**required**"
	case s.def == "":
		return ""
	}
	return inBackticks(s.def)
}

func (s setting) description() string {
	text := s.about
	if t := s.value.schema(); t.Enum != nil && !strings.Contains(text, "`"+t.Enum[0]+"`") {
		text += " One of `" + strings.Join(t.Enum, "`, `") + "`."
	}
	if s.why != "" {
		text += " (Why this default: " + s.why + ".)"
	}
	if name := s.fileVariable(); name != "" {
		text += " Or `" + name + "`."
	}
	for _, old := range s.old {
		text += " The older spelling `" + old + "` works too."
	}
	return text
}

func inBackticks(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// CatalogueTable is the settings as the catalogue's CONNECTOR_CONFIG_DOC.md has them, a table of the schema.
func CatalogueTable() string {
	var b strings.Builder
	b.WriteString("# Connector configuration\n\nEvery setting of the connector, generated from its configuration schema.\n\n")
	b.WriteString("### Type: `object`\n\n| Property | Type | Required | Possible values | Default | Description |\n")
	b.WriteString("| -------- | ---- | -------- | --------------- | ------- | ----------- |\n")
	for _, s := range allSettings(time.Now()) {
		s.catalogueRow(&b, s.env, strings.ReplaceAll(s.about, "|", `\|`), true)
		for _, old := range s.old {
			s.catalogueRow(&b, old, "Deprecated: use "+s.env+" instead.", false)
		}
		if name := s.fileVariable(); name != "" {
			fmt.Fprintf(&b, "| %s | `string` |  | string |  | %s |\n", name, s.fileDescription())
		}
	}
	return b.String()
}

func (s setting) catalogueRow(b *strings.Builder, name, about string, withDefault bool) {
	t := s.value.schema()
	typ, values := t.Type, t.Type
	switch {
	case t.Const != "":
		typ, values = "const", inBackticks(t.Const)
	case t.Enum != nil:
		values = "`" + strings.Join(t.Enum, "` `") + "`"
	case t.Format != "":
		values = "Format: [`" + t.Format + "`](https://json-schema.org/understanding-json-schema/reference/string#built-in-formats)"
	case t.Type == "array":
		values = "string"
	case t.Minimum != nil && t.Maximum != nil:
		values = fmt.Sprintf("`%.0f <= x <= %.0f`", *t.Minimum, *t.Maximum)
	case t.Minimum != nil:
		values = fmt.Sprintf("`%.0f <= x`", *t.Minimum)
	case t.ExclusiveMinimum != nil:
		values = fmt.Sprintf("`%.0f < x`", *t.ExclusiveMinimum)
	}
	required, def := "", ""
	if s.required && !s.managed {
		required = "✅"
	}
	if withDefault && s.def != "" {
		text, err := json.Marshal(t.typed(s.def))
		if err != nil {
			panic(err) // a text, a number, a boolean or a list of texts
		}
		def = inBackticks(string(text))
	}
	fmt.Fprintf(b, "| %s | `%s` | %s | %s | %s | %s |\n", name, typ, required, values, def, about)
}
