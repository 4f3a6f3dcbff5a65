package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
)

const (
	// maxAttempts bounds how often a write without an etag starts over because others were faster.
	maxAttempts = 12
	// firstPause and lastPause bound the pause between two attempts, drawn from zero up to it.
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
	// catchUp bounds how long a reply waits for this replica's copy to show its own write.
	catchUp = 2 * time.Second
)

// actor is who a write is made for, as the audit trail names them.
func actor(ctx context.Context) store.Actor {
	o, ok := operator.From(ctx)
	if !ok {
		return store.Actor{Operator: "system"}
	}
	return store.Actor{Operator: o.Name, Procedure: o.Procedure, RequestID: o.RequestID}
}

// state is the current copy of the data set.
func (s *Service) state() (*model.State, error) {
	if st := s.store.State(); st != nil {
		return st, nil
	}
	return nil, fault.New(fault.Unavailable, "the state is not loaded yet").WithRetryAfter(time.Second)
}

// get finds a resource of the caller's scope by name or id.
func get[R model.Resource](ctx context.Context, s *Service, kind model.Kind, nameOrID string) (R, error) {
	var none R
	st, err := s.state()
	if err != nil {
		return none, err
	}
	sc := scopeFor(ctx)
	r, ok := sc.find(st, kind, nameOrID)
	if !ok {
		return none, missing(kind, nameOrID)
	}
	if r, err = sc.shown(r); err != nil {
		return none, err
	}
	return as[R](r)
}

func as[R model.Resource](r model.Resource) (R, error) {
	typed, ok := r.(R)
	if !ok {
		var none R
		return none, fault.New(fault.Internal, "internal error").With(fmt.Errorf("the store holds a %T for a %T", r, none))
	}
	return typed, nil
}

func missing(kind model.Kind, nameOrID string) error {
	return fault.New(fault.NotFound, "there is no %s %q", kind, nameOrID)
}

// copyOf is a copy that may be written to.
func copyOf[R model.Resource](r R) (R, error) { return as[R](proto.Clone(r).(model.Resource)) }

// born gives a new resource its metadata, and drops what a request cannot set.
func (s *Service) born(r model.Resource) error {
	received(r)
	now := s.now()
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return fault.New(fault.Internal, "internal error").With(fmt.Errorf("make id: %w", err))
	}
	m := r.GetMetadata()
	m.Id, m.Etag = id.String(), ""
	m.CreateTime, m.UpdateTime = timestamppb.New(now), timestamppb.New(now)
	return nil
}

// finish makes a merged resource what is stored: defaults, rules, sealed secrets. prefix names it in errors.
func (s *Service) finish(st *model.State, r model.Resource, prefix string) error {
	model.Defaults(r)
	if err := s.validator.Validate(r); err != nil {
		return invalid(prefix, err)
	}
	if err := checkSecrets(s.sealer, prefix, r); err != nil {
		return err
	}
	if err := seal(s.sealer, r); err != nil {
		return err
	}
	return model.Check(st, r)
}

// commit writes and waits for this replica's copy to show it. What is committed is committed: when the copy does not
// catch up in time the reply goes out all the same.
func (s *Service) commit(ctx context.Context, w store.Write) (int64, error) {
	w.Actor = actor(ctx)
	revision, err := s.store.Commit(ctx, w)
	if err != nil {
		return 0, err
	}
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := s.store.WaitRevision(wait, revision); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "the replica's copy lags behind its own write",
			slog.Int64("revision", revision), slog.Any("error", err))
	}
	for _, p := range w.Puts {
		model.SetVersion(p.Resource, revision)
	}
	return revision, nil
}

// create stores new resources in one transaction. Later ones may refer to earlier ones. The resources are changed in
// place to what was stored; prefixes name them in errors.
func (s *Service) create(ctx context.Context, rs []model.Resource, prefixes []string) (int64, error) {
	st, err := s.state()
	if err != nil {
		return 0, err
	}
	var w store.Write
	sc := scopeFor(ctx)
	for i, r := range rs {
		if err := sc.admit(st, r); err != nil {
			return 0, err
		}
		if err := s.finish(st, r, prefixes[i]); err != nil {
			return 0, err
		}
		c := model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r}
		st = st.Apply(st.Revision(), []model.Change{c})
		w.Puts = append(w.Puts, store.Put{Resource: r})
	}
	return s.commit(ctx, w)
}

// current is the stored form of a resource of the caller's scope now, not this replica's copy of it.
func (s *Service) current(ctx context.Context, kind model.Kind, nameOrID string) (model.Resource, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	known, ok := st.Find(kind, nameOrID)
	if !ok {
		return nil, missing(kind, nameOrID)
	}
	r, err := s.store.Read(ctx, kind, known.GetMetadata().GetId())
	if fault.KindOf(err) == fault.NotFound || err == nil && !scopeFor(ctx).sees(st, r) {
		return nil, missing(kind, nameOrID)
	}
	return r, err
}

// lostRaceError is a write that failed only because something changed after it was read.
type lostRaceError struct{ cause error }

func (e *lostRaceError) Error() string { return "lost a race: " + e.cause.Error() }
func (e *lostRaceError) Unwrap() error { return e.cause }

// race makes the failure of a commit a lost race if it is one: a version moved on, or something that was read a moment
// ago is gone. The next round reads again and tells the caller what is really the matter.
func race(err error) error {
	if _, ok := errors.AsType[*store.StaleError](err); ok || fault.KindOf(err) == fault.NotFound {
		return &lostRaceError{err}
	}
	return err
}

// rounds runs attempt until it is done, fails, or has lost maxAttempts races.
func (s *Service) rounds(ctx context.Context, attempt func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := attempt()
		var lost *lostRaceError
		if !errors.As(err, &lost) {
			return err
		}
		if n == maxAttempts {
			return fault.New(fault.Unavailable, "others kept changing it; try again").WithRetryAfter(time.Second).With(lost.cause)
		}
		t := time.NewTimer(mathrand.N(pause) + 1)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		pause = min(2*pause, lastPause)
	}
}

// checkEtag refuses a given etag that is not the current one.
func checkEtag(kind model.Kind, given string, r model.Resource) error {
	if now := r.GetMetadata().GetEtag(); given != "" && given != now {
		return stale(kind, r.GetMetadata().GetName(), given, now)
	}
	return nil
}

// update is Service.update with a typed result.
func update[R model.Resource](
	ctx context.Context, s *Service, in R, mask *fieldmaskpb.FieldMask,
	also func(ctx context.Context, before, after model.Resource) ([]store.Put, error),
) (R, int64, error) {
	var none R
	r, revision, err := s.update(ctx, in, mask, also)
	if err != nil {
		return none, 0, err
	}
	typed, err := as[R](r)
	return typed, revision, err
}

// update is the one way in which a resource changes: read, check the etag, take over what the mask names, check the
// result, write it on the condition that nothing changed meanwhile, and start over when something did. also returns what
// else must hold or go along, given the old and the new form; it may be nil.
func (s *Service) update(
	ctx context.Context, in model.Resource, mask *fieldmaskpb.FieldMask,
	also func(ctx context.Context, before, after model.Resource) ([]store.Put, error),
) (after model.Resource, revision int64, err error) {
	kind := model.KindOf(in)
	name := in.GetMetadata().GetName()
	if name == "" {
		return nil, 0, fault.New(fault.Invalid, "%s.metadata.name: which %s is to change?", kind, kind).
			WithParam(string(kind) + ".metadata.name")
	}
	fields, err := assignments(in.ProtoReflect().Descriptor(), mask)
	if err != nil {
		return nil, 0, err
	}
	received(in)
	sc := scopeFor(ctx)
	err = s.rounds(ctx, func() error {
		before, err := s.current(ctx, kind, name)
		if err != nil {
			return err
		}
		if err := checkEtag(kind, in.GetMetadata().GetEtag(), before); err != nil {
			return err
		}
		after, err = merge(before, in, fields)
		if err != nil {
			return err
		}
		st, err := s.state()
		if err != nil {
			return err
		}
		if err := sc.change(st, before, after, in, mask); err != nil {
			return err
		}
		if err := s.finish(st, after, string(kind)); err != nil {
			return err
		}
		paths := changed(before.ProtoReflect(), after.ProtoReflect())
		if len(paths) == 0 {
			revision = model.Version(before)
			return nil
		}
		after.GetMetadata().UpdateTime = timestamppb.New(s.now())
		w := store.Write{Puts: []store.Put{{Resource: after, Old: before, ChangedFields: paths}}}
		if also != nil {
			more, err := also(ctx, before, after)
			if err != nil {
				return err
			}
			w.Puts = append(w.Puts, more...)
		}
		revision, err = s.commit(ctx, w)
		return race(err)
	})
	if err != nil {
		return nil, 0, err
	}
	after, err = sc.shown(after)
	return after, revision, err
}

// merge returns before with the fields taken over from in.
func merge(before, in model.Resource, fields []assignment) (model.Resource, error) {
	after, err := copyOf(before)
	if err != nil {
		return nil, err
	}
	src := proto.Clone(in)
	assign(after.ProtoReflect(), src.ProtoReflect(), fields)
	return after, nil
}

// remove deletes one resource, with what also returns. all says that also returns all that refers to it: what refers to
// it nevertheless has come meanwhile, and is for the next round.
func (s *Service) remove(
	ctx context.Context, kind model.Kind, nameOrID, etag string, all bool,
	also func(ctx context.Context, r model.Resource) (store.Write, error),
) (revision int64, err error) {
	err = s.rounds(ctx, func() error {
		r, err := s.current(ctx, kind, nameOrID)
		if err != nil {
			return err
		}
		if err := checkEtag(kind, etag, r); err != nil {
			return err
		}
		w, err := also(ctx, r)
		if err != nil {
			return err
		}
		w.Deletes = append(w.Deletes, store.Delete{Resource: r})
		revision, err = s.commit(ctx, w)
		if f := fault.From(err); all && f != nil && f.Code == model.CodeInUse {
			return &lostRaceError{err}
		}
		return race(err)
	})
	return revision, err
}

// unused refuses, in words, to delete what others refer to; the transaction's own guard has the last say.
func (s *Service) unused(kind model.Kind) func(context.Context, model.Resource) (store.Write, error) {
	return func(_ context.Context, r model.Resource) (store.Write, error) {
		st, err := s.state()
		if err != nil {
			return store.Write{}, err
		}
		err = model.CheckDelete(st, kind, r.GetMetadata().GetId())
		if fault.KindOf(err) == fault.NotFound {
			err = nil // this replica's copy lags; the resource was read a moment ago
		}
		return store.Write{}, err
	}
}
