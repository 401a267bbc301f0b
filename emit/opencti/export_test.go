package opencti

import "time"

// Hasten shortens the pauses between the attempts of a query.
func (c *Client) Hasten() {
	c.queries.RetryWaitMin, c.queries.RetryWaitMax = time.Microsecond, time.Millisecond
}

// ParseImportError takes apart what a worker reports.
var ParseImportError = parseImportError
