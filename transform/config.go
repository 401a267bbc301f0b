package transform

import "github.com/opencti-connectors/threatmatch/transform/description"

// MappingVersion changes whenever the same input gives other output, so that an index of what was delivered under another
// version is not believed.
const MappingVersion = 4

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
	// Labels says what labels become.
	Labels Labels
	// Filters say what is left out.
	Filters Filters
	// Observables makes observables of what the patterns of indicators tell of, and relations based-on to them.
	Observables bool
	// Score, from 0 to 100, is the one of indicators and observables that come without; nil adds none.
	Score *int
}

// authorJSON is the organization that all of it comes from. Its id is the one that OpenCTI derives from name and class;
// its dates are constants, so that every run sends the same bytes.
const authorJSON = `{"type":"identity","spec_version":"2.1","id":"identity--bd7e3637-940a-53ea-b249-d22adfc66fb3",` +
	`"created":"2007-01-01T00:00:00.000Z","modified":"2007-01-01T00:00:00.000Z","name":"Security Alliance",` +
	`"description":"Security Alliance is a cyber threat intelligence product and services company, formed in 2007.",` +
	`"identity_class":"organization"}`
