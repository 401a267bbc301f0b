package transform

import "github.com/opencti-connectors/threatmatch/transform/description"

// MappingVersion changes whenever the same input gives other output, so that an index of what was delivered under another
// version is not believed.
const MappingVersion = 2

// Format is what descriptions become.
type Format = description.Format

// The formats of descriptions; [Markdown] is the zero value.
const (
	Markdown = description.Markdown
	Text     = description.Text
	HTML     = description.HTML
)

// ParseFormat reads the name of a format: markdown, text or html.
func ParseFormat(name string) (Format, error) { return description.ParseFormat(name) }

// Config says how to map.
type Config struct {
	// TLP is the marking for objects that bring none: white, clear, green, amber, amber+strict or red.
	TLP string
	// ThreatActorAsIntrusionSet turns threat actors, and every reference to one, into intrusion sets.
	ThreatActorAsIntrusionSet bool
	// Descriptions is the format of descriptions.
	Descriptions Format
}
