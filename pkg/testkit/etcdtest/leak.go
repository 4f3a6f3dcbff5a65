package etcdtest

import "go.uber.org/goleak"

// LeakOptions tell goleak of what members of a stopped cluster leave behind: connections between peers, over net/http,
// that end by their own timeouts some seconds later.
func LeakOptions() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
	}
}
