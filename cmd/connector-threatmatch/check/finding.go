package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Status is how a check ended.
type Status string

// The ways in which a check ends.
const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Untried Status = "untried" // something before it failed, or it cannot be seen yet
)

// Finding is what one check has found.
type Finding struct {
	// Part is what was looked at, such as OpenCTI, and Check what of it.
	Part   string `json:"part"`
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Detail is what was seen, what is wrong, or why nothing was tried.
	Detail string `json:"detail"`
	// Remedy is what to do, "" where there is nothing to do. Of a check that is OK it is what to mind.
	Remedy string `json:"remedy,omitempty"`
}

// fault is what is wrong, and what an operator does about it.
type fault struct{ problem, remedy string }

func (f *fault) Error() string {
	if f.remedy == "" {
		return f.problem
	}
	return f.problem + "; " + f.remedy
}

// wrong makes a fault.
func wrong(remedy, problem string, args ...any) error {
	return &fault{fmt.Sprintf(problem, args...), remedy}
}

// unseen says that a check could not be tried, which is no failure.
type unseen struct{ why, remedy string }

func (u *unseen) Error() string { return u.why }

// Cause names the checks that failed, nil where there are none: those behind the first may be its consequence. What is wrong
// stands in the findings.
func Cause(findings []Finding) error {
	var failed []string
	for _, f := range findings {
		if name := f.Part + ", " + f.Check; f.Status == Failed && !slices.Contains(failed, name) {
			failed = append(failed, name)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return errors.New("one check failed: " + failed[0])
	}
	return fmt.Errorf("%d checks failed: %s", len(failed), strings.Join(failed, "; "))
}
