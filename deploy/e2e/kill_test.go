package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// TestKilledProxy: proof 4. A proxy is killed (SIGKILL) under load 20 times. Each request asks for a model of its own, so
// that the books say of each whether it is on them: every request that a client saw the end of is there once, none is there
// twice, and none is there that the provider did not finish.
func TestKilledProxy(t *testing.T) {
	const rounds, workers, perWorker = 20, 4, 25
	in := up(t)
	fake, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-kill": fakellm.Healthy()}, AnyModel: true})
	var names []string
	for r := range rounds {
		for w := range workers {
			for n := range perWorker {
				names = append(names, fmt.Sprintf("r%d-w%d-n%d", r, w, n))
			}
		}
	}
	in.channel("main", url, "sk-kill", strings.Join(names, ","), "--wait")
	key := in.key("alice")
	p := in.addProxy()

	var mu sync.Mutex
	finished := map[string]bool{}
	for r := range rounds {
		halfway := make(chan struct{})
		var once sync.Once
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				c := p.client(key)
				for n := range perWorker {
					model := fmt.Sprintf("r%d-w%d-n%d", r, w, n)
					// Sooner in some rounds and later in others, so that the kill meets every phase of a request.
					if w == 0 && n == (r*7)%perWorker {
						once.Do(func() { close(halfway) })
					}
					var err error
					if n%2 == 0 {
						_, err = c.Chat.Completions.New(t.Context(), chat(model, "one two"))
					} else {
						s := c.Chat.Completions.NewStreaming(t.Context(), chat(model, "one two"))
						for s.Next() {
						}
						err = s.Err()
					}
					if err != nil {
						return // killed under it
					}
					mu.Lock()
					finished[model] = true
					mu.Unlock()
				}
			})
		}
		<-halfway
		p.process.kill()
		wg.Wait()
		p.start(t)
	}

	onBooks := map[string]int64{}
	eventually(t, "every finished request is on the books", func() error {
		rows, _, err := in.usage("--group-by", "model")
		if err != nil {
			return err
		}
		clear(onBooks)
		for _, r := range rows {
			onBooks[r.Model] = r.Requests
		}
		for model := range finished {
			if onBooks[model] == 0 {
				return fmt.Errorf("%s was finished and is not on the books (%d of %d are)", model, len(onBooks), len(finished))
			}
		}
		return nil
	})
	// Whatever the spools still held has had its chance now: the last proxy flushes on SIGTERM.
	p.process.stop()
	rows, total, err := in.usage("--group-by", "model")
	if err != nil {
		t.Fatal(err)
	}
	counted := fake.Books()
	var unseen int
	for _, r := range rows {
		if r.Requests != 1 {
			t.Errorf("%s is on the books %d times", r.Model, r.Requests)
		}
		if r.Errors == 0 && counted.Models[r.Model].Finished != 1 {
			t.Errorf("%s is on the books as good, and the provider finished it %d times", r.Model, counted.Models[r.Model].Finished)
		}
		if !finished[r.Model] {
			unseen++
		}
	}
	var input, output int64
	for model := range finished {
		input += counted.Models[model].Input
		output += counted.Models[model].Output
	}
	var bookedInput, bookedOutput int64
	for _, r := range rows {
		if finished[r.Model] {
			bookedInput += r.InputTokens
			bookedOutput += r.OutputTokens
		}
	}
	if bookedInput != input || bookedOutput != output {
		t.Errorf("finished requests: %d/%d tokens on the books, the provider counted %d/%d", bookedInput, bookedOutput, input, output)
	}
	t.Logf("%d kills: clients saw %d requests end, all of them on the books once, with the provider's %d/%d tokens; "+
		"%d more were on the books of those in flight when the proxy died; nothing twice (%d in all; the provider finished %d)",
		rounds, len(finished), input, output, unseen, total.Requests, counted.Total.Finished)
}

// TestDrain: SIGTERM lets a stream end, refuses new connections, and loses no usage.
func TestDrain(t *testing.T) {
	in := up(t)
	gate := fakellm.NewGate()
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-drain": fakellm.HangMidStream(2, gate)}, Models: []string{"m1"}})
	in.channel("main", url, "sk-drain", "m1", "--wait")
	key := in.key("alice")
	p := in.addProxy()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream := p.client(key).Chat.Completions.NewStreaming(ctx, chat("m1", "one two three"))
	if !stream.Next() {
		t.Fatalf("no first event: %v", stream.Err())
	}
	<-gate.Entered()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.process.stop()
	}()
	eventually(t, "new connections are refused", func() error {
		if _, err := get("http://"+p.addr+"/v1/models", 401); err == nil {
			return fmt.Errorf("still accepts")
		}
		return nil
	})
	gate.Open()
	var text strings.Builder
	for stream.Next() {
		if c := stream.Current().Choices; len(c) > 0 {
			text.WriteString(c[0].Delta.Content)
		}
	}
	if err := stream.Err(); err != nil || text.Len() == 0 {
		t.Errorf("the stream that was under way: %q, %v", text.String(), err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the proxy did not end")
	}
	eventually(t, "its usage was flushed", func() error {
		_, total, err := in.usage()
		if err == nil && (total.Requests != 1 || total.Errors != 0 || total.Estimated != 0) {
			err = fmt.Errorf("books: %+v", total)
		}
		return err
	})
}

// TestKilledUp: `fairway up` is killed again and again. What was acknowledged is there after each start, the new process
// leads at once although the dead one's lease still runs, and the books go on.
func TestKilledUp(t *testing.T) {
	in := up(t)
	_, url := provider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-up": fakellm.Healthy()}, Models: []string{"m1"}})
	in.channel("main", url, "sk-up", "m1", "--wait")
	key := in.key("alice")
	for round := range 3 {
		if _, err := in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
			t.Fatal(err)
		}
		in.must("group", "create", fmt.Sprintf("g%d", round))
		in.server.kill()
		in.startUp()
		if _, err := in.call("GroupService/GetGroup", map[string]any{"name": fmt.Sprintf("g%d", round)}); err != nil {
			t.Errorf("after kill %d: %v", round, err)
		}
		status, err := in.call("FleetService/GetStatus", map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(status["replicas"].([]any)); n > 1 {
			t.Errorf("after kill %d there are %d replicas, all but one of them dead", round, n)
		}
	}
	eventually(t, "the books have what was spooled", func() error {
		_, total, err := in.usage()
		if err == nil && total.Requests != 3 {
			err = fmt.Errorf("%d of 3 requests are on the books", total.Requests)
		}
		return err
	})
}
