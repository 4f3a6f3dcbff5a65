package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// maxAnswer bounds what a token endpoint may say.
const maxAnswer = 64 << 10

// endpointClient makes the requests of one exchange. There are few, hours apart: nothing is kept open.
type endpointClient struct{ http *http.Client }

// client returns one that goes the account's way: through its proxy if it has one, so that the provider sees one address.
func (e *Exchanger) client(a *resourcev1.Account, s secrets) (*endpointClient, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: e.guard.Control}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: e.tls.Clone(), TLSHandshakeTimeout: 10 * time.Second,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true,
	}
	if a.GetProxyUrl() != "" {
		proxy, err := url.Parse(a.GetProxyUrl())
		if err != nil {
			return nil, errors.New("the account's proxy_url is not a URL")
		}
		if user, password, ok := strings.Cut(s.proxy, ":"); ok {
			proxy.User = url.UserPassword(user, password)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &endpointClient{&http.Client{
		Transport: transport,
		// Wherever a redirect leads: the credential was not meant for there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// form posts a form and returns the body of a good answer.
func (c *endpointClient) form(ctx context.Context, endpoint string, values url.Values) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(values.Encode()))
	if err != nil {
		return nil, errors.New("the token endpoint is not a URL")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	return c.do(r)
}

// do sends a request and returns the body of a good answer. Everything else is an error without a word of the endpoint's.
func (c *endpointClient) do(r *http.Request) ([]byte, error) {
	r.Header.Set("User-Agent", "fairway")
	res, err := c.http.Do(r)
	if err != nil {
		// net/http puts the URL around the cause; the operator knows it, and its query is nobody else's affair.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("ask the token endpoint: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		return nil, &refusal{status: res.StatusCode, code: errorCode(body), retryAfter: retryAfter(res.Header)}
	case err != nil:
		return nil, fmt.Errorf("read the token endpoint's answer: %w", err)
	case len(body) > maxAnswer:
		return nil, errors.New("the token endpoint's answer is longer than 64 KiB")
	}
	return body, nil
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > int(maxRefused/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
