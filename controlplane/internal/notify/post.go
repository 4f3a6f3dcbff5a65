package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/pkg/egress"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// SignatureHeader carries the signature of a webhook's request: t=<unix seconds>,v1=<hex>.
const SignatureHeader = "Fairway-Signature"

const (
	dialTime = 10 * time.Second
	// maxAnswer bounds what is read of an answer. Nothing of it is used.
	maxAnswer = 64 << 10
)

// post sends events to where they belong.
type post struct {
	opener Opener
	dialer *net.Dialer
	tls    *tls.Config
	http   *http.Client
	now    func() time.Time
	// implicitTLS is the port of mail servers on which TLS comes first (RFC 8314); tests have another.
	implicitTLS string
}

func newPost(opener Opener, o Options, now func() time.Time) *post {
	dialer := &net.Dialer{Timeout: dialTime, Control: egress.New(o.Allow, "--notify-allow-cidr").NoMetadata().Control}
	return &post{opener: opener, dialer: dialer, tls: o.TLS, now: now, implicitTLS: "465", http: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: o.TLS.Clone(), TLSHandshakeTimeout: dialTime, DisableKeepAlives: true,
			DisableCompression: true, MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true,
		},
		// Wherever a redirect leads: the event was not meant for there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// send makes one attempt.
func (p *post) send(ctx context.Context, n *resourcev1.Notifier, e *Event) (string, error) {
	open := func(s *resourcev1.Secret, field string) (string, error) {
		if s.GetSealed() == nil {
			return "", nil
		}
		plain, err := p.opener.Open(s.GetSealed(), string(model.KindNotifier), n.GetMetadata().GetId(), field)
		if err != nil {
			return "", fmt.Errorf("open %s of the notifier: %w", field, err)
		}
		return string(plain), nil
	}
	switch target := n.GetTarget().(type) {
	case *resourcev1.Notifier_Webhook:
		key, err := open(target.Webhook.GetSecret(), "webhook.secret")
		if err != nil {
			return "", err
		}
		return p.webhook(ctx, target.Webhook.GetUrl(), key, e)
	case *resourcev1.Notifier_Slack:
		address, err := open(target.Slack.GetUrl(), "slack.url")
		if err != nil {
			return "", err
		}
		return p.slack(ctx, address, e)
	case *resourcev1.Notifier_Smtp:
		password, err := open(target.Smtp.GetPassword(), "smtp.password")
		if err != nil {
			return "", err
		}
		return p.mail(ctx, target.Smtp, password, e)
	default:
		return "", permanent(errors.New("the notifier has no target"))
	}
}

// webhook posts the event itself, signed if there is a secret.
func (p *post) webhook(ctx context.Context, address, key string, e *Event) (string, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return "", permanent(fmt.Errorf("encode the event: %w", err))
	}
	signature := ""
	if key != "" {
		signature = sign(key, p.now(), body)
	}
	return p.ask(ctx, address, signature, body)
}

// sign is the value of the signature's header: when it was made, and HMAC-SHA256 of that, a dot and the body, in hex.
func sign(key string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(key))
	_, _ = h.Write([]byte(t + ".")) // never fails
	_, _ = h.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}

// slack posts the event's text in the form of Slack's incoming webhooks, in which three characters have a meaning
// (https://docs.slack.dev/messaging/formatting-message-text#escaping).
func (p *post) slack(ctx context.Context, address string, e *Event) (string, error) {
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(e.Text)
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return "", permanent(fmt.Errorf("encode the text: %w", err))
	}
	return p.ask(ctx, address, "", body)
}

// ask posts JSON. An error has no word of the URL's, nor of the answer's.
func (p *post) ask(ctx context.Context, address, signature string, body []byte) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil || (r.URL.Scheme != "http" && r.URL.Scheme != "https") || r.URL.User != nil {
		return "", permanent(errors.New("the notifier's URL is not one of http or https"))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "fairway")
	if signature != "" {
		r.Header.Set(SignatureHeader, signature)
	}
	res, err := p.http.Do(r)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		err = fmt.Errorf("post the event: %w", err)
		if errors.Is(err, egress.ErrRefused) {
			return "", permanent(err)
		}
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	return judge(res.StatusCode)
}

// judge says what a status means.
func judge(status int) (string, error) {
	err := fmt.Errorf("the endpoint answered %d", status)
	switch {
	case status >= 200 && status <= 299:
		return fmt.Sprintf("the endpoint answered %d", status), nil
	case status >= 300 && status <= 399:
		return "", permanent(fmt.Errorf("the endpoint answered %d: redirects are not followed", status))
	case status >= 400 && status <= 499 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests:
		return "", permanent(err)
	default:
		return "", err
	}
}
