package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"time"

	"fairway/pkg/egress"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// maxSubject is how many characters of an event's text a mail's subject has.
const maxSubject = 150

// mail sends the event as a mail. What a server says beside its code is not repeated: it may quote what it was sent.
func (p *post) mail(ctx context.Context, m *resourcev1.Smtp, password string, e *Event) (string, error) {
	message, err := compose(m, e, p.now())
	if err != nil {
		return "", permanent(err)
	}
	conn, err := p.dialer.DialContext(ctx, "tcp", m.GetAddress())
	if err != nil {
		err = fmt.Errorf("connect to the mail server: %w", err)
		if errors.Is(err, egress.ErrRefused) {
			return "", permanent(err)
		}
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := p.greet(ctx, conn, m)
	if err != nil {
		return "", err
	}
	if err := logIn(c, m, password); err != nil {
		return "", err
	}
	if err := answered("MAIL", c.Mail(m.GetFrom())); err != nil {
		return "", err
	}
	taken := 0
	var refused error
	for _, to := range m.GetTo() {
		if err := answered("RCPT", c.Rcpt(to)); err != nil {
			refused = err
			continue
		}
		taken++
	}
	// To ask again for those that were refused would tell the others twice.
	if taken == 0 {
		return "", refused
	}
	w, err := c.Data()
	if err != nil {
		return "", answered("DATA", err)
	}
	if _, err := w.Write(message); err != nil {
		return "", answered("DATA", err)
	}
	if err := answered("DATA", w.Close()); err != nil {
		return "", err
	}
	_ = c.Quit() // the mail is theirs
	return fmt.Sprintf("the mail server took it for %d of %d recipients", taken, len(m.GetTo())), nil
}

// greet begins to speak, with TLS unless the notifier does without and the server has none.
func (p *post) greet(ctx context.Context, conn net.Conn, m *resourcev1.Smtp) (*smtp.Client, error) {
	host, port, err := net.SplitHostPort(m.GetAddress())
	if err != nil {
		return nil, permanent(errors.New("the mail server's address is not host:port"))
	}
	config := p.tls.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = host
	// Who would take a mail in the clear gains from TLS with whomever, and loses nothing.
	config.InsecureSkipVerify = m.GetPlain()
	secure := port == p.implicitTLS
	if secure {
		over := tls.Client(conn, config)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with the mail server: %w", err)
		}
		conn = over
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, answered("connecting", err)
	}
	if err := answered("EHLO", c.Hello(helloName())); err != nil {
		return nil, err
	}
	if offered, _ := c.Extension("STARTTLS"); !secure && offered {
		if err := c.StartTLS(config); err != nil {
			return nil, answered("STARTTLS", err)
		}
		secure = true
	}
	if !secure && !m.GetPlain() {
		return nil, permanent(errors.New("the mail server offers no STARTTLS, and the notifier is not plain"))
	}
	return c, nil
}

// helloName is how this host presents itself.
func helloName() string {
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "localhost"
	}
	return name
}

// logIn authenticates, if the notifier has a name to do it with. Without verified TLS there is no password to send.
func logIn(c *smtp.Client, m *resourcev1.Smtp, password string) error {
	if m.GetUsername() == "" {
		return nil
	}
	if _, over := c.TLSConnectionState(); !over || m.GetPlain() {
		return permanent(errors.New("a password is not sent to a mail server without TLS"))
	}
	ok, offered := c.Extension("AUTH")
	if !ok {
		return permanent(errors.New("the mail server offers no AUTH"))
	}
	host, _, _ := net.SplitHostPort(m.GetAddress()) // was split before
	var with smtp.Auth
	switch methods := strings.Fields(strings.ToUpper(offered)); {
	case slices.Contains(methods, "PLAIN"):
		with = smtp.PlainAuth("", m.GetUsername(), password, host)
	case slices.Contains(methods, "LOGIN"):
		with = &loginAuth{user: m.GetUsername(), password: password}
	default:
		return permanent(errors.New("the mail server offers neither AUTH PLAIN nor LOGIN"))
	}
	return answered("AUTH", c.Auth(with))
}

// loginAuth is AUTH LOGIN, which some large services have alone: the server asks for the name, and then for the password.
type loginAuth struct {
	user, password string
	asked          int
}

// Start implements smtp.Auth.
func (a *loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

// Next implements smtp.Auth.
func (a *loginAuth) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	a.asked++
	switch a.asked {
	case 1:
		return []byte(a.user), nil
	case 2:
		return []byte(a.password), nil
	default:
		return nil, errors.New("the mail server asks too much")
	}
}

// answered makes an error one for people: what was being done, and the server's code. Codes of 500 and more are final.
func answered(to string, err error) error {
	if err == nil {
		return nil
	}
	if said, ok := errors.AsType[*textproto.Error](err); ok {
		err = fmt.Errorf("the mail server answered %d to %s", said.Code, to)
		if said.Code >= 500 {
			return permanent(err)
		}
		return err
	}
	return fmt.Errorf("%s with the mail server: %w", to, err)
}

// compose writes the mail. Nothing that could end a header's line gets into one.
func compose(m *resourcev1.Smtp, e *Event, now time.Time) ([]byte, error) {
	from, err := address(m.GetFrom())
	if err != nil {
		return nil, err
	}
	to := make([]string, len(m.GetTo()))
	for i, a := range m.GetTo() {
		if to[i], err = address(a); err != nil {
			return nil, err
		}
	}
	_, domain, _ := strings.Cut(m.GetFrom(), "@")
	title := []rune("[Fairway] " + plain(e.Text))
	subject := mime.QEncoding.Encode("utf-8", string(title[:min(len(title), maxSubject)]))
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from},
		{"To", strings.Join(to, ",\r\n ")},
		{"Subject", strings.ReplaceAll(subject, "?= =?", "?=\r\n =?")}, // a line has 998 bytes at most
		{"Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000")},
		{"Message-ID", "<" + e.ID + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = fmt.Fprintf(w, "%s.\n\nEvent: %s\nTime: %s\nNotifier: %s\nId: %s\n",
		plain(e.Text), e.Event, e.Time.UTC().Format(time.RFC3339), e.Notifier, e.ID) // a buffer takes everything
	_ = w.Close()
	return b.Bytes(), nil
}

// address is an address as it stands in a header.
func address(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || strings.ContainsAny(s, "\r\n") {
		return "", errors.New("an address of the notifier is not one of a mail")
	}
	return a.String(), nil
}
