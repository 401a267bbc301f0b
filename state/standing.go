package state

import "time"

// Standing is how far the schedule's import of a dataset is, for whoever watches.
type Standing struct {
	// Since is up to when all is delivered, but for what is owed. A dataset that was never imported is where its import begins.
	Since time.Time
	// Owed is how many items could not be fetched and are tried again by every run.
	Owed int
}

// Standing tells how far a dataset is. It waits for nobody.
func (k *Keeper) Standing(dataset string) Standing {
	k.mu.Lock()
	cursor, found := k.doc.datasets[dataset]
	begin := k.doc.importFrom
	k.mu.Unlock()
	switch {
	case found:
		return Standing{Since: cursor.Since, Owed: len(cursor.Failed)}
	case begin.IsZero(): // before the first run
		begin = k.cfg.ImportFrom()
	}
	return Standing{Since: begin}
}
