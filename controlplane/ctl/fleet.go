package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// statusCommand shows both planes: who is there, at which revision, how far behind.
func statusCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Both planes: replicas, proxies, revisions, lag",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.fleet.GetStatus(ctx, &adminv1.GetStatusRequest{})
				if err != nil {
					return err
				}
				return s.emit(statusPlain(got), func(w io.Writer) { statusText(w, got) })
			})
		},
	}
}

// statusPlain adds what a script would compute: who is behind, and whether all is well.
func statusPlain(got *adminv1.GetStatusResponse) any {
	plain := toPlain(got, true).(map[string]any)
	proxies := make([]any, 0, len(got.GetProxies()))
	for _, p := range got.GetProxies() {
		m := toPlain(p, true).(map[string]any)
		m["behind"] = max(0, got.GetRevision()-p.GetRevision())
		proxies = append(proxies, m)
	}
	plain["proxies"] = proxies
	plain["healthy"] = healthy(got)
	return plain
}

// healthy: every replica answers, every proxy holds the newest revision and compiled all of it.
func healthy(got *adminv1.GetStatusResponse) bool {
	for _, p := range got.GetProxies() {
		if p.GetRevision() < got.GetRevision() || len(p.GetRejections()) > 0 {
			return false
		}
	}
	return len(got.GetUnreachableReplicas()) == 0
}

func statusText(w io.Writer, got *adminv1.GetStatusResponse) {
	verdict := "healthy"
	if !healthy(got) {
		verdict = "not healthy"
	}
	fmt.Fprintf(w, "%s: revision %d of lineage %s\n\n", verdict, got.GetRevision(), got.GetLineage())
	rows := make([][]string, 0, len(got.GetReplicas()))
	for _, r := range got.GetReplicas() {
		role := ""
		if r.GetLeader() {
			role = "leader"
		}
		rows = append(rows, []string{r.GetId(), r.GetVersion(), r.GetAdminAddress(), r.GetSyncAddress(), when(r.GetStartTime()), role})
	}
	grid(w, []string{"replica", "version", "admin", "sync", "since", ""}, rows)
	for _, r := range got.GetUnreachableReplicas() {
		fmt.Fprintf(w, "replica %s does not answer; its proxies are not shown\n", r)
	}
	fmt.Fprintln(w)
	rows = rows[:0]
	for _, p := range got.GetProxies() {
		note := ""
		if n := len(p.GetRejections()); n > 0 {
			note = fmt.Sprintf("%d rejected", n)
		}
		rows = append(rows, []string{p.GetId(), p.GetHostname(), p.GetVersion(), strconv.FormatInt(p.GetRevision(), 10),
			strconv.FormatInt(max(0, got.GetRevision()-p.GetRevision()), 10), p.GetApplyLag().AsDuration().Round(10 * time.Microsecond).String(),
			when(p.GetConnectTime()), note})
	}
	grid(w, []string{"proxy", "host", "version", "revision", "behind", "apply lag", "connected", ""}, rows)
	for _, p := range got.GetProxies() {
		for _, r := range p.GetRejections() {
			fmt.Fprintf(w, "proxy %s rejected %s %s: %s\n", p.GetId(), r.GetKind(), r.GetName(), r.GetReason())
		}
	}
}

// proxyCommand lists proxies and manages the tokens with which new ones join.
func proxyCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "proxy", Short: "Proxies, and the tokens with which they join", Args: cobra.NoArgs, RunE: showHelp}
	list := statusCommand(s)
	list.Use, list.Aliases, list.Short = "list", []string{"ls"}, "List proxies (as fairway status)"
	token := &cobra.Command{Use: "token", Short: "Join tokens", Args: cobra.NoArgs, RunE: showHelp}
	token.AddCommand(createTokenCommand(s), listTokensCommand(s), deleteTokenCommand(s))
	c.AddCommand(list, token)
	return c
}

func createTokenCommand(s *session) *cobra.Command {
	var ttl time.Duration
	var uses int32
	c := &cobra.Command{
		Use:     "create",
		Short:   "Create a join token: short-lived, for a limited number of proxies",
		Example: "  fairway proxy token create --ttl 1h --uses 3 > join.token",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.fleet.CreateJoinToken(ctx, &adminv1.CreateJoinTokenRequest{Ttl: durationpb.New(ttl), MaxUses: uses})
				if err != nil {
					return err
				}
				plain := map[string]any{"token": got.GetToken(), "join_token": toPlain(got.GetJoinToken(), false)}
				return s.emit(plain, func(w io.Writer) {
					fmt.Fprintln(w, got.GetToken())
					fmt.Fprintf(s.o.Err, "Good for %d proxies until %s. It is shown this once.\n",
						got.GetJoinToken().GetMaxUses(), when(got.GetJoinToken().GetExpireTime()))
				})
			})
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it can be used, 1m to 168h")
	c.Flags().Int32Var(&uses, "uses", 1, "how many proxies can join with it")
	return c
}

func listTokensCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List join tokens",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.fleet.ListJoinTokens(ctx, &adminv1.ListJoinTokensRequest{})
				if err != nil {
					return err
				}
				plain := make([]any, 0, len(got.GetJoinTokens()))
				rows := make([][]string, 0, len(got.GetJoinTokens()))
				for _, t := range got.GetJoinTokens() {
					plain = append(plain, toPlain(t, true))
					limit := "no limit"
					if t.GetMaxUses() > 0 {
						limit = strconv.Itoa(int(t.GetMaxUses()))
					}
					expires := "never"
					if t.GetExpireTime() != nil {
						expires = when(t.GetExpireTime())
					}
					rows = append(rows, []string{t.GetId(), expires, strconv.Itoa(int(t.GetUses())), limit, t.GetCreatedBy()})
				}
				return s.emit(plain, func(w io.Writer) { grid(w, []string{"id", "expires", "uses", "max uses", "created by"}, rows) })
			})
		},
	}
}

func deleteTokenCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Aliases: []string{"rm"},
		Short:   "Make a join token useless; proxies that joined with it stay",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				if _, err := c.fleet.DeleteJoinToken(ctx, &adminv1.DeleteJoinTokenRequest{Id: args[0]}); err != nil {
					return err
				}
				return s.emit(map[string]any{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "join token %s deleted\n", args[0]) })
			})
		},
	}
}
