// Package threatmatchtest is a ThreatMatch API in memory, as strict as the real one, with faults on command.
//
// A [Server] is an [http.Handler] over some [Data]: a [Folder] read from disk, whose content may change while it is
// served, or [Generated] intelligence, made on demand from a seed and therefore of any size. [Server.Fault] makes chosen
// calls fail in chosen ways; [Server.Calls] tells what was asked.
package threatmatchtest
