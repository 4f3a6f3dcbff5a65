package fakellm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxShelf is how many responses are kept; the oldest go first.
const maxShelf = 4096

// shelf keeps responses for the accounts that made them. To every other account they do not exist.
type shelf struct {
	mu       sync.Mutex
	kept     map[string]*shelved
	sequence []string
}

// shelved is a response and how far its work in the background has come: it is in progress when it is asked for first,
// and done at the second time.
type shelved struct {
	response *modelResponse
	asked    int
	canceled bool
}

func newShelf() *shelf { return &shelf{kept: map[string]*shelved{}} }

// keep stores a response, unless its request forbade that.
func (s *shelf) keep(m *modelResponse) {
	if !m.kept() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sequence) == maxShelf {
		delete(s.kept, s.sequence[0])
		s.sequence = slices.Delete(s.sequence, 0, 1)
	}
	s.kept[m.id] = &shelved{response: m}
	s.sequence = append(s.sequence, m.id)
}

func (s *shelf) find(owner, id string) *modelResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.own(owner, id); e != nil {
		return e.response
	}
	return nil
}

// own needs the lock.
func (s *shelf) own(owner, id string) *shelved {
	if e, ok := s.kept[id]; ok && e.response.owner == owner {
		return e
	}
	return nil
}

// holds says whether an item is one of the account's responses'.
func (s *shelf) holds(owner, item string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.kept {
		if e.response.owner == owner && slices.Contains(e.response.outputIDs(), item) {
			return true
		}
	}
	return false
}

// look is the response as it is now, and lets time pass for it.
func (s *shelf) look(owner, id string) (m *modelResponse, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.own(owner, id)
	if e == nil {
		return nil, ""
	}
	e.asked++
	switch {
	case e.canceled:
		return e.response, "cancelled"
	case e.response.request.Background && !e.response.request.Stream && e.asked == 1:
		return e.response, "in_progress"
	}
	return e.response, e.response.status()
}

// cancel stops a response in the background that is not done yet.
func (s *shelf) cancel(owner, id string) (m *modelResponse, status string, fault *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.own(owner, id)
	switch {
	case e == nil:
		return nil, "", unknownResponse(id)
	case !e.response.request.Background:
		return nil, "", badRequest("", "", "Cannot cancel a synchronous response.")
	case e.asked < 2:
		e.canceled = true
	}
	if e.canceled {
		return e.response, "cancelled", nil
	}
	return e.response, e.response.status(), nil
}

func (s *shelf) remove(owner, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own(owner, id) == nil {
		return false
	}
	delete(s.kept, id)
	s.sequence = slices.DeleteFunc(s.sequence, func(other string) bool { return other == id })
	return true
}

func unknownResponse(id string) *apiError {
	fault := badRequest("", "", "Response with id '%s' not found.", id)
	fault.status = http.StatusNotFound
	return fault
}

// serveShelf answers what is asked of kept responses: GET, DELETE, …/cancel and …/input_items. They are on no books.
func (x *exchange) serveShelf(rest string) {
	if !x.mayList() {
		return
	}
	id, more, _ := strings.Cut(rest, "/")
	owner := x.request.Credential
	switch x.r.Method + " " + more {
	case "GET ":
		m, status := x.p.shelf.look(owner, id)
		if m == nil {
			x.write(unknownResponse(id), 0)
			return
		}
		if x.r.URL.Query().Get("stream") == "true" {
			x.replay(m)
			return
		}
		x.writeJSON(m.object(status))
	case "DELETE ":
		if !x.p.shelf.remove(owner, id) {
			x.write(unknownResponse(id), 0)
			return
		}
		x.writeJSON(fmt.Appendf(nil, `{"id":%s,"object":"response","deleted":true}`, appendString(nil, id)))
	case "POST cancel":
		m, status, fault := x.p.shelf.cancel(owner, id)
		if fault != nil {
			x.write(fault, 0)
			return
		}
		x.writeJSON(m.object(status))
	case "GET input_items":
		m := x.p.shelf.find(owner, id)
		if m == nil {
			x.write(unknownResponse(id), 0)
			return
		}
		x.serveItems(m)
	default:
		x.refuse(x.unknownURL())
	}
}

// replay streams a kept response once more, from the event after starting_after.
func (x *exchange) replay(m *modelResponse) {
	from := 0
	if after := x.r.URL.Query().Get("starting_after"); after != "" {
		n, err := strconv.Atoi(after)
		if err != nil || n < 0 {
			x.write(badRequest("invalid_value", "starting_after", "'starting_after' must be a number"), 0)
			return
		}
		from = n + 1
	}
	x.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	control := http.NewResponseController(x.w)
	m.play(from, func(event []byte) bool {
		if _, err := x.w.Write(event); err != nil {
			return false
		}
		return control.Flush() == nil
	})
}

// serveItems lists the items of a response's input, the last first unless order=asc.
func (x *exchange) serveItems(m *modelResponse) {
	const defaultLimit, maxLimit = 20, 100
	query := x.r.URL.Query()
	limit := defaultLimit
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			x.write(badRequest("invalid_value", "limit", "'limit' must be between 1 and %d", maxLimit), 0)
			return
		}
		limit = n
	}
	items := slices.Clone(m.items)
	if query.Get("order") != "asc" {
		slices.Reverse(items)
	}
	ids := make([]string, len(items))
	for i, item := range items {
		var head struct {
			ID string `json:"id"`
		}
		// An item was decoded when it came in.
		_ = json.Unmarshal(item, &head)
		ids[i] = head.ID
	}
	if after := query.Get("after"); after != "" {
		at := slices.Index(ids, after)
		if at < 0 {
			x.write(missingItem(after), 0)
			return
		}
		items, ids = items[at+1:], ids[at+1:]
	}
	more := len(items) > limit
	items = items[:min(limit, len(items))]
	ids = ids[:len(items)]
	out := []byte(`{"object":"list","data":[`)
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	first, last := []byte("null"), []byte("null")
	if len(ids) > 0 {
		first, last = appendString(nil, ids[0]), appendString(nil, ids[len(ids)-1])
	}
	x.writeJSON(fmt.Appendf(out, `],"first_id":%s,"last_id":%s,"has_more":%t}`, first, last, more))
}
