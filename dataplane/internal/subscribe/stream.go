package subscribe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// pingAfter and pingTimeout notice a control plane that died without a word. The server must permit pings this
	// often (keepalive.EnforcementPolicy.MinTime).
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	// dialTimeout bounds one connection, handshake included.
	dialTimeout = 5 * time.Second
	// maxMessage bounds one message: a chunk is 512 KiB, or one resource.
	maxMessage = 16 << 20
)

// newConn prepares a connection; nothing is sent before it is used.
func newConn(address string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	target := address
	if !strings.HasPrefix(address, "unix:") {
		target = "passthrough:///" + address // resolved by the dialer, for each connection
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: dialTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", address, err)
	}
	return conn, nil
}

// line is a connection to one replica, and whether either side refused the other's certificate on it.
type line struct {
	address string
	conn    *grpc.ClientConn
	refused atomic.Bool
}

func (s *Subscriber) dial(address string) (*line, error) {
	l := &line{address: address}
	var err error
	l.conn, err = newConn(address, &watched{TransportCredentials: credentials.NewTLS(s.TLS()), refused: &l.refused})
	return l, err
}

// ready waits until the line stands.
func (l *line) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		l.conn.Connect()
		switch state := l.conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return fmt.Errorf("address %s: not reachable", l.address)
		default:
			if !l.conn.WaitForStateChange(ctx, state) {
				return fmt.Errorf("address %s: %w", l.address, ctx.Err())
			}
		}
	}
}

// stream is an open Sync stream. A goroutine of its own receives; close ends it.
type stream struct {
	*line
	rpc    grpc.BidiStreamingClient[syncv1.SyncRequest, syncv1.SyncResponse]
	inbox  chan received // unbuffered: what is not taken stays with the server
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type received struct {
	msg *syncv1.SyncResponse
	err error
	at  time.Time
}

// open says Hello over a line. The line is closed on an error, and with the stream.
func (s *Subscriber) open(ctx context.Context, l *line) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{line: l, inbox: make(chan received), cancel: cancel}
	var err error
	if st.rpc, err = syncv1.NewStateSyncServiceClient(l.conn).Sync(ctx); err != nil {
		st.close()
		return nil, err
	}
	// A stream that has ended already fails the first Recv, with the reason.
	if err := st.rpc.Send(&syncv1.SyncRequest{Message: &syncv1.SyncRequest_Hello{Hello: s.hello()}}); err != nil && !errors.Is(err, io.EOF) {
		st.close()
		return nil, err
	}
	st.done.Go(func() {
		for {
			msg, err := st.rpc.Recv()
			select {
			case st.inbox <- received{msg: msg, err: err, at: time.Now()}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return st, nil
}

func (st *stream) close() {
	st.cancel()
	st.done.Wait()
	_ = st.conn.Close() // fails only when it is closed already
}

// hello says who we are and what we hold: nothing, when what we were sent did not fit again and again.
func (s *Subscriber) hello() *syncv1.Hello {
	h := &syncv1.Hello{BootId: s.o.BootID, Version: s.o.Version, Hostname: s.o.Hostname}
	if s.misfits < misfitsBeforeFull {
		s.replica.Hold(h)
	}
	return h
}

// isRefusal says whether a server that we reached does not accept who we are.
func isRefusal(err error) bool {
	c := status.Code(err)
	return c == codes.Unauthenticated || c == codes.PermissionDenied
}

// watched are credentials that tell a refused certificate, ours or the server's, from a network that failed: grpc
// reports both as "unavailable".
type watched struct {
	credentials.TransportCredentials
	refused *atomic.Bool
}

func (w *watched) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil {
		var netErr net.Error
		if isAlert(err) || (!errors.As(err, &netErr) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil) {
			w.refused.Store(true)
		}
		return nil, nil, err
	}
	return &watchedConn{Conn: c, refused: w.refused}, info, nil
}

func (w *watched) Clone() credentials.TransportCredentials {
	return &watched{TransportCredentials: w.TransportCredentials.Clone(), refused: w.refused}
}

// watchedConn sees the alert by which a TLS 1.3 server refuses a client's certificate: it comes after the handshake.
type watchedConn struct {
	net.Conn
	refused *atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && isAlert(err) {
		c.refused.Store(true)
	}
	return n, err
}

// isAlert says whether the other side ended a TLS connection with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
