package fakellm

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// Batches belong to the credential that created them; to others they do not exist. Time does nothing to a batch, being
// looked at does: one that is created is in progress, and has ended when it is retrieved.

const batchesPath = messagesPath + "/batches"

// maxBatches bounds what is kept; the oldest goes first. maxBatchRequests is the vendor's own bound.
const (
	maxBatches       = 1000
	maxBatchRequests = 100_000
)

// batchShelf has every batch, oldest first.
type batchShelf struct {
	mu   sync.Mutex
	kept []*batch
}

type batch struct {
	id, owner string
	created   time.Time
	canceling time.Time
	ended     time.Time
	items     []batchItem
}

// batchItem is one request of a batch and what became of it.
type batchItem struct {
	customID string
	params   []byte
	result   []byte // of the JSON Lines; empty until the batch has ended
	outcome  string // succeeded, errored, canceled; empty until the batch has ended
}

func isBatchCancel(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, batchesPath+"/") && strings.HasSuffix(r.URL.Path, "/cancel")
}

func (x *exchange) serveBatches() {
	rest := strings.TrimPrefix(x.r.URL.Path, batchesPath)
	if rest == "" && x.r.Method == http.MethodPost {
		x.serve(x.decodeBatch)
		return
	}
	if !x.mayList() {
		return
	}
	if rest == "" && x.r.Method == http.MethodGet {
		x.listBatches()
		return
	}
	id, verb, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	x.p.batches.mu.Lock()
	defer x.p.batches.mu.Unlock()
	i := slices.IndexFunc(x.p.batches.kept, func(b *batch) bool { return b.id == id && b.owner == x.request.Credential })
	if i < 0 {
		(&apiError{status: http.StatusNotFound, kind: "not_found_error", message: "Message Batch " + id + " not found."}).write(x.w, 0)
		return
	}
	b := x.p.batches.kept[i]
	switch x.r.Method + " " + verb {
	case "GET ":
		x.end(b)
		x.writeJSON(b.render(x.r))
	case "POST cancel":
		if b.ended.IsZero() && b.canceling.IsZero() {
			b.canceling = x.p.now()
		}
		x.writeJSON(b.render(x.r))
	case "DELETE ":
		if b.ended.IsZero() {
			badRequest("", "", "Message Batch %s cannot be deleted while it is in progress. Cancel it first.", id).write(x.w, 0)
			return
		}
		x.p.batches.kept = slices.Delete(x.p.batches.kept, i, i+1)
		x.writeJSON([]byte(`{"id":` + quote(id) + `,"type":"message_batch_deleted"}`))
	case "GET results":
		if b.ended.IsZero() {
			badRequest("", "", "Message Batch %s has no results yet: it has not ended.", id).write(x.w, 0)
			return
		}
		var out []byte
		for _, item := range b.items {
			out = appendString(append(out, `{"custom_id":`...), item.customID)
			out = append(append(append(out, `,"result":`...), item.result...), "}\n"...)
		}
		x.w.Header().Set("Content-Type", "application/x-jsonl")
		x.w.Header().Set("Content-Length", strconv.Itoa(len(out)))
		_, _ = x.w.Write(out)
	default:
		x.p.refuse(x.w, x.r, noRoute(x.r))
	}
}

// decodeBatch checks the list; what is wrong with a request on it, its own result says.
func (x *exchange) decodeBatch(body []byte) (answer, *apiError) {
	g := &grammar{}
	m := g.object("", gjson.ParseBytes(body), "requests")
	list := g.list("requests", m["requests"])
	b := &batch{owner: x.request.Credential}
	seen := map[string]struct{}{}
	for i, v := range list {
		path := at("requests", i)
		one := g.object(path, v, "custom_id params")
		id := g.text(at(path, "custom_id"), one["custom_id"])
		if !toolName(id, 64, "") {
			g.bad(at(path, "custom_id"), "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
		}
		if _, twice := seen[id]; twice {
			g.bad(at(path, "custom_id"), "custom_id must be unique within the batch")
		}
		seen[id] = struct{}{}
		if !one["params"].IsObject() {
			g.bad(at(path, "params"), "Input should be an object")
		}
		b.items = append(b.items, batchItem{customID: id, params: []byte(one["params"].Raw)})
	}
	if len(list) == 0 {
		g.bad("requests", "List should have at least 1 item after validation, not 0")
	}
	if len(list) > maxBatchRequests {
		g.bad("requests", "List should have at most %d items after validation, not %d", maxBatchRequests, len(list))
	}
	if g.fault != nil {
		return answer{}, g.fault
	}
	// A batch has no model of its own; the first request's stands for it.
	name := gjson.GetBytes(b.items[0].params, "model").String()
	if fault := x.knowsModel(name); fault != nil {
		return answer{}, fault
	}
	return answer{model: name, whole: func(s stamp, _ bool) []byte {
		b.id, b.created = fmt.Sprintf("msgbatch_fake%d", s.sequence), x.p.now()
		x.p.batches.mu.Lock()
		defer x.p.batches.mu.Unlock()
		x.p.batches.kept = append(x.p.batches.kept, b)
		if len(x.p.batches.kept) > maxBatches {
			x.p.batches.kept = slices.Delete(x.p.batches.kept, 0, 1)
		}
		return b.render(x.r)
	}}, nil
}

// end answers every request of a batch, or none of one that is being canceled, and books what was answered.
func (x *exchange) end(b *batch) {
	if !b.ended.IsZero() {
		return
	}
	b.ended = x.p.now()
	for i := range b.items {
		item := &b.items[i]
		if !b.canceling.IsZero() {
			item.outcome, item.result = "canceled", []byte(`{"type":"canceled"}`)
			continue
		}
		r, fault := readMessages(item.params, messagesRules{beta: x.r.Header.Get("Anthropic-Beta") != "", batch: true})
		var m messageAnswer
		if fault == nil && !x.p.serves(r.model) {
			fault = noModel(r.model)
		}
		if fault == nil {
			m, fault = r.answer()
		}
		if fault != nil {
			item.outcome = "errored"
			item.result = append(append([]byte(`{"type":"errored","error":`), anthropicEnvelope(anthropicFault(fault), "")...), '}')
			continue
		}
		request := Request{Sequence: x.p.sequence.Add(1), Path: batchesPath, Credential: b.owner, Model: r.model, BodyBytes: len(item.params)}
		x.p.books.start(request)
		x.p.books.finish(request, m.usage)
		item.outcome = "succeeded"
		whole := m.whole(stamp{sequence: request.Sequence}, !x.behaviour.NoUsage)
		item.result = append(append([]byte(`{"type":"succeeded","message":`), whole...), '}')
	}
}

func (b *batch) render(r *http.Request) []byte {
	counts := map[string]int{}
	for _, item := range b.items {
		counts[item.outcome]++
	}
	status, results := "in_progress", "null"
	switch {
	case !b.ended.IsZero():
		status = "ended"
		scheme := "http://"
		if r.TLS != nil {
			scheme = "https://"
		}
		results = quote(scheme + r.Host + batchesPath + "/" + b.id + "/results")
	case !b.canceling.IsZero():
		status = "canceling"
	}
	return fmt.Appendf(nil, `{"id":%q,"type":"message_batch","processing_status":%q,"request_counts":{"processing":%d,`+
		`"succeeded":%d,"errored":%d,"canceled":%d,"expired":0},"ended_at":%s,"created_at":%s,"expires_at":%s,`+
		`"archived_at":null,"cancel_initiated_at":%s,"results_url":%s}`,
		b.id, status, counts[""], counts["succeeded"], counts["errored"], counts["canceled"],
		rfc3339(b.ended), rfc3339(b.created), rfc3339(b.created.Add(24*time.Hour)), rfc3339(b.canceling), results)
}

// listBatches lists the credential's own, newest first.
func (x *exchange) listBatches() {
	x.p.batches.mu.Lock()
	defer x.p.batches.mu.Unlock()
	own := map[string]*batch{}
	var ids []string
	for _, b := range slices.Backward(x.p.batches.kept) {
		if b.owner == x.request.Credential {
			own[b.id] = b
			ids = append(ids, b.id)
		}
	}
	ids, more, fault := page(ids, x.r.URL.Query(), 20)
	if fault != nil {
		fault.write(x.w, 0)
		return
	}
	out := []byte(`{"data":[`)
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, own[id].render(x.r)...)
	}
	x.writeJSON(append(appendPageEnd(append(out, ']'), ids, more), '}'))
}

// page takes from a list what limit, after_id and before_id say, and whether there is more that way.
func page(ids []string, query url.Values, limit int) (_ []string, more bool, _ *apiError) {
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, false, badRequest("", "limit", "limit: Input should be between 1 and 1000")
		}
		limit = n
	}
	if after := query.Get("after_id"); after != "" {
		i := slices.Index(ids, after)
		if i < 0 {
			return nil, false, badRequest("", "after_id", "after_id: Invalid id")
		}
		ids = ids[i+1:]
	}
	if before := query.Get("before_id"); before != "" {
		i := slices.Index(ids, before)
		if i < 0 {
			return nil, false, badRequest("", "before_id", "before_id: Invalid id")
		}
		if i > limit {
			return ids[i-limit : i], true, nil
		}
		return ids[:i], false, nil
	}
	if len(ids) > limit {
		return ids[:limit], true, nil
	}
	return ids, false, nil
}
