package publish

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Health takes what proxies see of the accounts, and tells them what the fleet makes of it.
type Health interface {
	// Serve serves one proxy until its stream, its context or the leadership ends. It calls recv and send from goroutines
	// of its own and may return while they are blocked: both end soon after. An error with the method LeaderSyncAddress()
	// string says that another replica leads, and where; the proxy is told.
	Serve(
		ctx context.Context, proxyID, bootID string, recv func() (*syncv1.HealthReport, error), send func(*syncv1.HealthUpdate) error,
	) error
	// View is what the leader knows; elsewhere it fails as Serve does. What it returns is shared.
	View(ctx context.Context) (*adminv1.FleetHealth, error)
}

func errNoHealth() error { return fault.New(fault.Unimplemented, "health is not kept here") }

type reportStream = grpc.BidiStreamingServer[syncv1.ReportRequest, syncv1.ReportResponse]

// healthStream is a Report stream whose first message carried health, and so must all that follow.
type healthStream struct {
	p      *Publisher
	stream reportStream
	end    context.CancelCauseFunc
	bootID string
	first  *syncv1.ReportRequest // nil once it is handed on
}

// reportHealth serves a Report stream that carries health for its whole life.
func (p *Publisher) reportHealth(stream reportStream, proxyID string, first *syncv1.ReportRequest) error {
	if p.o.Health == nil {
		return errNoHealth()
	}
	ctx, end, err := p.serving(stream.Context())
	if err != nil {
		return err
	}
	defer end(nil)
	h := &healthStream{p: p, stream: stream, end: end, bootID: first.GetBootId(), first: first}
	err = p.o.Health.Serve(ctx, proxyID, h.bootID, h.recv, h.send)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// recv returns the next report; io.EOF when the proxy has said all it wanted to.
func (h *healthStream) recv() (*syncv1.HealthReport, error) {
	m := h.first
	if h.first = nil; m == nil {
		var err error
		if m, err = h.stream.Recv(); err != nil {
			return nil, err
		}
		if err := h.p.check(m); err != nil {
			return nil, err
		}
	}
	switch {
	case m.GetHealth() == nil:
		return nil, fault.New(fault.Invalid, "a stream that reports health carries nothing else")
	case len(m.GetRecords()) > 0:
		return nil, fault.New(fault.Invalid, "a report of health carries no usage")
	case m.GetBootId() != h.bootID:
		return nil, fault.New(fault.Invalid, "one stream is one boot's")
	}
	return m.GetHealth(), nil
}

// send sends an update. A proxy that does not take it in time loses its stream, and nobody else waits for it.
func (h *healthStream) send(u *syncv1.HealthUpdate) error {
	late := time.AfterFunc(h.p.o.SendTimeout, func() { h.end(errSlow) })
	defer late.Stop()
	return h.stream.Send(&syncv1.ReportResponse{BootId: h.bootID, Health: u})
}

// reportUsage serves a Report stream that carries usage: it puts it on the books, one batch after the other.
func (p *Publisher) reportUsage(stream reportStream, proxyID string, m *syncv1.ReportRequest) error {
	for {
		watermark, err := p.o.Books.Report(stream.Context(), m.GetBootId(), m.GetFirstSequence(), m.GetRecords())
		if err != nil {
			p.log.Warn("usage report not committed", "proxy", proxyID, "boot", m.GetBootId(), "error", err)
			return err
		}
		if err := stream.Send(&syncv1.ReportResponse{BootId: m.GetBootId(), Watermark: watermark}); err != nil {
			return err
		}
		m, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.check(m); err != nil {
			return err
		}
		if m.GetHealth() != nil {
			return fault.New(fault.Invalid, "a stream that reports usage carries no health")
		}
	}
}
