package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"

	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	"fairway/pkg/secret"
)

const defaultServer = "http://127.0.0.1:8081"

// session is what the commands of one invocation share: where the server is, who asks, and how to answer.
type session struct {
	o Options

	server    string
	tokenFile string
	timeout   time.Duration
	output    format
	wait      bool
	waitFor   time.Duration
}

// bind adds the flags that every admin command takes.
func (s *session) bind(c *cobra.Command) {
	fs := c.PersistentFlags()
	fs.StringVar(&s.server, "server", "", "admin API address (env FAIRWAY_SERVER; default "+defaultServer+")")
	fs.StringVar(&s.tokenFile, "token-file", "",
		"file with the operator's token (env FAIRWAY_TOKEN_FILE, or the token itself in FAIRWAY_TOKEN; default <data-dir>/operator.token)")
	fs.DurationVar(&s.timeout, "timeout", 30*time.Second, "how long one call may take")
	s.bindOutput(c)
}

// bindOutput adds the flag that says how to answer.
func (s *session) bindOutput(c *cobra.Command) {
	s.output = tableFormat
	c.PersistentFlags().VarP(&s.output, "output", "o", "table, json or yaml")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// clients are the admin services.
type clients struct {
	base        *connect.Client
	channels    adminv1connect.ChannelServiceClient
	accounts    adminv1connect.AccountServiceClient
	groups      adminv1connect.GroupServiceClient
	settings    adminv1connect.SettingsServiceClient
	fleet       adminv1connect.FleetServiceClient
	usage       adminv1connect.UsageServiceClient
	audit       adminv1connect.AuditServiceClient
	diagnostics adminv1connect.DiagnosticsServiceClient
	limits      adminv1connect.LimitServiceClient
	notifiers   adminv1connect.NotifierServiceClient
}

// connect resolves address and token and returns the services. It does not dial.
func (s *session) connect() (*clients, error) {
	server := first(s.server, s.o.Getenv("FAIRWAY_SERVER"), defaultServer)
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	if !strings.HasPrefix(server, "http://") && !strings.HasPrefix(server, "https://") {
		return nil, fmt.Errorf("--server %q: want http://HOST:PORT or https://HOST:PORT", server)
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	hc := &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
	}}
	c := connect.NewClient(connecthttp.NewTransport(hc, strings.TrimRight(server, "/")), bearer(token))
	return &clients{
		base:        c,
		channels:    adminv1connect.NewChannelServiceClient(c),
		accounts:    adminv1connect.NewAccountServiceClient(c),
		groups:      adminv1connect.NewGroupServiceClient(c),
		settings:    adminv1connect.NewSettingsServiceClient(c),
		fleet:       adminv1connect.NewFleetServiceClient(c),
		usage:       adminv1connect.NewUsageServiceClient(c),
		audit:       adminv1connect.NewAuditServiceClient(c),
		diagnostics: adminv1connect.NewDiagnosticsServiceClient(c),
		limits:      adminv1connect.NewLimitServiceClient(c),
		notifiers:   adminv1connect.NewNotifierServiceClient(c),
	}, nil
}

// token finds the operator's token: flag, environment, environment's file, data directory.
func (s *session) token() (secret.String, error) {
	if s.tokenFile == "" {
		if t := s.o.Getenv("FAIRWAY_TOKEN"); t != "" {
			return secret.New(strings.TrimSpace(t)), nil
		}
	}
	file := first(s.tokenFile, s.o.Getenv("FAIRWAY_TOKEN_FILE"))
	if file == "" {
		file = filepath.Join(first(s.o.Getenv("FAIRWAY_DATA_DIR"), s.o.DataDir), "operator.token")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return secret.String{}, fmt.Errorf("no operator token: %w (give --token-file, FAIRWAY_TOKEN or FAIRWAY_DATA_DIR)", err)
	}
	t := strings.TrimSpace(string(raw))
	if t == "" {
		return secret.String{}, fmt.Errorf("no operator token: %s is empty", file)
	}
	return secret.New(t), nil
}

// bearer sets the operator's token on every call.
func bearer(token secret.String) connect.ClientInterceptor {
	return func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			if info, ok := connect.CallInfoForClientContext(ctx); ok {
				info.RequestHeader().Set("Authorization", "Bearer "+token.Reveal())
			}
			return next(ctx, spec)
		}
	}
}

// service is the one of a kind's resources.
func (c *clients) service(k kind) service {
	return service{client: c.base, kind: k.name, title: k.title}
}

// call runs fn with the services and a deadline, and turns what went wrong into one clear line.
func (s *session) call(cmd *cobra.Command, fn func(ctx context.Context, c *clients) error) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	ctx, cancel, err := s.deadline(cmd.Context())
	if err != nil {
		return err
	}
	defer cancel()
	return plain(fn(ctx, c))
}

// deadline bounds a call by --timeout, and by --wait-timeout on top where --wait is given.
func (s *session) deadline(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.timeout <= 0 || s.wait && s.waitFor <= 0 {
		return nil, nil, errors.New("--timeout and --wait-timeout must be more than nothing")
	}
	limit := s.timeout
	if s.wait {
		limit += s.waitFor
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, cancel, nil
}

// plain strips an RPC error down to what a person needs.
func plain(err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err
	}
	switch {
	case ce.IsRemote():
		return fmt.Errorf("%s (%s)", ce.Message(), ce.Code())
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time (see --timeout)")
	case ce.Code() == connect.CodeUnavailable:
		return fmt.Errorf("the control plane does not answer: %s", ce.Message())
	}
	return err
}

func isNotFound(err error) bool { return err != nil && connect.CodeOf(err) == connect.CodeNotFound }

func isStale(err error) bool {
	return err != nil && connect.CodeOf(err) == connect.CodeFailedPrecondition
}

func isExists(err error) bool { return err != nil && connect.CodeOf(err) == connect.CodeAlreadyExists }

// first returns the first string that is not empty.
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
