// Package dialect holds what all wire formats share: how a request's body is read by offset and spliced without touching
// another byte, what an upstream's failure means for the account that it came from, and what a relay must understand of
// answers that it passes through (Answers). Each format has a room of its own below; neutral is the hub between them.
//
// It refuses to decode a body only to forward it, to accept a body in which model or stream is said twice, to recognise a
// path by any other reading than byte for byte, and to hold state: everything here is a pure function.
package dialect
