package fleet

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/bank"
)

// burden is how a limit of requests at once is used.
type burden struct {
	slots int64
	takes time.Duration // a request, from half of it to one and a half
	over  float64       // how many times what the slots can serve is offered
	hot   float64       // the part of it that comes to the first of eight proxies
}

// TestSlots: however many requests come, however long they take and however unevenly they are spread over eight proxies,
// there are never more under way than the limit says, and at least 95% of what one counter for all of them would let in;
// a little less where a request takes no longer than two messages. Requests wait as they really do, in simulated time.
func TestSlots(t *testing.T) {
	for _, takes := range []time.Duration{5 * time.Millisecond, 300 * time.Millisecond, 10 * time.Second} {
		for _, over := range []float64{1.2, 2.5, 16} {
			for _, hot := range []float64{0.125, 0.9} {
				t.Run(fmt.Sprintf("%v, x%v, %v at one", takes, over, hot), func(t *testing.T) {
					if raceDetector && (over != 2.5 || takes != 300*time.Millisecond) {
						t.Skip("the race detector makes minutes of it, and finds nothing that others do not show it; make test runs all without it")
					}
					t.Parallel()
					least := 95
					switch short := takes < 10*time.Millisecond; {
					// A slot that changes hands is lost for as long as such a request takes.
					case short && over == 2.5 && hot > 0.5:
						least = 80
					case short:
						least = 90
					}
					synctest.Test(t, func(t *testing.T) { burden{40, takes, over, hot}.run(t, least) })
				})
			}
		}
	}
}

// run offers the requests, and compares.
func (l burden) run(t *testing.T, percent int) {
	f := &fleet{t: t, start: time.Now(), clock: time.Now}
	f.build(8, key, bank.Limit{Kind: bank.Kind{What: bank.Concurrency, Period: bank.None}, Amount: l.slots})
	terms := make([]*limit.Terms, 8)
	for i := range terms {
		terms[i] = limit.NewTerms(limit.Key, "k", limit.Rules{Limits: []limit.Limit{{What: limit.Concurrency, Amount: l.slots}}})
	}
	warm, whole := 3*time.Second+2*l.takes, 6*time.Second+8*l.takes
	if l.takes < 100*time.Millisecond {
		warm, whole = time.Second, 1500*time.Millisecond
	}
	var (
		one    counter
		random = rand.New(rand.NewPCG(1, 2))
		every  = float64(l.takes) / l.over / float64(l.slots)
		next   = time.Duration(random.ExpFloat64() * every)
		all    sync.WaitGroup

		mu          sync.Mutex
		busy        time.Duration // slots times how long they were in use
		under, most int64
		served      [8]int
		refused     [8]int
	)
	for tick := time.Millisecond; tick < whole; tick += time.Millisecond {
		for ; next < tick; next += time.Duration(random.ExpFloat64() * every) {
			time.Sleep(next - time.Since(f.start))
			n := 0
			if random.Float64() >= l.hot {
				n = 1 + random.IntN(7)
			}
			takes := time.Duration((0.5 + random.Float64()) * float64(l.takes))
			one.offer(l.slots, next, takes, warm, whole)
			all.Go(func() {
				var r limit.Reservation
				if f.proxies[n].purses.Admit(t.Context(), &r, &limit.Scopes{limit.AtKey: terms[n]}, limit.Estimate{}) != nil {
					mu.Lock()
					refused[n]++
					mu.Unlock()
					return
				}
				mu.Lock()
				under++
				most = max(most, under)
				served[n]++
				if at := time.Since(f.start); at > warm && at < whole {
					busy += min(at+takes, whole) - at
				}
				mu.Unlock()
				time.Sleep(takes)
				mu.Lock()
				under--
				mu.Unlock()
				f.proxies[n].purses.Settle(&r, limit.Usage{}, time.Now())
			})
		}
		time.Sleep(tick - time.Since(f.start))
		synctest.Wait()
		f.exchange(time.Now())
	}
	all.Wait()
	space := float64(l.slots) * float64(whole-warm)
	t.Logf("in use %.1f%%, with one counter %.1f%%; served %d, refused %d", 100*float64(busy)/space, 100*float64(one.busy)/space, served, refused)
	if most > l.slots {
		t.Errorf("%d at once, of %d", most, l.slots)
	}
	if busy*100 < one.busy*time.Duration(percent) {
		t.Errorf("in use for %v, of %v", busy, one.busy)
	}
}

// counter is a limit of requests at once as one process would keep it. It holds when they end.
type counter struct {
	ends endings
	busy time.Duration
}

// offer lets a request in that comes at a time, if there is a slot.
func (c *counter) offer(slots int64, at, takes, warm, whole time.Duration) {
	for len(c.ends) > 0 && c.ends[0] <= at {
		heap.Pop(&c.ends)
	}
	if int64(len(c.ends)) >= slots {
		return
	}
	heap.Push(&c.ends, at+takes)
	if at > warm {
		c.busy += min(at+takes, whole) - at
	}
}

// endings are a heap.
type endings []time.Duration

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i] < e[j] }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(time.Duration)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
