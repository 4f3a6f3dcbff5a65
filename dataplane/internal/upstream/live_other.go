//go:build !unix

package upstream

import "net"

// prober knows nothing here: a connection that the upstream closed is found when it is used, and replaced.
type prober struct{}

func (p *prober) init(net.Conn) {}

func (p *prober) readable() bool { return false }
