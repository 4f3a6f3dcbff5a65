// Command fairway-dataplane is one proxy and nothing else: the binary for fleets. It links no etcd, no admin API and no
// test code.
package main

import (
	"os"

	"fairway/dataplane"
	"fairway/pkg/flags"
	"fairway/pkg/version"
)

func main() {
	c := dataplane.Command("fairway-dataplane")
	c.Version = version.String()
	os.Exit(flags.Main(c))
}
