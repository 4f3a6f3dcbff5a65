package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ledger is what a scene's requests must leave on the books of its key.
type ledger int

const (
	ledgerNone    ledger = iota // nothing: they never reach an upstream
	ledgerSteady                // each answered one, with its tokens
	ledgerFaulty                // each that was tried at an upstream
	ledgerLeaving               // those that were tried, of which only the client's half is known
	ledgers
)

func (l ledger) String() string { return [...]string{"nobody", "steady", "faulty", "leaving"}[l] }

// ending is what became of one request of a scene.
type ending struct {
	kind   string // in the words of the scene
	booked bool   // it must be on the books
	may    bool   // it may be
}

// tally counts what became of the requests. It is safe for concurrent use.
type tally struct {
	mu      sync.Mutex
	endings map[string]int64 // by "scene: kind"
	sums    sums
	first   []string // what was not expected
	must    [ledgers]int64
	might   [ledgers]int64
}

// sums are the endings of all scenes.
type sums struct {
	requests   int64
	good       int64 // answered in full
	refused    int64 // for what the client did wrong
	failed     int64 // for what the upstream did wrong
	left       int64 // by the client
	unexpected int64 // not what the request may get
}

func newTally() *tally { return &tally{endings: map[string]int64{}} }

// Kinds of endings; others are what an upstream's fault came to.
const (
	answered = "answered"
	refused  = "refused"
	left     = "left"
)

func (t *tally) add(s *scene, e ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums.requests++
	t.endings[s.name+": "+e.kind]++
	switch e.kind {
	case answered:
		t.sums.good++
	case refused:
		t.sums.refused++
	case left:
		t.sums.left++
	default:
		t.sums.failed++
	}
	if e.booked {
		t.must[s.books]++
	}
	if e.booked || e.may {
		t.might[s.books]++
	}
}

// fault notes a request that got what it must not get.
func (t *tally) fault(s *scene, err error) {
	const keep = 20
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums.requests++
	t.sums.unexpected++
	t.endings[s.name+": UNEXPECTED"]++
	// Whether it is on the books is anybody's guess.
	t.might[s.books]++
	if len(t.first) < keep {
		t.first = append(t.first, s.name+": "+err.Error())
	}
}

// counts are the sums so far.
func (t *tally) counts() sums {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sums
}

// String is a line for each ending of each scene.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.endings)) {
		fmt.Fprintf(&b, "  %-34s %9d\n", name, t.endings[name])
	}
	return b.String()
}
