// Package sim runs a fleet in virtual time, to see what selection and health do together before anybody has to see it in
// production: hundreds of proxies, accounts that fail, come back, are new or slow, a leader that goes away.
//
// What decides is the real code: each proxy has its own snapshot.Replica, health.Keeper and route.Rand, and walks a request
// as the gateway does (permit, pick, refusals, attempts, retry budget); one judge.Judge merges their reports and sends
// updates over a network with delays. What is made up is the world outside: clients that come at random, and accounts that
// carry so many requests at once and answer 429 beyond.
//
// Events are worked off one after the other, nothing sleeps, and all chance comes from the setup's seed, so that a run can be
// repeated. It is for development and tests; nothing that ships imports it.
package sim
