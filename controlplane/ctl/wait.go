package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// bindWait adds --wait to a command that changes something.
func (s *session) bindWait(c *cobra.Command) {
	c.Flags().BoolVar(&s.wait, "wait", false, "return only when every connected proxy has applied the change")
	c.Flags().DurationVar(&s.waitFor, "wait-timeout", 10*time.Second, "how long --wait waits")
}

// await returns when every proxy has applied the revision, if --wait was given.
func (s *session) await(ctx context.Context, c *clients, revision int64) error {
	if !s.wait || revision == 0 {
		return nil
	}
	got, err := c.fleet.WaitForRevision(ctx, &adminv1.WaitForRevisionRequest{
		Revision: revision,
		Timeout:  durationpb.New(s.waitFor),
	})
	if err != nil {
		return err
	}
	if got.GetApplied() {
		return nil
	}
	var who []string
	for _, p := range got.GetBehind() {
		who = append(who, fmt.Sprintf("proxy %s on %s is at revision %d", p.GetId(), dash(p.GetHostname()), p.GetRevision()))
	}
	for _, r := range got.GetUnreachableReplicas() {
		who = append(who, fmt.Sprintf("replica %s does not answer", r))
	}
	return fmt.Errorf("the change is stored as revision %d, but not applied everywhere after %s: %s",
		revision, s.waitFor, strings.Join(who, "; "))
}
