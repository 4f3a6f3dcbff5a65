package upstream

import "time"

// ticks is into how many parts a limit is divided.
const ticks = 4

// patience is how long a connection's reads may wait. A deadline costs a timer, and to know when it is due costs a look at
// the clock: too much for each read. So the deadline is a quarter of the limit away, or less, and stays where it is while
// things arrive. When it passes, somebody counts: after a first, broken quarter and four whole ones in which nothing came
// the limit has passed, and has run over by a quarter at most.
type patience struct {
	limit time.Duration
	tick  time.Duration // the deadline was set this far away, or there is none (0)
	quiet int           // whole ticks without an arrival; -1 = the current tick is a broken one
}

// expect begins a wait of at most limit for each arrival.
func (c *conn) expect(limit time.Duration) {
	c.limit = limit
	c.stirred()
	if c.tick == 0 || c.tick > c.share() {
		_ = c.arm()
	}
}

// stirred notes that something came, or that a wait begins anew.
func (c *conn) stirred() { c.quiet = -1 }

func (p *patience) share() time.Duration { return (p.limit + ticks - 1) / ticks }

func (c *conn) arm() error {
	c.tick = c.share()
	return c.sock.SetReadDeadline(time.Now().Add(c.tick))
}

// disarm takes the deadline away.
func (c *conn) disarm() error {
	c.tick = 0
	return c.sock.SetDeadline(time.Time{})
}

// waitOn is asked when the read deadline has passed, and says whether to read on. As long as up is under way nothing limits
// the wait but up itself, which bounds its writes.
func (c *conn) waitOn(up *upload) bool {
	if c.quiet++; c.quiet >= ticks && up.judged() {
		return false
	}
	if c.arm() != nil {
		return false
	}
	if up.judged() {
		return true
	}
	// Looked at behind the new deadline, because an upload that fails moves it once.
	ended, err := up.result()
	c.stirred()
	if ended {
		up.seen = true
		if err != nil {
			c.expect(min(c.limit, afterFailure))
		}
	}
	return true
}
