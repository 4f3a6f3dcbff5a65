// Package report keeps usage records until the control plane has them on its books.
//
// Two halves meet in it. Spool is where the gateway puts a Record at the end of each request: memory-mapped files that
// survive kill -9 without a system call per record. Reporter is the client of the Report RPC that sends what is
// spooled, in order, and deletes what is committed; it also sends what earlier processes left behind.
//
// Each record has a place: (boot id, sequence). Sequence n is the nth committed record of a boot, in the order of its
// files. The control plane commits records and its watermark in one transaction, and answers with the watermark; a
// Reporter that starts, reconnects or doubts asks for it and goes on from there. So a record is counted once however
// often it travels.
//
// What it promises: a record whose Append has returned nil is counted exactly once, though the process is killed, the
// connection breaks anywhere, the leader moves, or the control plane is away for as long as the disk bound allows.
// What it does not: a power failure or a kernel crash may take records that the kernel had not written back yet (they
// are then missing, never doubled). When the disk is full or the bound is reached, records are dropped and counted;
// traffic never waits for accounting.
//
// It refuses a state directory that another process uses, and to interpret segments of another format version: those
// are left alone.
package report
