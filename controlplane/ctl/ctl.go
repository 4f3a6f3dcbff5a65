// Package ctl is the admin command line: every command that talks to a running control plane. It is a client of the
// admin API like any other and knows nothing else: it imports no room of either plane, reads no etcd, and needs only a
// server address and an operator's token.
package ctl

import (
	"io"

	"github.com/spf13/cobra"
)

// Options say where a command reads and writes. The zero value is not usable; the binary fills in the process's own.
type Options struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Getenv looks up an environment variable.
	Getenv func(string) string
	// DataDir is where `fairway up` keeps its data unless told otherwise; its operator.token is the token of last
	// resort.
	DataDir string
}

// Commands returns the admin commands, to be added to the root command.
func Commands(o Options) []*cobra.Command {
	s := &session{o: o}
	cmds := []*cobra.Command{
		resourceCommand(s, channels()),
		resourceCommand(s, accounts()),
		resourceCommand(s, groups()),
		resourceCommand(s, tenants()),
		resourceCommand(s, keys()),
		resourceCommand(s, models()),
		resourceCommand(s, operators()),
		notifierCommand(s),
		limitsCommand(s),
		settingsCommand(s),
		proxyCommand(s),
		usageCommand(s),
		auditCommand(s),
		statusCommand(s),
		explainCommand(s),
		topCommand(s),
		applyCommand(s),
		getCommand(s),
	}
	for _, c := range cmds {
		s.bind(c)
	}
	return append(cmds, verifyCommand(s))
}
