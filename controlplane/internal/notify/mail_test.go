package notify

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/testcert"
)

// mailbox is a strict mail server: it takes commands in their order alone, and no line that ends in anything but CRLF.
type mailbox struct {
	t        *testing.T
	address  string
	tls      *tls.Config
	implicit bool
	starts   bool   // offers STARTTLS
	auth     string // what it offers; only with TLS
	refuse   map[string]string

	mu    sync.Mutex
	mails []letter
	said  []string // every line of a client
	wg    sync.WaitGroup
}

// letter is one mail as it was taken.
type letter struct {
	from, user, password string
	to                   []string
	secure               bool
	data                 string
}

func (b *mailbox) serve(ca *testcert.CA) *mailbox {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.address = l.Addr().String()
	b.tls = &tls.Config{Certificates: []tls.Certificate{ca.Server(b.t, "127.0.0.1")}}
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(patience))
				b.talk(c)
			})
		}
	})
	b.t.Cleanup(func() {
		_ = l.Close()
		b.wg.Wait()
	})
	return b
}

// talk speaks with one client until it says nothing that fits.
func (b *mailbox) talk(c net.Conn) {
	secure := b.implicit
	if secure {
		c = tls.Server(c, b.tls)
	}
	in := bufio.NewReader(c)
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	read := func() (string, bool) {
		line, err := in.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 {
			return "", false
		}
		line = strings.TrimSuffix(line, "\r\n")
		b.mu.Lock()
		b.said = append(b.said, line)
		b.mu.Unlock()
		return line, true
	}
	refused := func(verb, otherwise string) {
		if answer, ok := b.refuse[verb]; ok {
			otherwise = answer
		}
		say(otherwise)
	}
	decode := func(s string) string {
		raw, _ := base64.StdEncoding.DecodeString(s)
		return string(raw)
	}
	say("220 mail.example ESMTP")
	m, greeted := letter{}, false
	for {
		line, ok := read()
		if !ok {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case verb == "EHLO" && rest != "":
			greeted = true
			say("250-mail.example")
			if b.starts && !secure {
				say("250-STARTTLS")
			}
			if b.auth != "" && secure {
				say("250-AUTH " + b.auth)
			}
			say("250 8BITMIME")
		case verb == "STARTTLS" && greeted && b.starts && !secure:
			say("220 go on")
			over := tls.Server(c, b.tls)
			if over.Handshake() != nil {
				return
			}
			c, in, secure, greeted = over, bufio.NewReader(over), true, false
		case verb == "AUTH" && greeted && secure && strings.HasPrefix(rest, "PLAIN "):
			parts := strings.Split(decode(rest[6:]), "\x00")
			if len(parts) != 3 {
				return
			}
			m.user, m.password = parts[1], parts[2]
			refused("AUTH", "235 welcome")
		case verb == "AUTH" && greeted && secure && rest == "LOGIN":
			say("334 " + base64.StdEncoding.EncodeToString([]byte("Username:")))
			user, _ := read()
			say("334 " + base64.StdEncoding.EncodeToString([]byte("Password:")))
			password, _ := read()
			m.user, m.password = decode(user), decode(password)
			refused("AUTH", "235 welcome")
		case verb == "MAIL" && greeted && m.from == "":
			address, _, _ := strings.Cut(strings.TrimPrefix(rest, "FROM:<"), ">")
			m.from = address
			refused("MAIL", "250 fine")
		case verb == "RCPT" && m.from != "":
			to := strings.TrimSuffix(strings.TrimPrefix(rest, "TO:<"), ">")
			if answer, ok := b.refuse[to]; ok {
				say(answer)
				continue
			}
			m.to = append(m.to, to)
			say("250 fine")
		case verb == "DATA" && len(m.to) > 0:
			say("354 go on")
			var data strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil || !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 || len(line) > 1000 {
					return
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			m.data, m.secure = data.String(), secure
			b.mu.Lock()
			b.mails = append(b.mails, m)
			b.mu.Unlock()
			refused("DATA", "250 taken")
			m = letter{}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("503 not now")
			return
		}
	}
}

func (b *mailbox) taken() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mails)
}

// mailTo is a notifier that mails.
func mailTo(address string, change ...func(*resourcev1.Smtp)) *resourcev1.Notifier {
	m := &resourcev1.Smtp{Address: address, From: "fairway@example.com", To: []string{"ann@example.com", "bob@example.org"}}
	for _, c := range change {
		c(m)
	}
	return &resourcev1.Notifier{Metadata: metadata("mail"), Target: &resourcev1.Notifier_Smtp{Smtp: m}}
}

func TestMail(t *testing.T) {
	ring, ca := keyring(t), testcert.NewCA(t)
	password := func(m *resourcev1.Smtp) {
		m.Username, m.Password = "fairway", sealed(t, ring, "id-mail", "smtp.password", "canary-password")
	}
	plainly := func(m *resourcev1.Smtp) { m.Plain = true }
	for _, tt := range []struct {
		name      string
		server    *mailbox
		notifier  func(*resourcev1.Smtp)
		want      string // the detail, or part of the error
		sent      []string
		secure    bool
		permanent bool
	}{
		{"STARTTLS", &mailbox{starts: true}, nil, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"TLS from the start", &mailbox{implicit: true}, nil, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"a password", &mailbox{starts: true, auth: "LOGIN PLAIN"}, password, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"a password, LOGIN alone", &mailbox{starts: true, auth: "LOGIN XOAUTH2"}, password, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"a password, TLS from the start", &mailbox{implicit: true, auth: "PLAIN"}, password, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"no TLS", &mailbox{}, nil, "offers no STARTTLS", nil, false, true},
		{"no TLS, and that is fine", &mailbox{}, plainly, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, false, false},
		{"TLS though none is needed", &mailbox{starts: true}, plainly, "took it for 2 of 2", []string{"ann@example.com", "bob@example.org"}, true, false},
		{"a password without TLS", &mailbox{auth: "PLAIN"}, func(m *resourcev1.Smtp) { password(m); plainly(m) }, "not sent", nil, false, true},
		{"a password with anybody's TLS", &mailbox{starts: true, auth: "PLAIN"}, func(m *resourcev1.Smtp) { password(m); plainly(m) }, "not sent", nil, false, true},
		{"no AUTH", &mailbox{starts: true}, password, "offers no AUTH", nil, false, true},
		{"an unknown AUTH", &mailbox{starts: true, auth: "GSSAPI"}, password, "neither", nil, false, true},
		{"a wrong password", &mailbox{starts: true, auth: "PLAIN", refuse: map[string]string{"AUTH": "535 canary-password is wrong"}}, password, "answered 535 to AUTH", nil, false, true},
		{"the sender is refused", &mailbox{starts: true, refuse: map[string]string{"MAIL": "550 no"}}, nil, "answered 550 to MAIL", nil, false, true},
		{"busy", &mailbox{starts: true, refuse: map[string]string{"MAIL": "451 later"}}, nil, "answered 451 to MAIL", nil, false, false},
		{"one is refused", &mailbox{starts: true, refuse: map[string]string{"ann@example.com": "550 who?"}}, nil, "took it for 1 of 2", []string{"bob@example.org"}, true, false},
		{"all are refused", &mailbox{starts: true, refuse: map[string]string{"ann@example.com": "550 who?", "bob@example.org": "450 full"}}, nil, "answered 450 to RCPT", nil, false, false},
		{"the mail is refused", &mailbox{starts: true, refuse: map[string]string{"DATA": "554 spam"}}, nil, "answered 554 to DATA", nil, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.server
			b.t = t
			b.serve(ca)
			n := mailTo(b.address)
			if tt.notifier != nil {
				tt.notifier(n.GetSmtp())
			}
			p := newPost(ring, Options{Allow: loopback, TLS: &tls.Config{RootCAs: ca.Pool()}}, at(noon))
			if b.implicit {
				_, p.implicitTLS, _ = net.SplitHostPort(b.address)
			}
			detail, err := p.send(soon(t), n, testEvent(n, noon))
			got := detail
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) || strings.Contains(got, "canary") || hopeless(err) != tt.permanent || (err == nil) != (tt.sent != nil) {
				t.Errorf("send = %q, %v (permanent %t), want %q", detail, err, hopeless(err), tt.want)
			}
			if tt.sent == nil {
				return
			}
			all := b.taken()
			if len(all) != 1 {
				t.Fatalf("%d mails were taken", len(all))
			}
			m := all[0]
			if d := cmp.Diff(tt.sent, m.to); d != "" || m.from != "fairway@example.com" || m.secure != tt.secure {
				t.Errorf("from %s, secure %t, to (-want +got):\n%s", m.from, m.secure, d)
			}
			if n.GetSmtp().GetUsername() != "" && (m.user != "fairway" || m.password != "canary-password") {
				t.Errorf("authenticated as %q with %q", m.user, m.password)
			}
		})
	}
}

// A certificate that nobody vouches for gets neither the mail nor the password.
func TestMailToStrangers(t *testing.T) {
	ring := keyring(t)
	b := (&mailbox{t: t, starts: true, auth: "PLAIN"}).serve(testcert.NewCA(t))
	n := mailTo(b.address, func(m *resourcev1.Smtp) {
		m.Username, m.Password = "fairway", sealed(t, ring, "id-mail", "smtp.password", "canary-password")
	})
	p := newPost(ring, Options{Allow: loopback, TLS: &tls.Config{RootCAs: testcert.NewCA(t).Pool()}}, at(noon))
	if _, err := p.send(soon(t), n, testEvent(n, noon)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error = %v", err)
	}
	if len(b.taken()) != 0 {
		t.Error("a stranger got a mail")
	}
}

// A server that says nothing, or nothing that ends, ends with the attempt.
func TestSilentMailServer(t *testing.T) {
	for _, greeting := range []string{"", "220 mail.example ESMTP\r\n", strings.Repeat("220-and so on\r\n", 1<<16)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		connected, over := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			c, err := l.Accept()
			if err != nil {
				return
			}
			close(connected)
			_, _ = io.WriteString(c, greeting)
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}()
		ctx, cancel := contextOf(t)
		n := mailTo(l.Addr().String())
		go func() {
			<-connected
			cancel()
		}()
		if _, err := newPost(nil, Options{Allow: loopback}, at(noon)).send(ctx, n, testEvent(n, noon)); err == nil || hopeless(err) {
			t.Errorf("error = %v", err)
		}
		_ = l.Close()
		<-over
	}
}

// A mail is what it is read as: whom it is from and to, what it is of, and its text, in whatever script.
func TestCompose(t *testing.T) {
	e := unpricedEvent(mailTo("x:25"), "0123", "modèle-漢字", nil, noon)
	raw, err := compose(mailTo("x:25").GetSmtp(), e, noon)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(noon) {
		t.Errorf("date %s, %v", date, err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if want := `[Fairway] Model "modèle-漢字" has no price: its usage is on the books without a cost, or at the default rates`; err != nil || subject != want {
		t.Errorf("subject %q, %v", subject, err)
	}
	if from, err := m.Header.AddressList("From"); err != nil || len(from) != 1 || from[0].Address != "fairway@example.com" {
		t.Errorf("from %v, %v", from, err)
	}
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 2 || to[1].Address != "bob@example.org" {
		t.Errorf("to %v, %v", to, err)
	}
	if id := m.Header.Get("Message-ID"); id != "<0123@example.com>" {
		t.Errorf("id %q", id)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || !strings.HasPrefix(string(text), `Model "modèle-漢字" has no price`) || !strings.Contains(string(text), "Id: 0123") {
		t.Errorf("text %q, %v", text, err)
	}
	for _, bad := range []string{"a@example.com\r\nBcc: evil@example.com", "Ann <a@example.com>", "a@example.com, b@example.com", "nobody", ""} {
		if _, err := compose(mailTo("x:25", func(m *resourcev1.Smtp) { m.From = bad }).GetSmtp(), e, noon); err == nil {
			t.Errorf("from %q is taken", bad)
		}
		if _, err := compose(mailTo("x:25", func(m *resourcev1.Smtp) { m.To = []string{"a@example.com", bad} }).GetSmtp(), e, noon); err == nil {
			t.Errorf("to %q is taken", bad)
		}
	}
}

// Whatever a client calls a model, the mail has the same headers, and every line of it is one of a mail's.
func FuzzCompose(f *testing.F) {
	for _, s := range []string{"gpt", "x\r\nBcc: evil@example.com", "x\r\n\r\n<script>", "\r\n.\r\nMAIL FROM:<x>", "=?utf-8?q?x?=", "\x00\u2028\u202e", strings.Repeat("é", 256), "\xff\xfe"} {
		f.Add(s)
	}
	want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}
	f.Fuzz(func(t *testing.T, model string) {
		e := unpricedEvent(mailTo("x:25"), "0123", model, nil, noon)
		if strings.ContainsAny(e.Text+e.Model, "\r\n\x00\u2028\u202e") {
			t.Fatalf("text %q", e.Text)
		}
		raw, err := compose(mailTo("x:25").GetSmtp(), e, noon)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(raw), "\r\n") {
			if strings.ContainsAny(line, "\r\n") || len(line) > 998 {
				t.Fatalf("line %q", line)
			}
		}
		h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(raw)))).ReadMIMEHeader()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for name, values := range h {
			if got = append(got, name); len(values) != 1 {
				t.Errorf("%s comes %d times", name, len(values))
			}
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("headers of %q (-want +got):\n%s", model, d)
		}
		if fmt.Sprint(h["Subject"]) == "[]" {
			t.Error("no subject")
		}
	})
}
