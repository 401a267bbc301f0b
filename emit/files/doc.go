// Package files puts bundles as files where others fetch them: into a [Directory], or into a [Bucket] that S3 serves.
//
// What is put is a [Document] around a bundle, under a name of [Names]. A file shows under its name when it is complete, and
// [Directory.Put] and [Bucket.Put] return nil when it would survive a crash on both sides. Putting the same text under the same
// name again is well, so that whoever has not heard of the end of a call may repeat it; another text is refused.
//
// An error is a [*LastingError] where trying again is no use until somebody has done something, which it says; others may
// pass, see [IsTemporary].
package files
