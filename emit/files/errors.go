package files

import (
	"context"
	"errors"
)

// LastingError is a failure that trying again meets again until somebody has done something.
type LastingError struct {
	// Problem says what is wrong, and Remedy what to do.
	Problem, Remedy string
	// Denied says that the rights are missing, and the place is there as far as one can see.
	Denied bool

	cause error
}

// Error is the problem with its remedy.
func (e *LastingError) Error() string { return e.Problem + "; " + e.Remedy }

// Unwrap returns what the system or the server said.
func (e *LastingError) Unwrap() error { return e.cause }

// IsTemporary reports whether the same call may well succeed later, by itself or since somebody has made room. A call that its
// caller cancelled is not temporary.
func IsTemporary(err error) bool {
	var lasting *LastingError
	return err != nil && !errors.As(err, &lasting) && !errors.Is(err, context.Canceled)
}

// IsDenied reports whether the rights for a call are missing.
func IsDenied(err error) bool {
	var lasting *LastingError
	return errors.As(err, &lasting) && lasting.Denied
}
