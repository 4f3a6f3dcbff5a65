// Package limit is the proxy's side of limits: it lets a request in, or refuses it, from credits that this process holds.
//
// A limit belongs to a scope (a tenant, a group or a key) and counts one thing (requests, tokens, requests at once, cost)
// over a window. The control plane's leader lends out its credits; what this process was lent lies in purses of atomics,
// one for each limit that is in use here. A request takes its estimate from every purse that stands above it, or from
// none, without a lock, an allocation or a word to anybody, and settles the difference once it is known. What scopes
// without limits cost is one nil check.
//
// Credits are asked for ahead of need. Two cases are left in which a request finds less than the leader would lend: the
// first use of a limit at this proxy, and a burst beyond all that was foreseen. Spending what nobody has lent would break
// the promise that a budget is never exceeded, and refusing would break the limit's other half, that what is left can be
// used. So such requests wait for the answer that is on its way: 250 ms at most, all of one purse together, and never
// again within a second after a wait in vain. Nothing is asked on behalf of a single request.
//
// When the leader cannot be reached, what was lent is spent until the lease ends. After that the scope's policy holds:
// closed refuses, safe lets a published share through (a quarter of the limit over the whole fleet), open lets everything
// through and marks it. All of that is counted, and told when the leader is back.
//
// Times inside are readings of the monotonic clock, so setting the system's clock moves no window and ends no lease.
//
// It refuses to speak to the network (the lease room carries its questions and answers), to know prices or keys (callers
// bring estimates and terms), to decide what the fleet may spend (the leader does), and to remember anything across
// restarts: a process that ends gives back nothing, and the leader takes back what it held when the lease ends.
package limit
