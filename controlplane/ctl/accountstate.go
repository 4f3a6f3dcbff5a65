package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// accountHealth is an account's state, why it is not closed, and how long until it is tried again. An account about which
// nothing was ever decided is closed.
func accountHealth(r *resourcev1.Account, now time.Time) (state, reason, until string) {
	h := r.GetHealth()
	switch {
	case r.GetDisabled():
		state, reason = "disabled", first(h.GetReason(), "operator")
		if h.GetState() != resourcev1.HealthState_HEALTH_STATE_DISABLED {
			reason = "operator" // what health says is older
		}
		return state, reason, "-"
	case h.GetState() == resourcev1.HealthState_HEALTH_STATE_UNSPECIFIED:
		state = "closed"
	default:
		state = enumName(h.GetState().Descriptor(), h.GetState().Number())
	}
	reason = h.GetReason()
	if r.GetUnschedulable() {
		reason = strings.TrimPrefix(reason+", unschedulable", ", ")
	}
	until = "-"
	if t := h.GetUntil(); t != nil && state == "open" {
		until = countdown(t.AsTime().Sub(now))
	}
	return state, dash(reason), until
}

// countdown is a span to the second.
func countdown(d time.Duration) string {
	if d <= 0 {
		return "now"
	}
	return (d + time.Second - 1).Truncate(time.Second).String()
}

// stateVerb is one of enable, disable and reset.
type stateVerb struct {
	name, done, short, long string
	call                    func(ctx context.Context, c *clients, name string) (*resourcev1.Account, int64, error)
}

func stateVerbs() []stateVerb {
	reset := func(enable bool) func(context.Context, *clients, string) (*resourcev1.Account, int64, error) {
		return func(ctx context.Context, c *clients, name string) (*resourcev1.Account, int64, error) {
			got, err := c.accounts.ResetAccount(ctx, &adminv1.ResetAccountRequest{Name: name, Enable: enable})
			return got.GetAccount(), got.GetRevision(), err
		}
	}
	return []stateVerb{
		{
			name: "enable", done: "enabled", short: "Let accounts serve again, with a clean slate",
			long: "Let accounts serve again: they are no longer disabled, and their breakers, rests and failures are forgotten in the whole fleet.",
			call: reset(true),
		},
		{
			name: "disable", done: "disabled", short: "Keep accounts from serving until they are enabled",
			long: "Keep accounts from serving until they are enabled. Requests under way are not cut.",
			call: func(ctx context.Context, c *clients, name string) (*resourcev1.Account, int64, error) {
				r := &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: name}, Disabled: true}
				got, revision, err := c.service(accounts()).update(ctx, r, []string{"disabled"})
				if err != nil {
					return nil, 0, err
				}
				return got.(*resourcev1.Account), revision, nil
			},
		},
		{
			name: "reset", done: "reset", short: "Close the breakers of accounts and end their rests",
			long: "Close the breakers of accounts, end their rests in the whole fleet and forget their failures. A disabled account stays disabled.",
			call: reset(false),
		},
	}
}

// stateCommands are the verbs that change how accounts are, for several accounts at once.
func stateCommands(s *session, k kind) []*cobra.Command {
	var cmds []*cobra.Command
	for _, v := range stateVerbs() {
		c := &cobra.Command{
			Use:               v.name + " NAME...",
			Short:             v.short,
			Long:              v.long + "\nWhat fails is named, and the others are done.",
			Example:           "  fairway account " + v.name + " openai-1 openai-2 --wait",
			Args:              cobra.MinimumNArgs(1),
			ValidArgsFunction: completeMore(s, k),
			RunE: func(cmd *cobra.Command, args []string) error {
				return s.call(cmd, func(ctx context.Context, c *clients) error { return s.changeStates(ctx, c, v, args) })
			},
		}
		s.bindWait(c)
		cmds = append(cmds, c)
	}
	return cmds
}

// changeStates goes through all names, each once, and waits for the last change.
func (s *session) changeStates(ctx context.Context, c *clients, v stateVerb, names []string) error {
	done := []any{} // an empty list, not null, where all fail
	var lines, failed []string
	var newest int64
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		got, revision, err := v.call(ctx, c, name)
		if err != nil {
			failed = append(failed, fmt.Sprintf("account %s: %v", name, plain(err)))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		newest = max(newest, revision)
		done = append(done, map[string]any{"name": got.GetMetadata().GetName(), "action": v.done, "revision": revision, "account": toPlain(got, false)})
		lines = append(lines, fmt.Sprintf("account %s %s", got.GetMetadata().GetName(), v.done))
	}
	if err := s.emit(done, func(w io.Writer) {
		for _, l := range lines {
			fmt.Fprintln(w, l)
		}
	}); err != nil {
		return err
	}
	if err := s.await(ctx, c, newest); err != nil {
		failed = append(failed, plain(err).Error())
	}
	if len(failed) == 0 {
		return nil
	}
	return errors.New(strings.Join(failed, "; ")) // one line, like every error
}
