package emit

import (
	"github.com/opencti-connectors/threatmatch/transform"
)

// mappingOf is the real mapping.
func mappingOf(t *transform.Transformer) Mapping {
	return Mapping{
		WithoutRefs: t.WithoutRefs, Yield: t.Yield, Addition: transform.Addition, AdditionID: transform.AdditionID, Split: transform.Split,
		StandardMarking: transform.StandardMarking,
	}
}

// testMapping is one for which TLP:AMBER takes the place of a last marking that goes.
func testMapping() Mapping {
	mapper, err := transform.New(transform.Config{TLP: "amber"})
	if err != nil {
		panic(err)
	}
	return mappingOf(mapper)
}
