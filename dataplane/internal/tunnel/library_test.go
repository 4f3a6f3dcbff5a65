package tunnel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
)

// tape is a connection whose other side says what is on it and hears nothing.
type tape struct{ io.Reader }

func (tape) Write(p []byte) (int, error)      { return len(p), nil }
func (tape) Close() error                     { return nil }
func (tape) LocalAddr() net.Addr              { return nil }
func (tape) RemoteAddr() net.Addr             { return nil }
func (tape) SetDeadline(time.Time) error      { return nil }
func (tape) SetReadDeadline(time.Time) error  { return nil }
func (tape) SetWriteDeadline(time.Time) error { return nil }

// taken is a server's response that becomes a connection.
type taken struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (t taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errTorn = errors.New("torn")

// libraryReads reads a direction with github.com/coder/websocket.
func libraryReads(t *testing.T, masked bool, stream []byte) (messages []string, err error) {
	t.Helper()
	// The library takes an io.EOF within a message for its end.
	conn := tape{io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(errTorn))}
	var ws *websocket.Conn
	if masked {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": Version, "Sec-WebSocket-Key": NewKey(),
		} {
			r.Header.Set(name, value)
		}
		ws, err = websocket.Accept(taken{httptest.NewRecorder(), conn}, r, nil)
	} else {
		ws, _, err = websocket.Dial(t.Context(), "ws://x", &websocket.DialOptions{HTTPClient: &http.Client{
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				h := http.Header{}
				h.Set("Connection", "Upgrade")
				h.Set("Upgrade", "websocket")
				h.Set("Sec-WebSocket-Accept", Accept(r.Header.Get("Sec-WebSocket-Key")))
				return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: h, Body: conn, Request: r}, nil
			}),
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(-1)
	for {
		kind, message, err := ws.Read(t.Context())
		if err != nil {
			return messages, err
		}
		messages = append(messages, fmt.Sprintf("%d %s", kind, message))
	}
}

// stricter says what the library lets pass and we do not: RFC 6455 has it so in 5.1, 5.2 and 5.5.1.
func stricter(err error, stream []byte) bool {
	return errors.Is(err, ErrMasked) || errors.Is(err, ErrLength) || errors.Is(err, ErrClosePayload) && bytes.ContainsFunc(stream, func(r rune) bool { return r == '\uFFFD' })
}

// However a direction is cut, it reads the same; and it reads as the library reads it.
func FuzzFrames(f *testing.F) {
	mask := []byte{1, 2, 3, 4}
	for _, seed := range [][]byte{
		said("hello"), asked("hello"), asked(""), closeFrame(1000, "x", nil), closeFrame(1000, "x", mask), {0xc1, 0}, {0x83, 0},
		append(frame(opText, false, []byte("a"), mask), frame(opContinuation, true, []byte("b"), mask)...),
		append(frame(opPing, true, []byte("a"), nil), said(string(bytes.Repeat([]byte{'b'}, 200)))...),
		append(frame(opBinary, false, nil, nil), said("no")...), {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0, 'x'},
	} {
		f.Add(seed, uint16(3), uint16(5), true)
		f.Add(seed, uint16(1), uint16(2), false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, a, b uint16, masked bool) {
		got := readAll(masked, stream)
		cuts := []int{min(int(min(a, b)), len(stream)), min(int(max(a, b)), len(stream))}
		cut := readAll(masked, stream, cuts...)
		if fmt.Sprint(cut) != fmt.Sprint(got) {
			t.Fatalf("cut at %v: %v, want %v", cuts, cut, got)
		}
		heard := stream
		if got.Err != nil {
			// We need not see all of a frame to know that it is wrong.
			heard = append(bytes.Clone(stream), make([]byte, maxHeader+maxControl)...)
		}
		messages, err := libraryReads(t, masked, heard)
		if stricter(got.Err, stream) {
			messages = messages[:min(len(got.Messages), len(messages))]
		} else if got.Err == nil && err != nil && strings.Contains(err.Error(), "negative payload length") {
			// It sees that before the mask is there.
		} else if refused := !got.Closed && !errors.Is(err, errTorn); refused != (got.Err != nil) {
			t.Errorf("we say %v, the library %v", got.Err, err)
		}
		if fmt.Sprint(messages) != fmt.Sprint(got.Messages) {
			t.Errorf("messages %q, the library has %q", got.Messages, messages)
		}
	})
}
