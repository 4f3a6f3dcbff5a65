package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// asked is one request as its client saw it.
type asked struct {
	proxy, dialect string // dialect is "openai" or "anthropic"
	stream         bool
	status         int
	header         http.Header
	body           string
	err            error // of the connection
}

func (a *asked) String() string {
	return fmt.Sprintf("%s, stream %v, request %s: status %d, %v, Retry-After %q, %s", a.dialect, a.stream, a.header.Get("X-Request-Id"),
		a.status, a.err, a.header.Get("Retry-After"), tail(a.body, 8))
}

// events are the data of a stream's events, each with its name where it has one.
func (a *asked) events() (names, data []string) {
	for event := range strings.SplitSeq(strings.TrimRight(a.body, "\r\n"), "\n\n") {
		name, text := "", ""
		for line := range strings.SplitSeq(event, "\n") {
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(line, "data: "); ok {
				text = v
			}
		}
		names, data = append(names, name), append(data, text)
	}
	return names, data
}

// failure is an error in the client's dialect, in a body or an event; "" = it is none.
func (a *asked) failure(text string) string {
	var got struct {
		Type  string
		Error struct{ Message, Type string }
	}
	if json.Unmarshal([]byte(text), &got) != nil || got.Error.Type == "" || a.dialect == "anthropic" && got.Type != "error" {
		return ""
	}
	return got.Error.Message
}

// whole says that the client got all that it asked for.
func (a *asked) whole() bool {
	if a.err != nil || a.status != http.StatusOK {
		return false
	}
	if !a.stream {
		var got struct{ Choices, Content []json.RawMessage }
		return json.Unmarshal([]byte(a.body), &got) == nil && len(got.Choices)+len(got.Content) > 0
	}
	names, data := a.events()
	last := len(data) - 1
	for i := range data {
		if names[i] == "error" || a.failure(data[i]) != "" {
			return false
		}
	}
	return len(data) > 2 && (a.dialect == "openai" && data[last] == "[DONE]" || a.dialect == "anthropic" && names[last] == "message_stop")
}

// cut says that a stream that had begun was ended as its dialect ends one that failed: by an error event, and before its
// framing is, so that no client takes it for complete.
func (a *asked) cut() bool {
	if !errors.Is(a.err, io.ErrUnexpectedEOF) || a.status != http.StatusOK || !a.stream {
		return false
	}
	names, data := a.events()
	last := len(data) - 1
	return last > 0 && a.failure(data[last]) != "" && (a.dialect == "openai" || names[last] == "error")
}

// ask makes one request with the connections of c.
func (p *proxy) ask(ctx context.Context, c *http.Client, key, model, dialect string, stream bool, text string) *asked {
	a := &asked{proxy: p.addr, dialect: dialect, stream: stream, header: http.Header{}}
	path := "/v1/chat/completions"
	if dialect == "anthropic" {
		path = "/v1/messages"
	}
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 64, "stream": stream, "messages": []any{map[string]any{"role": "user", "content": text}},
	})
	if err != nil {
		a.err = err
		return a
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.addr+path, strings.NewReader(string(body)))
	if err != nil {
		a.err = err
		return a
	}
	req.Header.Set("Content-Type", "application/json")
	if dialect == "anthropic" {
		req.Header.Set("X-Api-Key", key)
		req.Header.Set("Anthropic-Version", "2023-06-01")
	} else {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := c.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	raw, err := io.ReadAll(res.Body)
	a.body, a.err = string(raw), err
	return a
}

// ways are how clients ask.
func ways() []asked {
	return []asked{{dialect: "openai"}, {dialect: "openai", stream: true}, {dialect: "anthropic"}, {dialect: "anthropic", stream: true}}
}

// load is what clients ask all the while, in every way and of every proxy. It keeps what did not go straight through.
type load struct {
	t    testing.TB
	made atomic.Int64
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	bad   []*asked
	moved []*asked // good answers that took more than one attempt, as far as the key's debug headers say it
}

// begin starts a load. Each conversation is another one, so that affinity keeps none of them together.
func begin(t testing.TB, proxies []*proxy, key, model string) *load {
	t.Helper()
	const workers, pause = 2, 30 * time.Millisecond
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{t: t, end: end}
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	client := &http.Client{Transport: transport, Timeout: patience}
	var next atomic.Int64
	for range workers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1))
				way := ways()[n/len(proxies)%len(ways())]
				// A request that has begun comes to its end: whoever stops a load wants to know how.
				l.keep(proxies[n%len(proxies)].ask(context.WithoutCancel(ctx), client, key, model, way.dialect, way.stream, fmt.Sprint("conversation ", n)))
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	t.Cleanup(func() {
		l.stop()
		transport.CloseIdleConnections()
	})
	return l
}

func (l *load) keep(a *asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !a.whole() {
		l.bad = append(l.bad, a)
	} else if n := a.header.Get("X-Fairway-Attempts"); n != "" && n != "1" {
		l.moved = append(l.moved, a)
	}
	l.made.Add(1)
}

// more waits until so many more requests have come to their end.
func (l *load) more(n int64) {
	l.t.Helper()
	until := l.made.Load() + n
	eventually(l.t, "more requests", func() error {
		if l.made.Load() < until {
			return errors.New("they do not end")
		}
		return nil
	})
}

func (l *load) stop() {
	l.end()
	l.wg.Wait()
}

// failures returns those that clients saw: streams that were cut as they should be are told apart.
func (l *load) failures() (bad, cuts []*asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.bad {
		if a.cut() {
			cuts = append(cuts, a)
		} else {
			bad = append(bad, a)
		}
	}
	return bad, cuts
}

// failedOver are the answers that came from the second account or a later one.
func (l *load) failedOver() []*asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.moved)
}
