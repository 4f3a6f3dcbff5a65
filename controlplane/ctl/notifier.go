package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func notifiers() kind {
	return kind{
		name:  "notifier",
		title: "Notifier",
		short: "Who is told of budgets, keys that end, and prices that are missing",
		example: `  fairway notifier create oncall --webhook https://hooks.example.com/fairway --secret-file hook.key --events budget,key_expiry
  fairway notifier create team --slack-url-file slack.txt --tenant acme --budget-percents 50,80,100
  fairway notifier create billing --smtp mail.example.com:587 --from fairway@example.com --to billing@example.com \
      --username fairway --password-file password.txt`,
		header:  []string{"name", "target", "events", "tenant", "state"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Notifier{Metadata: md} },
		row:     typedRow(notifierRow),
		fields:  notifierFields,
		secrets: notifierSecrets,
		offers: func(s *session, c *cobra.Command) {
			_ = c.RegisterFlagCompletionFunc("events", cobra.FixedCompletions(append(eventNames(), everything), cobra.ShellCompDirectiveNoFileComp))
			_ = c.RegisterFlagCompletionFunc("tenant", completeName(s, tenants()))
		},
		further: func(*session, *cobra.Command) func(r resource) error {
			return func(r resource) error { return wholeTarget(r.(*resourcev1.Notifier)) }
		},
		extra: func(s *session, k kind) []*cobra.Command { return []*cobra.Command{testNotifierCommand(s, k)} },
	}
}

// notifierCommand has a verb for a name, because it is typed: fairway notify test oncall.
func notifierCommand(s *session) *cobra.Command {
	c := resourceCommand(s, notifiers())
	c.Aliases = []string{"notify"}
	return c
}

// everything is the value of --events for all that there is, now and later.
const everything = "all"

func eventNames() []string { return enumNames(resourcev1.NotificationEvent(0).Descriptor()) }

func notifierRow(r *resourcev1.Notifier) []string {
	events := everything
	if len(r.GetEvents()) > 0 {
		var names []string
		for _, e := range r.GetEvents() {
			names = append(names, enumName(e.Descriptor(), e.Number()))
		}
		events = strings.Join(names, ",")
	}
	return []string{r.GetMetadata().GetName(), visible(notifierTarget(r)), events, dash(r.GetTenant()), state(r.GetDisabled())}
}

func notifierTarget(r *resourcev1.Notifier) string {
	switch {
	case r.GetWebhook() != nil:
		return r.GetWebhook().GetUrl()
	case r.GetSlack() != nil:
		return "slack"
	case r.GetSmtp() != nil:
		return strings.Join(r.GetSmtp().GetTo(), ",") + " by " + r.GetSmtp().GetAddress()
	}
	return "-"
}

// notifierTargets are the flags of each target.
func notifierTargets() map[string][]string {
	return map[string][]string{
		"webhook": {"webhook", "secret-file", "secret-env", "secret-stdin"},
		"slack":   {"slack-url-file", "slack-url-env", "slack-url-stdin"},
		"smtp":    {"smtp", "from", "to", "username", "plain", "password-file", "password-env", "password-stdin"},
	}
}

func notifierFields(fs *pflag.FlagSet) fieldReader {
	var webhook, address, from, username, tenant string
	var to, events []string
	var percents, days []uint
	var plainText, disabled bool
	var labels map[string]string
	fs.StringVar(&webhook, "webhook", "", "URL that gets each event as a POST of JSON")
	fs.StringVar(&address, "smtp", "", "mail server, HOST:PORT; TLS from the start on port 465, STARTTLS on all others")
	fs.StringVar(&from, "from", "", "of --smtp: whose mail it is")
	fs.StringSliceVar(&to, "to", nil, "of --smtp: who gets it")
	fs.StringVar(&username, "username", "", "of --smtp: who logs in; none = nobody, without a password (default: nobody)")
	fs.BoolVar(&plainText, "plain", false, "of --smtp: send though the server has no TLS; never with a password")
	fs.StringSliceVar(&events, "events", nil, "of what to tell: "+strings.Join(eventNames(), ", ")+", or "+everything+" (default: "+everything+")")
	fs.StringVar(&tenant, "tenant", "", "only of what belongs to this tenant, or to those that are parts of it; none = of everything (default: of everything)")
	fs.UintSliceVar(&percents, "budget-percents", nil, "percents of a budget, at which it is told of")
	fs.Lookup("budget-percents").DefValue = "80,100"
	fs.UintSliceVar(&days, "expiry-days", nil, "days before a key ends, at which it is told of")
	fs.Lookup("expiry-days").DefValue = "7,1"
	fs.BoolVar(&disabled, "disabled", false, "tell nothing")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	return typedFields(func(r *resourcev1.Notifier, c *changes) {
		c.err = oneTarget(fs)
		c.on("webhook", "webhook.url", func() error {
			webhookOf(r).Url = webhook
			if !strings.HasPrefix(webhook, "https://") && !strings.HasPrefix(webhook, "http://") {
				return fmt.Errorf("%q: want https://HOST/PATH", webhook)
			}
			return nil
		})
		c.on("smtp", "smtp.address", always(func() { smtpOf(r).Address = address }))
		c.on("from", "smtp.from", always(func() { smtpOf(r).From = from }))
		c.on("to", "smtp.to", func() (err error) { smtpOf(r).To, err = named(to, "the addresses of those who get it"); return err })
		c.on("username", "smtp.username", func() (err error) { smtpOf(r).Username, err = reference(username); return err })
		if username == nothing {
			c.on("username", "smtp.password", always(func() {}))
		}
		c.on("plain", "smtp.plain", always(func() { smtpOf(r).Plain = plainText }))
		c.on("events", "events", func() (err error) { r.Events, err = notificationEvents(events); return err })
		c.on("tenant", "tenant", func() (err error) { r.Tenant, err = reference(tenant); return err })
		c.on("budget-percents", "budget_percents", func() (err error) { r.BudgetPercents, err = numbers(percents, 100); return err })
		c.on("expiry-days", "expiry_days", func() (err error) { r.ExpiryDays, err = numbers(days, 365); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}

// notifierSecrets are what targets know their sender by.
func notifierSecrets(s *session, fs *pflag.FlagSet) fieldReader {
	signing, slack, password := secretSource{}, secretSource{prefix: "slack-url"}, secretSource{prefix: "password"}
	signing.bind(fs, "what requests to --webhook are signed with")
	slack.bind(fs, "the URL of a Slack incoming webhook")
	password.bind(fs, "the password of --username")
	return typedFields(func(r *resourcev1.Notifier, c *changes) {
		c.secret(s, &signing, "webhook.secret", func(v *resourcev1.Secret) { webhookOf(r).Secret = v })
		c.secret(s, &slack, "slack.url", func(v *resourcev1.Secret) { r.Target = &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: v}} })
		c.secret(s, &password, "smtp.password", func(v *resourcev1.Secret) { smtpOf(r).Password = v })
	})
}

func webhookOf(r *resourcev1.Notifier) *resourcev1.Webhook {
	if r.GetWebhook() == nil {
		r.Target = &resourcev1.Notifier_Webhook{Webhook: &resourcev1.Webhook{}}
	}
	return r.GetWebhook()
}

func smtpOf(r *resourcev1.Notifier) *resourcev1.Smtp {
	if r.GetSmtp() == nil {
		r.Target = &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{}}
	}
	return r.GetSmtp()
}

// oneTarget refuses flags of two targets.
func oneTarget(fs *pflag.FlagSet) error {
	n := 0
	for _, flags := range notifierTargets() {
		for _, name := range flags {
			if fs.Changed(name) {
				n++
				break
			}
		}
	}
	if n > 1 {
		return errors.New("a notifier has one target: --webhook, --slack-url-file or --smtp, each with its own flags")
	}
	return nil
}

// wholeTarget says what a new notifier still needs.
func wholeTarget(r *resourcev1.Notifier) error {
	m := r.GetSmtp()
	switch {
	case r.GetTarget() == nil:
		return errors.New("give whom to tell: --webhook, --slack-url-file (or -env, -stdin) or --smtp")
	case r.GetWebhook() != nil && r.GetWebhook().GetUrl() == "":
		return errors.New("a secret is of a webhook: give its URL with --webhook")
	case m != nil && (m.GetAddress() == "" || m.GetFrom() == "" || len(m.GetTo()) == 0):
		return errors.New("a mail needs --smtp, --from and --to")
	case m != nil && (m.GetUsername() == "") != (m.GetPassword() == nil):
		return errors.New("--username and a password, from --password-file, --password-env or --password-stdin, go together")
	}
	return nil
}

func notificationEvents(names []string) ([]resourcev1.NotificationEvent, error) {
	if len(names) == 1 && names[0] == everything {
		return nil, nil
	}
	if len(names) == 0 {
		return nil, errors.New("empty; give " + everything + " for all")
	}
	var all []resourcev1.NotificationEvent
	for _, name := range names {
		e, err := enumFlag[resourcev1.NotificationEvent](name)
		if err != nil {
			return nil, fmt.Errorf("%w, %s", err, everything)
		}
		all = append(all, e)
	}
	return all, nil
}

// numbers are those of a list, from 1 on.
func numbers(list []uint, most uint) ([]uint32, error) {
	all := make([]uint32, 0, len(list))
	for _, n := range list {
		if n < 1 || n > most {
			return nil, fmt.Errorf("%d is not between 1 and %d", n, most)
		}
		all = append(all, uint32(n))
	}
	return all, nil
}

// testNotifierCommand sends an event that says that it is a test.
func testNotifierCommand(s *session, k kind) *cobra.Command {
	return &cobra.Command{
		Use:   "test NAME",
		Short: "Send an event that says that it is a test, and say what came of it",
		Long: `Send an event that says that it is a test, once, and say what came of it: what answered, or what is wrong. Fails when it
did not get there. notify is another word for notifier.`,
		Example:           "  fairway notify test oncall",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.notifiers.TestNotifier(ctx, &adminv1.TestNotifierRequest{Name: args[0]})
				if err != nil {
					return err
				}
				detail := visible(got.GetDetail()) // some of it may be what the other end says
				if err := s.emit(toPlain(got, true), func(w io.Writer) {
					if got.GetOk() {
						fmt.Fprintf(w, "%s (%s)\n", detail, got.GetTook().AsDuration().Round(time.Millisecond))
					}
				}); err != nil || got.GetOk() {
					return err
				}
				return fmt.Errorf("notifier %s: %s", args[0], detail)
			})
		},
	}
}
