// Package health keeps what this process knows of each upstream account, and draws the consequences.
//
// The walk of a request tells it when an attempt begins and how it ended. What an account did wrong becomes a rest of the
// account, of its organisation, of one model's family at it, or of a model at a whole channel, as the fault table says;
// five failures in a row open a local breaker. What its provider says is left of its limits, how fast and how reliably it
// answers, and what its plan allows become the numbers of its snapshot.Cell that draws read.
//
// Each second it tells the control plane's leader what happened, and it applies what the leader makes of all proxies'
// reports. The leader's word counts where there is one: a verdict arrives with the snapshot, and facts arrive on the
// stream. Without a leader, what was known last fades to neutral within a minute, the local breakers go on, and who may
// try an account that is half open is agreed upon without a word, by a rendezvous hash over the proxies known last.
//
// What the walk calls takes no lock and allocates nothing, but for the first attempt at an account and for failures. An
// account that was never used here and of which the leader said nothing costs a place in an index, about 50 bytes; one that
// is known from the leader costs about 450 more, and one with traffic about 700, or 1,000 once it has failed.
//
// It refuses to choose accounts (routing does), to decide whether a retry is worth it (the walk does), to decide anything
// for the fleet (the leader does), and to remember anything across restarts.
package health
