package credential

import (
	"bytes"
	"context"
	"errors"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// job is one account whose credential is exchanged.
type job struct {
	account *resourcev1.Account
	channel *resourcev1.Channel
	source  []byte
	// held is what is stored now, of whatever source; nil = nothing. It may be newer than this replica's copy.
	held     *resourcev1.Credential
	running  bool
	failures int
	// notBefore is when the next attempt may be; by the monotonic clock, which nobody sets.
	notBefore time.Time
}

// result is what became of an exchange.
type result struct {
	id     string
	source []byte
	held   *resourcev1.Credential // nil = nothing was stored
	orphan bool                   // it was the removal of a credential without an account
	err    error
}

// look brings the jobs up to the state: accounts come, change and go.
func (t *term) look(ctx context.Context, s *model.State) {
	if s == nil {
		return
	}
	seen := map[string]bool{}
	for r := range s.All(model.KindAccount) {
		a, ok := r.(*resourcev1.Account)
		if !ok || a.GetExchange() == nil {
			continue
		}
		id := a.GetMetadata().GetId()
		seen[id] = true
		j := t.jobs[id]
		if j == nil {
			j = &job{}
			t.jobs[id] = j
		}
		j.take(s, a)
	}
	for id, j := range t.jobs {
		if !seen[id] && !j.running && time.Until(j.notBefore) <= 0 {
			delete(t.jobs, id)
		}
	}
	t.orphans(ctx, s, seen)
	t.e.metrics.note(t.jobs)
}

// take brings a job up to its account.
func (j *job) take(s *model.State, a *resourcev1.Account) {
	if j.account != a {
		j.account = a
		if source := model.CredentialSource(a); !bytes.Equal(source, j.source) {
			// What failed before says nothing about this.
			j.source, j.failures, j.notBefore = source, 0, time.Time{}
		}
	}
	if r, ok := s.ByName(model.KindChannel, a.GetChannel()); ok {
		j.channel, _ = r.(*resourcev1.Channel)
	}
	if r, ok := s.Get(model.KindCredential, a.GetMetadata().GetId()); ok {
		if c, ok := r.(*resourcev1.Credential); ok && (j.held == nil || model.Version(c) > model.Version(j.held)) {
			j.held = c
		}
	}
}

// current is the credential that the account can use; nil when it has none.
func (j *job) current() *resourcev1.Credential {
	if j.held == nil || !bytes.Equal(j.held.GetSource(), j.source) {
		return nil
	}
	return j.held
}

// rotates says whether an exchange may use up what it is made with.
func (j *job) rotates() bool {
	return j.account.GetExchange().GetMethod() == resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH
}

// orphans removes the credentials of accounts that are gone or exchange no more.
func (t *term) orphans(ctx context.Context, s *model.State, seen map[string]bool) {
	for r := range s.All(model.KindCredential) {
		c, ok := r.(*resourcev1.Credential)
		id := r.GetMetadata().GetId()
		if !ok || seen[id] || t.jobs[id] != nil || len(t.slots) == cap(t.slots) {
			continue
		}
		t.slots <- struct{}{}
		t.jobs[id] = &job{running: true, account: &resourcev1.Account{}}
		t.working.Go(func() {
			defer func() { <-t.slots }()
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			err := t.e.store.DeleteCredential(ctx, t.fence, c)
			if fault.KindOf(err) == fault.Stale {
				err = nil // gone or renewed already
			}
			t.results <- result{id: id, orphan: true, err: err}
		})
	}
}

// start begins every exchange that is due and returns how long to wait for the next.
func (t *term) start(ctx context.Context) time.Duration {
	wait := t.e.lookEvery
	for id, j := range t.jobs {
		if j.running || j.account.GetDisabled() || j.account.GetExchange() == nil {
			continue
		}
		if d := t.due(j); d > 0 {
			wait = min(wait, d)
			continue
		}
		select {
		case t.slots <- struct{}{}:
		default:
			return wait // a result makes room and wakes us
		}
		j.running = true
		a := ask{id: id, account: j.account, channel: j.channel, source: j.source, held: j.held}
		t.working.Go(func() {
			defer func() { <-t.slots }()
			t.results <- t.exchange(ctx, a)
		})
	}
	return wait
}

// due returns how long until a job's next exchange; 0 or less = now.
func (t *term) due(j *job) time.Duration {
	var wait time.Duration
	if c := j.current(); c != nil {
		wait = renewIn(c, t.e.now())
		if j.rotates() {
			// Whoever led before may still be waiting for an answer, and store what it says.
			wait = max(wait, t.e.settle-time.Since(t.began))
		}
	}
	return max(wait, time.Until(j.notBefore))
}

// settle takes in what became of an exchange.
func (t *term) settle(r result) {
	j := t.jobs[r.id]
	if j == nil {
		return
	}
	j.running = false
	if r.held != nil && (j.held == nil || model.Version(r.held) >= model.Version(j.held)) {
		j.held = r.held
	}
	switch {
	case r.orphan:
		// This replica's copy shows it for a moment still.
		j.notBefore = time.Now().Add(t.e.firstPause)
	case r.err == nil:
		j.failures, j.notBefore = 0, time.Time{}
	case lost(r.err):
	case bytes.Equal(r.source, j.source):
		j.notBefore = time.Now().Add(t.e.pause(j.failures, r.err))
		j.failures++
	}
}

// lost says whether the leadership is over.
func lost(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Kind == fault.Stale && f.Code == store.CodeNotLeader
}
