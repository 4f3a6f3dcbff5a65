// Package snapshot holds what a proxy knows, compiled for the hot path.
//
// A Snapshot is one immutable revision of the fleet's state: keys by MAC, tenants, groups, what these are limited
// to, prices, and per (group, model) the tiers of accounts that may serve. A request pins one Snapshot and reads it without locks or allocations. A Replica
// turns the control plane's transactions into the next Snapshot, touching only what changed; a Holder hands the current
// one out and lets a request that found nothing wait, briefly, for news; a Keeper writes the last good state to disk
// and reads it back after a restart.
//
// It refuses to apply half a transaction, a transaction whose digest does not fit, and one that leads back in time. A
// single resource that does not compile is quarantined by name and costs nothing else. It opens no connection and
// asks nobody: that is the subscriber's work. What is live and local to this process (load, cooldowns) sits in cells
// beside the snapshots, never in them.
package snapshot
