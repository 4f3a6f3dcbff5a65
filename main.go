// Command fairway is the whole of Fairway in one binary: both planes, together or apart, the demo, and the admin command
// line. It only parses and wires; what it starts lives behind the doors of the two planes.
package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fairway/controlplane/ctl"
	"fairway/dataplane"
	"fairway/pkg/flags"
	"fairway/pkg/version"
)

func main() { os.Exit(flags.Main(root())) }

// root is the command tree; the reference pages are generated from it.
func root() *cobra.Command {
	c := &cobra.Command{
		Use:     "fairway",
		Short:   "A gateway for large-language-model traffic",
		Version: version.String(),
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddGroup(&cobra.Group{ID: "run", Title: "Run Fairway:"}, &cobra.Group{ID: "admin", Title: "Administer it:"})
	for _, sub := range []*cobra.Command{upCommand(), demoCommand(), controlPlaneCommand(), dataplane.Command("dataplane"), configCommand()} {
		sub.GroupID = "run"
		c.AddCommand(sub)
	}
	for _, sub := range ctl.Commands(ctl.Options{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, DataDir: defaultDataDir(),
	}) {
		sub.GroupID = "admin"
		c.AddCommand(sub)
	}
	return c
}

// defaultDataDir is where `fairway up` keeps its data unless told otherwise.
func defaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return "fairway-data"
	}
	return filepath.Join(home, ".fairway")
}
