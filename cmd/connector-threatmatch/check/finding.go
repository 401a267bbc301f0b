package check

import (
	"errors"
	"fmt"
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

// Cause is the first failure among the findings as an error, nil where there is none: those behind it may be its consequence.
func Cause(findings []Finding) error {
	failed := 0
	var first *Finding
	for i, f := range findings {
		if f.Status == Failed {
			if failed++; first == nil {
				first = &findings[i]
			}
		}
	}
	if first == nil {
		return nil
	}
	cause := fmt.Sprintf("%s, %s: %s", first.Part, first.Check, first.Detail)
	if first.Remedy != "" {
		cause += "; " + first.Remedy
	}
	if failed > 1 {
		cause += fmt.Sprintf(" (and %d more)", failed-1)
	}
	return errors.New(cause)
}

// counted writes a number of things.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
