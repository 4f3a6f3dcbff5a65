package notify

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// firstPause is the first pause after a failure; each further one is twice as long, up to maxPause.
	firstPause = 5 * time.Second
	maxPause   = time.Hour
	// maxAttempts and maxAge bound what one event may cost.
	maxAttempts = 16
	maxAge      = 24 * time.Hour
	// sendTime bounds one attempt.
	sendTime = 30 * time.Second
)

// sender makes one attempt. The text and the error are for people, and hold no secret.
type sender interface {
	send(ctx context.Context, n *resourcev1.Notifier, e *Event) (detail string, err error)
}

// permanentError is what another attempt would not mend.
type permanentError struct{ cause error }

func (e *permanentError) Error() string { return e.cause.Error() }
func (e *permanentError) Unwrap() error { return e.cause }

func permanent(err error) error { return &permanentError{err} }

// item is one event on its way to one notifier.
type item struct {
	notifier string
	notice
}

// worker sends one notifier's events, one after the other.
type worker struct {
	t        *term
	notifier string
	cancel   context.CancelFunc
	done     chan struct{}
	wake     chan struct{} // one place: something came, or the notifier was changed

	mu      sync.Mutex
	queue   []*item // the first is under way
	version int64   // of the notifier
	news    bool    // the notifier was changed since the last attempt
}

// worker returns the notifier's, which it starts if need be.
func (t *term) worker(ctx context.Context, notifier string) *worker {
	if w := t.workers[notifier]; w != nil {
		return w
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{t: t, notifier: notifier, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	t.workers[notifier] = w
	t.working.Go(func() {
		defer close(w.done)
		defer cancel()
		w.run(ctx)
	})
	return w
}

// stop returns when the worker sends nothing any more.
func (w *worker) stop() {
	w.cancel()
	<-w.done
}

func (w *worker) push(i *item) {
	w.mu.Lock()
	w.queue = append(w.queue, i)
	w.mu.Unlock()
	w.rouse()
}

func (w *worker) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// changed ends a pause when the notifier is another than it was.
func (w *worker) changed(version int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.version != 0 && w.version != version {
		w.news = true
		w.rouse()
	}
	w.version = version
}

func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// head is the first of the queue; nil = it is empty. news says whether the notifier was changed since it was last asked.
func (w *worker) head() (i *item, news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	news, w.news = w.news, false
	if len(w.queue) == 0 {
		return nil, news
	}
	return w.queue[0], news
}

func (w *worker) pop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue[0] = nil
	w.queue = w.queue[1:]
}

// run sends what is in the queue until ctx ends. A failure holds up what follows, which goes to the same place.
func (w *worker) run(ctx context.Context) {
	attempts, failures := 0, 0
	var began, notBefore time.Time
	for ctx.Err() == nil {
		i, news := w.head()
		if news {
			failures, notBefore = 0, time.Time{}
		}
		n := w.current()
		if i == nil || n == nil || time.Until(notBefore) > 0 {
			w.wait(ctx, i != nil && n != nil, notBefore)
			continue
		}
		if attempts == 0 {
			began = time.Now()
		}
		attempts++
		err := w.attempt(ctx, n, i)
		switch {
		case ctx.Err() != nil && err != nil:
			return // whoever leads next sends it
		case err == nil:
			failures = 0
			w.finish(ctx, n, i, resultSent, nil)
		case hopeless(err) || attempts >= maxAttempts || time.Since(began) >= maxAge:
			failures++
			w.finish(ctx, n, i, resultFailed, err)
		default:
			notBefore = time.Now().Add(w.t.n.pause(failures))
			failures++
			continue
		}
		w.pop()
		attempts = 0
	}
}

// current is the notifier as it is now; nil while it is disabled or unknown.
func (w *worker) current() *resourcev1.Notifier {
	s := w.t.n.store.State()
	if s == nil {
		return nil
	}
	r, ok := s.Get(model.KindNotifier, w.notifier)
	if !ok {
		return nil
	}
	n, ok := r.(*resourcev1.Notifier)
	if !ok || n.GetDisabled() {
		return nil
	}
	return n
}

// wait returns when something came or changed, or, if timed, at notBefore.
func (w *worker) wait(ctx context.Context, timed bool, notBefore time.Time) {
	var at <-chan time.Time
	if timed {
		timer := time.NewTimer(time.Until(notBefore))
		defer timer.Stop()
		at = timer.C
	}
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-at:
	}
}

func (w *worker) attempt(ctx context.Context, n *resourcev1.Notifier, i *item) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	_, err := w.t.n.sender.send(ctx, n, i.Event)
	return err
}

func hopeless(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// finish writes down that an event is done with. It may outlast the term by a moment: what was sent is not to be sent
// again.
func (w *worker) finish(ctx context.Context, n *resourcev1.Notifier, i *item, result string, cause error) {
	w.t.n.metrics.count(n, result)
	name, event := n.GetMetadata().GetName(), i.Event.Event
	if cause != nil {
		w.t.n.log.Warn("notification given up", "notifier", name, "event", event, "id", i.Event.ID, "error", cause)
	} else {
		w.t.n.log.Info("notification sent", "notifier", name, "event", event, "id", i.Event.ID)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := w.t.write(ctx, i.notifier, i.Event.ID, notice{mark: i.mark}); err != nil && !over(err) {
		w.t.n.log.Warn("a notification that is done with is not written down; it may be sent again", "notifier", name, "id", i.Event.ID, "error", err)
	}
}

// pause returns how long to wait after the failure that follows so many others: doubled each time, between half and all of
// it by chance.
func (n *Notify) pause(failures int) time.Duration {
	pause := n.firstPause
	for range failures {
		if pause >= maxPause {
			break
		}
		pause *= 2
	}
	pause = min(pause, maxPause)
	return pause/2 + mathrand.N(pause/2+1)
}
