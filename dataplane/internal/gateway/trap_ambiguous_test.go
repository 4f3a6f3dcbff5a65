package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// duel lets the proxy and net/http read the same bytes.
type duel struct {
	w      *world
	u      *trap
	before []heard // what net/http read last time: a request that its client abandoned may arrive late
}

func newDuel(t testing.TB) *duel {
	d := &duel{w: newWorld(t)}
	d.u = newTrap(t, echoing)
	d.w.lure("m", d.u.base)
	d.w.publish()
	return d
}

// theirs are the requests that net/http reads in raw, up to the first that it would not serve or that ends the connection.
func (d *duel) theirs(raw string) []heard {
	var out []heard
	for r := bufio.NewReaderSize(strings.NewReader(raw), 1<<20); ; {
		// Empty lines before a request are to be skipped (RFC 9112, 2.2), which net/http does not; both is well.
		for line, _ := r.Peek(2); string(line) == "\r\n"; line, _ = r.Peek(2) {
			_, _ = r.Discard(2)
		}
		q, err := http.ReadRequest(r)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return out
		}
		out = append(out, heard{method: q.Method, target: q.URL.Path, host: q.Host, header: q.Header, body: string(body)})
		if q.Close {
			return out
		}
	}
}

// send sends raw and returns the proxy's answers, and what reached the upstream.
func (d *duel) send(raw string, expected int) (answers []reply, forwarded []heard, err error) {
	d.u.forget()
	c, err := net.Dial("tcp", d.w.addr)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, raw) }()
	k := &caller{Conn: c, r: newReader(c)}
	// What net/http can read is answered at once. What it cannot is either refused at once or waits for more.
	for range expected {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		got := k.answer()
		if got.status == 0 {
			break
		}
		if answers = append(answers, got); got.broken != nil || got.close {
			break
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, _ = k.r.Peek(1)
	half(c)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		got := k.answer()
		if got.status == 0 {
			break
		}
		answers = append(answers, got)
	}
	for d.w.gauge("fairway_requests_in_flight") > 0 {
		breathe()
	}
	return answers, d.u.requests(), nil
}

// judge says what is wrong with what was forwarded of raw.
func (d *duel) judge(raw string) (problem string, answers []reply, forwarded []heard) {
	theirs := d.theirs(raw)
	answers, forwarded, err := d.send(raw, len(theirs))
	if err != nil {
		return "", nil, nil
	}
	candidates := append(append([]heard(nil), d.before...), theirs...)
	d.before = theirs
	for _, ours := range forwarded {
		same := false
		for len(candidates) > 0 && !same {
			same = d.same(&ours, &candidates[0])
			candidates = candidates[1:]
		}
		if !same {
			return fmt.Sprintf("the upstream got %s %s %q, which net/http does not read there; it reads %+v", ours.method, ours.target, ours.body, theirs),
				answers, forwarded
		}
	}
	return "", answers, forwarded
}

func (d *duel) same(ours, theirs *heard) bool {
	// What we splice in to learn of usage is ours.
	body := ours.body
	for _, spliced := range []string{`,"stream_options":{"include_usage":true}`, `"stream_options":{"include_usage":true},`, `"stream_options":{"include_usage":true}`} {
		if !strings.Contains(theirs.body, spliced) {
			body = strings.Replace(body, spliced, "", 1)
		}
	}
	lines := theirs.header.Values("Authorization")
	return ours.method == theirs.method && ours.target == theirs.target &&
		(body == theirs.body || strings.Contains(theirs.body, "stream_options")) && len(lines) == 1 && strings.Contains(lines[0], d.w.key)
}

const (
	refuse = "refuse" // and nothing behind it is read
	serve  = "serve"
	either = "either" // as net/http reads it, or not at all
)

// ambiguous are messages that two parsers may read differently; SMUGGLED is a request that one of the readings holds, and
// PROMPT a body of PLEN bytes. START is a request line, a host and a credential.
var ambiguous = []struct{ name, raw, want string }{
	{"nothing strange", "START Content-Length: PLEN\r\n\r\nPROMPT", serve},
	{"nothing strange, chunked", "START Transfer-Encoding: chunked\r\n\r\nPCHUNK0\r\n\r\n", serve},
	{"empty lines first", "\r\nSTART Content-Length: PLEN\r\n\r\nPROMPT", either},
	{"tab before a value", "START Content-Length:\tPLEN\r\n\r\nPROMPT", serve},
	{"spaces around a value", "START Content-Length:   PLEN  \r\n\r\nPROMPT", serve},
	{"leading zeros", "START Content-Length: 000PLEN\r\n\r\nPROMPT", either},

	{"length, then chunked", "START Content-Length: PLEN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"chunked, then length", "START Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"length 0 and chunked", "START Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\nPCHUNK0\r\n\r\n", refuse},
	{"two lengths", "START Content-Length: 0\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"two lengths, the other way", "START Content-Length: PLEN\r\nContent-Length: 0\r\n\r\nSMUGGLED", refuse},
	{"the same length twice", "START Content-Length: PLEN\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a list of lengths", "START Content-Length: PLEN, PLEN\r\n\r\nPROMPT", refuse},
	{"a list of different lengths", "START Content-Length: 0, PLEN\r\n\r\nSMUGGLED", refuse},
	{"a signed length", "START Content-Length: +PLEN\r\n\r\nPROMPT", refuse},
	{"a negative length", "START Content-Length: -1\r\n\r\nSMUGGLED", refuse},
	{"minus nothing", "START Content-Length: -0\r\n\r\nSMUGGLED", refuse},
	{"a hexadecimal length", "START Content-Length: 0x10\r\n\r\nSMUGGLED", refuse},
	{"a length with a unit", "START Content-Length: PLENb\r\n\r\nPROMPT", refuse},
	{"a length with an underscore", "START Content-Length: 1_0\r\n\r\nSMUGGLED", refuse},
	{"a length with a fraction", "START Content-Length: 0.0\r\n\r\nSMUGGLED", refuse},
	{"a length in two words", "START Content-Length: 0 PLEN\r\n\r\nSMUGGLED", refuse},
	{"a length that wraps", "START Content-Length: 18446744073709551616\r\n\r\nSMUGGLED", refuse},
	{"a length that wraps 32 bits", "START Content-Length: 4294967296\r\n\r\nSMUGGLED", refuse},
	{"a length in other digits", "START Content-Length: \uff15\r\n\r\nSMUGGLED", refuse},
	{"a length that is empty", "START Content-Length: \r\n\r\nSMUGGLED", refuse},
	{"a length behind a vertical tab", "START Content-Length: \x0b0\r\n\r\nSMUGGLED", refuse},
	{"a NUL behind a length", "START Content-Length: 0\x00\r\n\r\nSMUGGLED", refuse},
	{"a space before the colon", "START Content-Length : 0\r\n\r\nSMUGGLED", refuse},
	{"a tab before the colon", "START Transfer-Encoding\t: chunked\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a space before the name", "START X: y\r\n Content-Length: PLEN\r\n\r\nSMUGGLED", refuse},
	{"a folded coding", "START Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"a folded length", "START Content-Length:\r\n\t0\r\n\r\nSMUGGLED", refuse},
	{"a header folded into a coding", "START X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"xchunked", "START Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"chunked, identity", "START Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"identity, chunked", "START Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"gzip, chunked", "START Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"identity and a length", "START Transfer-Encoding: identity\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"two codings", "START Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"chunked in quotes", "START Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"chunked with a parameter", "START Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"chunked behind a vertical tab", "START Transfer-Encoding: \x0bchunked\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"chunked with a NUL", "START Transfer-Encoding: chunked\x00\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"an empty coding", "START Transfer-Encoding:\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"chunked in HTTP/1.0", "OLD Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"another spelling of the coding", "START Transfer_Encoding: chunked\r\nContent-Length: PLEN\r\n\r\nPROMPT", either},

	{"bare LF behind a header", "START X: y\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"bare LF everywhere", "POST /v1/chat/completions HTTP/1.1\nHost: x\nAuthorization: Bearer KEY\nContent-Length: PLEN\n\nPROMPT", refuse},
	{"bare LF before the body", "START Content-Length: PLEN\r\n\nPROMPT", refuse},
	{"bare LF behind the request line", "POST /v1/chat/completions HTTP/1.1\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"bare CR in a value", "START X: y\rContent-Length: 0\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"bare CR in a name", "START X\rY: z\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"CR CR LF", "START X: y\r\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"NUL in a value", "START X: \x00\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"NUL in a name", "START X\x00Y: z\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"no colon", "START X\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"no name", "START : x\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a name in quotes", "START \"X\": y\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"two hosts", "START Host: y\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"no host", "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},

	{"two spaces in the line", "POST  /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"two spaces before the version", "POST /v1/chat/completions  HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a space behind the version", "POST /v1/chat/completions HTTP/1.1 \r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a tab in the line", "POST\t/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a space before the line", " POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a second version", "POST /v1/chat/completions HTTP/1.1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a version in lower case", "POST /v1/chat/completions http/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a version with a zero", "POST /v1/chat/completions HTTP/1.10\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"no version", "POST /v1/chat/completions\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},
	{"a NUL in the target", "POST /v1/chat/completions\x00 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", either},
	{"a method in lower case", "post /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: PLEN\r\n\r\nPROMPT", either},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nSMUGGLED", refuse},
	{"two credentials", "START Authorization: Bearer other\r\nContent-Length: PLEN\r\n\r\nPROMPT", either},
	{"an upgrade", "START Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: PLEN\r\n\r\nPROMPT", either},
	{"two expectations", "START Expect: 100-continue\r\nExpect: 200-ok\r\nContent-Length: PLEN\r\n\r\nPROMPT", refuse},

	{"a chunk that is too long", "START Transfer-Encoding: chunked\r\n\r\n1\r\nPROMPT\r\n0\r\n\r\nSMUGGLED", refuse},
	{"a chunk's size with a sign", "START Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\nSMUGGLED", refuse},
	{"a negative chunk", "START Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nSMUGGLED", refuse},
	{"a chunk's size with 0x", "START Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\nSMUGGLED", refuse},
	{"a chunk's size with a space first", "START Transfer-Encoding: chunked\r\n\r\n 0\r\n\r\nSMUGGLED", refuse},
	{"a chunk's size that wraps", "START Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nSMUGGLED", refuse},
	{"a chunk without a size", "START Transfer-Encoding: chunked\r\n\r\n;x\r\n\r\nSMUGGLED", refuse},
	{"an empty chunk line", "START Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\nSMUGGLED", refuse},
	{"bare LF behind a chunk's size", "START Transfer-Encoding: chunked\r\n\r\n0\n\r\nSMUGGLED", refuse},
	{"bare LF at a body's end", "START Transfer-Encoding: chunked\r\n\r\n0\r\n\nSMUGGLED", refuse},
	{"bare LF behind a chunk", "START Transfer-Encoding: chunked\r\n\r\nPSIZE\r\nPROMPT\n0\r\n\r\nSMUGGLED", refuse},
	{"bare LF in an extension", "START Transfer-Encoding: chunked\r\n\r\nPSIZE;a\nPROMPT\r\n0\r\n\r\nSMUGGLED", refuse},
	{"bare CR in an extension", "START Transfer-Encoding: chunked\r\n\r\nPSIZE;a\rb\r\nPROMPT\r\n0\r\n\r\n", refuse},
	{"bare CR behind a chunk's size", "START Transfer-Encoding: chunked\r\n\r\n0\r\rX\r\nSMUGGLED", refuse},
	{"a trailer without a colon", "START Transfer-Encoding: chunked\r\n\r\nPCHUNK0\r\nX\r\n\r\nSMUGGLED", refuse},
	{"a folded trailer", "START Transfer-Encoding: chunked\r\n\r\nPCHUNK0\r\nX: y\r\n z\r\n\r\nSMUGGLED", refuse},
	{"bare LF in trailers", "START Transfer-Encoding: chunked\r\n\r\nPCHUNK0\r\nX: y\n\r\nSMUGGLED", refuse},
	{"a length in the trailers", "START Transfer-Encoding: chunked\r\n\r\nPCHUNK0\r\nContent-Length: 5\r\n\r\n", either},
}

func (d *duel) expand(raw string) string {
	body := prompt("m", "x", false)
	start := "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n"
	return strings.NewReplacer(
		"START ", strings.ReplaceAll(start, "KEY", d.w.key), "OLD ", strings.ReplaceAll(strings.Replace(start, "1.1", "1.0", 1), "KEY", d.w.key),
		"PCHUNK", chunk(body), "PSIZE", fmt.Sprintf("%x", len(body)), "PLEN", fmt.Sprint(len(body)), "PROMPT", body,
		"SMUGGLED", request(chatPath, d.w.key, prompt("m", "smuggled", false)), "KEY", d.w.key,
	).Replace(raw)
}

// What two parsers may read differently is refused; what is served, net/http reads as the same request.
func TestTrapAmbiguousRequests(t *testing.T) {
	d := newDuel(t)
	for _, tc := range ambiguous {
		t.Run(tc.name, func(t *testing.T) {
			// With a request in front, too, whose connection this one is on.
			for _, front := range []string{"", request(chatPath, d.w.key, prompt("m", "front", false))} {
				d.before = nil
				problem, answers, forwarded := d.judge(front + d.expand(tc.raw))
				if problem != "" {
					t.Error(problem)
				}
				if front != "" {
					if len(answers) == 0 || !answers[0].good() || answers[0].body != completion("front") || len(forwarded) == 0 {
						t.Fatalf("the request in front: %v", answers)
					}
					answers, forwarded = answers[1:], forwarded[1:]
				}
				if len(answers) == 0 {
					t.Fatal("no answer")
				}
				got := answers[0]
				switch {
				case tc.want == serve && (len(answers) != 1 || !got.good() || len(forwarded) != 1):
					t.Errorf("%v, and the upstream got %d requests", answers, len(forwarded))
				case tc.want == refuse && (got.status < 400 || len(forwarded) > 0 || len(answers) != 1):
					t.Errorf("%v, and the upstream got %+v", answers, forwarded)
				}
			}
		})
	}
}

// FuzzAmbiguousRequests: whatever is forwarded, net/http reads it in the same bytes, in the same order.
func FuzzAmbiguousRequests(f *testing.F) {
	d := newDuel(f)
	for _, tc := range ambiguous {
		if rest, ok := strings.CutPrefix(tc.raw, "START "); ok {
			head, body, _ := strings.Cut(rest, "\r\n\r\n")
			f.Add("POST /v1/chat/completions HTTP/1.1", head+"\r\n", body)
		}
	}
	f.Add("POST /v1/completions HTTP/1.1", "Content-Length: PLEN\r\nConnection: close\r\n", "PROMPTSMUGGLED")
	f.Add("POST /v1/embeddings?x=/../ HTTP/1.1", "Expect: 100-continue\r\nContent-Length: PLEN\r\n", "PROMPT\r\nSMUGGLED")
	f.Add("GET /v1/models HTTP/1.0", "Connection: keep-alive\r\n", "SMUGGLED")
	f.Fuzz(func(t *testing.T, line, headers, body string) {
		raw := d.expand(line + "\r\nHost: x\r\nAuthorization: Bearer KEY\r\n" + headers + "\r\n" + body)
		if problem, _, _ := d.judge(raw); problem != "" {
			t.Fatalf("%q: %s", raw, problem)
		}
	})
}
