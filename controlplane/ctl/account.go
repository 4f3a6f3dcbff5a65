package ctl

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func accounts() kind {
	return kind{
		name:  "account",
		title: "Account",
		short: "Credentials of channels",
		example: `  fairway account create openai-2 --channel openai --secret-stdin < key.txt
  fairway account create bedrock-eu --channel bedrock --access-key-id AKIA… --secret-env AWS_SECRET_ACCESS_KEY \
      --exchange aws-role --role arn:aws:iam::123456789012:role/bedrock`,
		header:  []string{"name", "channel", "weight", "fingerprint", "exchange", "state", "reason", "until"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Account{Metadata: md} },
		row:     typedRow(func(r *resourcev1.Account) []string { return accountRow(r, time.Now()) }),
		fields:  accountFields,
		offers:  completeAccount,
		further: accountOrigin,
		extra: func(s *session, k kind) []*cobra.Command {
			return append(stateCommands(s, k), rotateCommand(s, k))
		},
	}
}

func accountRow(r *resourcev1.Account, now time.Time) []string {
	state, reason, until := accountHealth(r, now)
	return []string{r.GetMetadata().GetName(), r.GetChannel(), strconv.Itoa(int(r.GetWeight())),
		dash(r.GetSecret().GetFingerprint()), exchangeName(r.GetExchange()), state, reason, until}
}

func accountFields(fs *pflag.FlagSet) fieldReader {
	var (
		weight                 uint32
		disabled               bool
		proxyURL, organization string
		labels                 map[string]string

		concurrency, rpm                  uint32
		tpm, windowRequests, windowTokens uint64
		unschedulable                     bool
		window                            time.Duration
	)
	fs.Uint32Var(&weight, "weight", 0, "share among the channel's accounts (default 100)")
	fs.BoolVar(&disabled, "disabled", false, "serve nothing")
	fs.StringVar(&proxyURL, "proxy-url", "", "reach the upstream through http://HOST:PORT or socks5://HOST:PORT")
	fs.StringVar(&organization, "organization", "", "sent as OpenAI-Organization")
	fs.Uint32Var(&concurrency, "concurrency", 0, "requests at once, over the whole fleet (0 = no cap)")
	fs.Uint32Var(&rpm, "rpm", 0, "requests per minute of the provider's plan, over the whole fleet (0 = no cap)")
	fs.Uint64Var(&tpm, "tpm", 0, "tokens per minute of the provider's plan, over the whole fleet (0 = no cap)")
	fs.BoolVar(&unschedulable, "unschedulable", false, "new requests go elsewhere; what only this account can serve still comes")
	fs.DurationVar(&window, "session-window", 0, "length of the plan's usage window, such as 5h (0 = none)")
	fs.Uint64Var(&windowRequests, "session-requests", 0, "requests in one session window (0 = no cap)")
	fs.Uint64Var(&windowTokens, "session-tokens", 0, "tokens in one session window (0 = no cap)")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	credential := credentialFields(fs)
	return typedFields(func(r *resourcev1.Account, c *changes) {
		credential(r, c)
		c.on("weight", "weight", always(func() { r.Weight = weight }))
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("proxy-url", "proxy_url", always(func() { r.ProxyUrl = proxyURL }))
		c.on("organization", "organization", always(func() { r.Organization = organization }))
		c.on("concurrency", "concurrency", always(func() { r.Concurrency = concurrency }))
		c.on("rpm", "rpm", always(func() { r.Rpm = rpm }))
		c.on("tpm", "tpm", always(func() { r.Tpm = tpm }))
		c.on("unschedulable", "unschedulable", always(func() { r.Unschedulable = unschedulable }))
		if fs.Changed("session-window") && window == 0 {
			c.on("session-window", "session_window", func() error {
				if fs.Changed("session-requests") || fs.Changed("session-tokens") {
					return errors.New("0 means no window, which has no requests or tokens")
				}
				return nil
			})
		} else {
			w := &resourcev1.SessionWindow{}
			c.on("session-window", "session_window.length", always(func() { r.SessionWindow = w; w.Length = optionalDuration(window) }))
			c.on("session-requests", "session_window.max_requests", always(func() { r.SessionWindow = w; w.MaxRequests = windowRequests }))
			c.on("session-tokens", "session_window.max_tokens", always(func() { r.SessionWindow = w; w.MaxTokens = windowTokens }))
		}
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}

// accountOrigin is what an account is created with and cannot change by an update: its channel and its credential.
func accountOrigin(s *session, c *cobra.Command) func(r resource) error {
	var channel string
	var src secretSource
	c.Flags().StringVar(&channel, "channel", "", "the channel that it belongs to")
	_ = c.MarkFlagRequired("channel")
	_ = c.RegisterFlagCompletionFunc("channel", completeName(s, channels()))
	src.bind(c.Flags(), "the upstream credential")
	return func(r resource) error {
		sec, err := src.read(s)
		if err != nil {
			return err
		}
		if sec == nil {
			return errors.New("give the upstream credential with --secret-file, --secret-env or --secret-stdin")
		}
		account := r.(*resourcev1.Account)
		account.Channel, account.Secret = channel, sec
		return nil
	}
}

// rotateCommand replaces an account's credential.
func rotateCommand(s *session, k kind) *cobra.Command {
	var src secretSource
	c := &cobra.Command{
		Use:               "rotate NAME",
		Short:             "Replace the credential of an account",
		Example:           "  fairway account rotate openai --secret-stdin --wait < new-key.txt",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			sec, err := src.read(s)
			if err != nil {
				return err
			}
			if sec == nil {
				return errors.New("give the new credential with --secret-file, --secret-env or --secret-stdin")
			}
			r := &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: args[0]}, Secret: sec}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, revision, err := c.service(k).update(ctx, r, []string{"secret"})
				if err != nil {
					return err
				}
				return s.updated(ctx, c, k, got, revision, []string{"secret"})
			})
		},
	}
	src.bind(c.Flags(), "the new credential")
	s.bindWait(c)
	return c
}
