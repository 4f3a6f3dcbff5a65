package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
)

const (
	// progressEvery is how often the watch is asked how far it is, so that the revision advances without changes.
	progressEvery = time.Second
	// pokeEvery bounds how often waiters can ask for it.
	pokeEvery         = 200 * time.Millisecond
	defaultProbeEvery = 10 * time.Second
)

var (
	errOtherLineage = errors.New("the lineage changed")
	errWentBack     = errors.New("the revision went back")
	errOtherCluster = errors.New("another cluster answers")
	errStalled      = errors.New("the watch does not advance")
)

// watch follows the data set from the current revision on. It goes through interruptions and returns when only a new
// read helps, or ctx ends.
func (f *follower) watch(ctx context.Context) error {
	wait := newBackoff()
	for {
		before := f.steps
		err := f.watchOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case compacted(err), errors.Is(err, errOtherLineage), errors.Is(err, errWentBack),
			errors.Is(err, errOtherCluster), errors.Is(err, errStalled):
			return err
		}
		f.store.log.Warn("the watch was interrupted", "error", err, "revision", f.cur.Revision())
		if f.steps > before {
			wait.reset()
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// watchOnce runs one watch until it breaks.
func (f *follower) watchOnce(ctx context.Context) error {
	// Without a leader a member would keep silent, and we would take silence for peace.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	// A watcher of our own: streams are shared by context otherwise, and progress answers are per stream.
	watcher := clientv3.NewWatcher(f.store.client)
	probes := make(chan probe)
	done := make(chan struct{})
	defer func() {
		cancel()
		<-done
		// Its only error is that of the context which was just canceled.
		_ = watcher.Close()
	}()
	events := watcher.Watch(ctx, watchStart, clientv3.WithRange(watchEnd), clientv3.WithRev(f.cur.Revision()+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment())
	go func() {
		defer close(done)
		f.keepAsking(ctx, watcher, probes)
	}()
	behind := int64(0) // the cursor at the last probe, if the majority was ahead of it then
	for {
		select {
		case resp, ok := <-events:
			if !ok {
				return errors.New("the watch ended")
			}
			if err := f.take(&resp); err != nil {
				return err
			}
		case p := <-probes:
			if err := f.judge(p); err != nil {
				return err
			}
			cursor := f.cur.Revision()
			if p.head.revision > cursor && behind == cursor {
				return errStalled
			}
			behind = 0
			if p.head.revision > cursor {
				behind = cursor
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// probe is what the majority said, and our cursor when it was asked.
type probe struct {
	head   head
	cursor int64
}

// keepAsking asks the stream for its progress and the majority for the head, until ctx ends.
func (f *follower) keepAsking(ctx context.Context, watcher clientv3.Watcher, probes chan<- probe) {
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	heads := time.NewTicker(f.store.probeEvery)
	defer heads.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-heads.C:
			cursor := f.store.State().Revision()
			h, err := f.head(ctx)
			silent := err != nil && !errors.Is(err, errNoLineage)
			if silent != away && ctx.Err() == nil {
				f.noteAway(silent, err)
				away = silent
			}
			if silent {
				continue // The watch has its own ways to notice; the state stays.
			}
			select {
			case probes <- probe{h, cursor}:
			case <-ctx.Done():
			}
		case <-progress.C:
			f.askProgress(ctx, watcher)
		case <-f.store.poke:
			f.askProgress(ctx, watcher)
			select {
			case <-time.After(pokeEvery):
			case <-ctx.Done():
			}
		}
	}
}

func (f *follower) noteAway(away bool, err error) {
	if away {
		f.store.log.Warn("the data store does not answer; the last state stays", "error", err, "revision", f.store.State().Revision())
		return
	}
	f.store.log.Info("the data store answers again")
}

func (f *follower) askProgress(ctx context.Context, watcher clientv3.Watcher) {
	ctx, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	// It fails only when there is no stream; then the watch itself knows more.
	_ = watcher.RequestProgress(ctx)
}

// judge compares what the majority says with what we hold.
func (f *follower) judge(p probe) error {
	switch {
	case p.head.lineage == "":
		return errOtherLineage // Gone. The next read says so and keeps the last good state.
	case p.head.lineage != f.cur.Lineage():
		return errOtherLineage
	case p.head.revision < p.cursor:
		return errWentBack
	case p.head.clusterID != f.clusterID:
		return errOtherCluster
	}
	return nil
}

// take applies one message of the watch: events, all of their revisions complete, or progress.
func (f *follower) take(resp *clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if len(resp.Events) == 0 {
		if !resp.IsProgressNotify() {
			return nil
		}
		// A member that lags behind, or that serves a restored backup: the next probe tells which.
		if resp.Header.Revision > f.cur.Revision() {
			f.publish(f.cur.Apply(resp.Header.Revision, nil), nil)
		}
		return nil
	}
	b := batch{f: f, at: map[string]int{}}
	for _, ev := range resp.Events {
		if err := b.add(ev); err != nil {
			return err
		}
	}
	if b.revision > f.cur.Revision() {
		changes := b.result()
		f.publish(f.cur.Apply(b.revision, changes), changes)
	}
	return nil
}

// batch folds the events of one message into at most one change per resource.
type batch struct {
	f        *follower
	revision int64 // of the last event; the header's may be ahead of what was delivered
	changes  []model.Change
	at       map[string]int // key -> place in changes
}

func (b *batch) add(ev *clientv3.Event) error {
	if ev.Kv.ModRevision <= b.f.cur.Revision() {
		return nil // Seen before an interruption.
	}
	b.revision = max(b.revision, ev.Kv.ModRevision)
	key := string(ev.Kv.Key)
	if key == lineageKey && string(ev.Kv.Value) != b.f.cur.Lineage() {
		return errOtherLineage
	}
	c := model.Change{}
	if ev.Type == mvccpb.Event_DELETE {
		k, id, ok := parseResourceKey(key)
		if !ok {
			return nil
		}
		c.Kind, c.ID = k, id
	} else {
		var ok bool
		if c, ok = b.f.decode(ev.Kv); !ok {
			return nil
		}
	}
	if i, ok := b.at[key]; ok {
		b.changes[i].New = c.New
		return nil
	}
	c.Old, _ = b.f.cur.Get(c.Kind, c.ID)
	b.at[key] = len(b.changes)
	b.changes = append(b.changes, c)
	return nil
}

// result drops what came and went within the message.
func (b *batch) result() []model.Change {
	out := b.changes[:0]
	for _, c := range b.changes {
		if c.Old != nil || c.New != nil {
			out = append(out, c)
		}
	}
	return out
}
