package model

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestHealth(t *testing.T) {
	const closed, open = resourcev1.HealthState_HEALTH_STATE_CLOSED, resourcev1.HealthState_HEALTH_STATE_OPEN
	const tried, out = resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, resourcev1.HealthState_HEALTH_STATE_DISABLED
	began, now := timestamppb.New(time.Unix(100, 0)), time.Unix(200, 0)
	due, later := timestamppb.New(now), timestamppb.New(now.Add(time.Nanosecond))
	tests := []struct {
		name     string
		disabled bool
		verdict  *resourcev1.AccountHealth // nil = none
		want     *resourcev1.AccountHealth
	}{
		{"nothing was ever decided", false, nil, &resourcev1.AccountHealth{State: closed}},
		{"an empty verdict", false, &resourcev1.AccountHealth{}, &resourcev1.AccountHealth{State: closed}},
		{
			"serves again", false, &resourcev1.AccountHealth{State: closed, Reason: "recovered", Since: began},
			&resourcev1.AccountHealth{State: closed, Reason: "recovered", Since: began},
		},
		{
			"rests", false, &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Since: began, Until: later, Opens: 2, Ordered: true},
			&resourcev1.AccountHealth{State: open, Reason: "rate_limit", Since: began, Until: later, Opens: 2, Ordered: true},
		},
		{
			"rests until this moment", false, &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Since: began, Until: due, Opens: 2, Ordered: true},
			&resourcev1.AccountHealth{State: tried, Reason: "rate_limit", Since: due, Opens: 2},
		},
		{
			"rests without an end", false, &resourcev1.AccountHealth{State: open, Since: began},
			&resourcev1.AccountHealth{State: open, Since: began},
		},
		{
			"out by a verdict, whatever its end", false, &resourcev1.AccountHealth{State: out, Reason: "credential", Until: began},
			&resourcev1.AccountHealth{State: out, Reason: "credential", Until: began},
		},
		{
			"an operator has the last word", true, &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Since: began, Until: later},
			&resourcev1.AccountHealth{State: out, Reason: ReasonOperator},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &resourcev1.Account{Metadata: md("a", "name"), Disabled: tt.disabled}
			rs := []Resource{a}
			if tt.verdict != nil {
				rs = append(rs, &resourcev1.Verdict{Metadata: md("a", "a"), Health: tt.verdict})
			}
			before := proto.Clone(tt.verdict)
			got := Health(state(rs...), a, now)
			if d := cmp.Diff(tt.want, got, protocmp.Transform()); d != "" {
				t.Error(d)
			}
			got.Reason = "written to"
			if tt.verdict != nil && !proto.Equal(before, tt.verdict) {
				t.Error("the stored verdict was written to")
			}
		})
	}
}
