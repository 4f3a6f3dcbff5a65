// Command fairway-sim shows in virtual time what selection and health do with a fleet: tables, charts and bars. It is for
// development, and does not ship.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"fairway/dataplane/internal/sim"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fairway-sim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("fairway-sim", flag.ContinueOnError)
	out := flags.String("out", ".build/sim", "folder for results.json")
	images := flags.String("images", "", "folder for charts; empty = -out")
	page := flags.String("page", "", "a page whose results are replaced; empty = none")
	only := flags.String("only", "", "only the study of this name")
	seed := flags.Uint64("seed", 0, "of all chance; 0 = 1")
	at := flags.Int("parallel", runtime.GOMAXPROCS(0), "runs at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var studies []sim.Study
	for _, s := range append(sim.Suite(), sim.Loads()) {
		if *only == "" || s.Name == *only {
			for i := range s.Cases {
				s.Cases[i].Setup.Seed = *seed
			}
			studies = append(studies, s)
		}
	}
	if len(studies) == 0 {
		return fmt.Errorf("no study %q", *only)
	}
	reports := sim.RunAll(studies, *at)
	var tables bytes.Buffer
	if err := sim.WriteTables(&tables, reports); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(tables.Bytes()); err != nil {
		return err
	}
	if *images == "" {
		*images = *out
	}
	for _, dir := range []string{*out, *images} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(*out, "results.json"))
	if err != nil {
		return err
	}
	if err := errors.Join(sim.WriteJSON(f, reports), f.Close()); err != nil {
		return err
	}
	if *only == "" {
		if err := sim.Draw(*images, reports); err != nil {
			return err
		}
		if err := replace(*page, tables.String()); err != nil {
			return err
		}
	}
	all, missed := sim.Bars(reports)
	fmt.Printf("%d bars, %d missed\n", all, missed)
	if missed > 0 {
		return fmt.Errorf("%d of %d bars missed", missed, all)
	}
	return nil
}

// Where results are in a page.
const (
	from = "<!-- make sim writes from here -->\n"
	to   = "<!-- to here -->"
)

// replace puts results into a page.
func replace(page, results string) error {
	if page == "" {
		return nil
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(old), from)
	_, after, ok2 := strings.Cut(rest, to)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for results", page)
	}
	return os.WriteFile(page, []byte(before+from+"\n"+results+to+after), 0o644)
}
