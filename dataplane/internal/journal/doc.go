// Package journal carries what became of finished requests from the walks to whoever writes it down: the access log and
// the OTLP exporter. An Entry is one finished request; a Queue takes entries from many walks and gives them to one
// consumer, which may be as slow as its disk or its network.
//
// It refuses to make a walk wait: who finds the queue full goes on, and counts. It refuses secrets: an Entry has no room
// for them. What was said in a request has a room of its own, Bodies, which exists only where an operator wants it.
package journal
