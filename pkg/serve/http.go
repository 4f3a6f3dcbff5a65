package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// ErrCut is returned when connections were still busy at the end of the grace and were closed.
var ErrCut = errors.New("connections were cut at the end of the grace period")

// HTTP serves on ln until ctx ends, then stops accepting, lets requests in flight finish for at most grace (0 or less =
// none), and closes what is left. It blocks until all that is over and ln is closed. It returns nil after a clean stop,
// ErrCut when requests were cut, and the server's error when serving failed.
//
// Hijacked connections are not waited for.
func HTTP(ctx context.Context, ln net.Listener, srv *http.Server, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve %s: %w", ln.Addr(), err), srv.Close())
	case <-ctx.Done():
	}
	err := shutdown(ctx, srv, grace)
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("stop serving %s: %w", ln.Addr(), err)
	}
	return nil
}

func shutdown(ctx context.Context, srv *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(grace, 0))
	defer cancel()
	err := srv.Shutdown(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = ErrCut
	}
	return errors.Join(err, srv.Close())
}
