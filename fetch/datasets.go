package fetch

// The datasets, as the API's paths name them and as they stand in the connector's state; the paging API of the indicators
// has no name for its own.
const (
	ProfilesDataset   = "profiles"
	AlertsDataset     = "alerts"
	ReportsDataset    = "reports"
	IndicatorsDataset = "iocs"
)
