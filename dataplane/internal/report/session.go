package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// session is one Report stream. Requests and answers take turns: a batch is committed in milliseconds, and with one in
// flight there is never a doubt which answer belongs to what.
type session struct {
	stream  grpc.BidiStreamingClient[syncv1.ReportRequest, syncv1.ReportResponse]
	cancel  context.CancelCauseFunc
	timeout time.Duration
}

var (
	errTimeout  = errors.New("no answer in time")
	errProtocol = errors.New("answer makes no sense")
)

// session sends over one connection until something fails or ctx ends.
func (r *Reporter) session(ctx context.Context, address string) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &session{cancel: cancel, timeout: r.o.Timeout}
	var closer io.Closer
	err = s.bounded(ctx, func() error {
		var conn grpc.ClientConnInterface
		if conn, closer, err = r.o.Dial(ctx, address); err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		if s.stream, err = syncv1.NewStateSyncServiceClient(conn).Report(ctx); err != nil {
			return fmt.Errorf("open stream: %w", err)
		}
		return nil
	})
	if closer != nil {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	if err != nil {
		return err
	}
	// Who knows what the last connection left undone.
	r.live.placed = false
	for _, b := range r.old {
		b.placed = false
	}
	for {
		busy, err := r.round(ctx, s)
		if err != nil {
			return err
		}
		if !r.await(ctx, !busy) {
			return ctx.Err()
		}
	}
}

// round sends one batch of this boot and one of the oldest other: neither waits for the whole of the other.
func (r *Reporter) round(ctx context.Context, s *session) (busy bool, err error) {
	if r.spool.Spooled() > r.acked.Load() {
		err := guarded(func() (err error) {
			busy, err = r.step(ctx, s, r.live)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if len(r.old) == 0 {
		return busy, nil
	}
	b := r.old[0]
	_, err = r.step(ctx, s, b)
	if local := (*shelfError)(nil); errors.As(err, &local) {
		// The server is not to blame, and the next try would end the same way.
		r.log.Error("usage of an earlier process set aside until the next start", "boot_id", b.id, "error", err)
		r.retire(b)
		return true, nil
	}
	if err != nil {
		return busy, err
	}
	if b.finished() {
		if err := clearDir(b.dir); err != nil {
			r.log.Error("spool of an earlier process not deleted", "boot_id", b.id, "error", err)
		}
		r.retire(b)
	}
	return true, nil
}

// retire takes the oldest boot off the list.
func (r *Reporter) retire(b *boot) {
	r.corrupt.Add(b.corrupt)
	r.old = r.old[1:]
	r.backlog.Store(int64(len(r.old)))
}

// step places the boot if need be, then sends one batch and settles what is acknowledged. busy = there was one.
func (r *Reporter) step(ctx context.Context, s *session, b *boot) (busy bool, err error) {
	if !b.placed {
		watermark, err := s.exchange(ctx, b, 1, nil)
		if err != nil {
			return false, err
		}
		if err := r.resume(b, watermark); err != nil {
			return false, err
		}
	}
	records, to, err := b.next(r.o.MaxBatch)
	if err != nil || len(records) == 0 {
		return false, err
	}
	first := b.at.sequence + 1
	watermark, err := s.exchange(ctx, b, first, messages(records))
	if err != nil {
		return false, err
	}
	if watermark < first {
		return false, fmt.Errorf("%w: watermark %d after record %d was sent", errProtocol, watermark, first)
	}
	if watermark != to.sequence {
		return true, r.resume(b, watermark)
	}
	err = b.settle(to)
	r.advanced(b, to.sequence-first+1)
	return true, err
}

// resume goes to where the server's watermark says. One that lies before all that is kept begins a new epoch.
func (r *Reporter) resume(b *boot, watermark uint64) error {
	before := b.at.sequence
	err := b.seek(watermark)
	if errors.Is(err, errGap) {
		if err := b.begin(); err != nil {
			return err
		}
		r.log.Error("books have lost records that were acknowledged, reporting goes on under a new id",
			"boot_id", b.epoch.wire(b.id), "watermark", watermark, "lost", b.at.sequence-watermark)
		return nil
	}
	if err != nil {
		return err
	}
	if b.over && !b.known {
		// What the earlier process got acknowledged is not this one's work.
		before = b.at.sequence
	}
	b.known = true
	r.advanced(b, b.at.sequence-min(before, b.at.sequence))
	return nil
}

// exchange sends records (none = a question) and returns the watermark, in the boot's own sequence.
func (s *session) exchange(ctx context.Context, b *boot, first uint64, records []*syncv1.UsageRecord) (uint64, error) {
	id := b.epoch.wire(b.id)
	if records != nil {
		first -= uint64(b.epoch)
	}
	var answer *syncv1.ReportResponse
	err := s.bounded(ctx, func() (err error) {
		// An error of Send is io.EOF; Recv has the reason.
		_ = s.stream.Send(&syncv1.ReportRequest{BootId: id, FirstSequence: first, Records: records})
		answer, err = s.stream.Recv()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("report usage: %w", err)
	}
	if answer.GetBootId() != id {
		return 0, fmt.Errorf("report usage: %w: boot id %q, asked for %q", errProtocol, answer.GetBootId(), id)
	}
	return answer.GetWatermark() + uint64(b.epoch), nil
}

// bounded ends the stream when do takes longer than the timeout.
func (s *session) bounded(ctx context.Context, do func() error) error {
	t := time.AfterFunc(s.timeout, func() { s.cancel(errTimeout) })
	defer t.Stop()
	err := do()
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return errTimeout
	}
	return err
}
