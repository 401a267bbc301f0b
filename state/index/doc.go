// Package index remembers on disk which objects were delivered, so that none is sent twice, and keeps those that wait for
// others.
//
// Of what was delivered it is a cache: what it has forgotten is sent again. Of what earlier runs held back it is the only
// memory. A missing, damaged or foreign index is never an error; [Open] begins a new one and says why. What an index must
// never do is claim a delivery that was not: records are put after the broker's confirm, every block that is read is
// checked, and after a damage no older record is answered in place of a newer one.
//
// # On disk
//
// The folder holds index.lock (who has it open), index.json (whose index it is, and its id), waiting.log, and tables:
// files of records sorted by key, written once and never changed. Records are buffered in memory, written as a small table
// when a batch is full or on [Index.Flush], and merged in the background, so that there are few tables and hardly any
// superseded record. A table is there as a whole or not at all, and its name says what it covers, so a process may be
// killed at any moment. Every file carries the index's id; emptying the index is giving it another one.
//
// # In memory
//
// A filter of 12 bits for each object (1.5 MB a million, at most 16 MiB a table), the first key of each block (0.3 MB a
// million) and at most two batches of records: with the garbage of busy merging about 25 MB at a million objects. Files are
// read with plain reads, not mapped, so they do not count as the process's memory.
//
// # Why not a database
//
// A million objects with random keys, records of 40 bytes, a flush every 10,000, on two shared cores of a small virtual
// machine; microseconds of CPU an object, bytes an object on disk, peak memory of the whole process:
//
//	                            bbolt 1.5   pebble 2.1   this   a map in memory
//	lookup and put, all new     12.5        19           1.9    0.4
//	lookup, all known           1.4         13           2.0
//	lookup and put, all changed 13          24           4.4
//	bytes on disk when closed   115         59           40
//	peak memory                 286 MB      48 MB        39 MB
//
// Records have 71 bytes today, on disk as well; the rest of the figures is as it was measured.
//
// bbolt maps its file, so memory grows with the index, and half-filled pages double the file; pebble is bounded, but costs
// ten times the CPU, more than this package may, and brings two dozen modules. While tables are merged, old and new ones
// take up to 100 bytes an object for less than a second. BenchmarkAMillionObjects gives the last two columns.
//
// The same for 100,000 waiting objects of 1 kB that are saved, read and removed: bbolt 31 µs of CPU an object and 248 MB of
// memory, the log of this package 11 µs and 51 MB.
package index
