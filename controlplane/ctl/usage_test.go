package ctl

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
)

// books are a server that has usage of two days; it answers a row a page.
type books struct {
	adminv1connect.UnimplementedUsageServiceHandler
	query      *adminv1.QueryUsageRequest
	correction *adminv1.CorrectUsageRequest
}

var daysOfUse = []*adminv1.UsageRow{
	{Day: timestamppb.New(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)), Model: "=cmd|x", Counters: &adminv1.UsageCounters{Requests: 1, InputTokens: 100, CostNanoUsd: 1_000_000_000}},
	{
		Day: timestamppb.New(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)), Model: "gpt-5\x1b[2J",
		Counters:  &adminv1.UsageCounters{Requests: 2, InputTokens: 200, OutputTokens: 7, CostNanoUsd: 4_000_000_000},
		Corrected: &adminv1.UsageCorrected{Corrections: 1, Counters: &adminv1.UsageCounters{CostNanoUsd: -5}},
	},
}

func (b *books) QueryUsage(_ context.Context, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	b.query = req
	res := &adminv1.QueryUsageResponse{
		Total:     &adminv1.UsageCounters{Requests: 3, InputTokens: 300, OutputTokens: 7, CostNanoUsd: 5_000_000_000},
		Corrected: &adminv1.UsageCorrected{Corrections: 1, Counters: &adminv1.UsageCounters{CostNanoUsd: -5}},
	}
	if req.GetPageToken() == "" {
		res.Rows, res.NextPageToken = daysOfUse[:1], "next"
		return res, nil
	}
	res.Rows = daysOfUse[1:]
	return res, nil
}

func (b *books) CorrectUsage(_ context.Context, req *adminv1.CorrectUsageRequest) (*adminv1.CorrectUsageResponse, error) {
	b.correction = req
	if req.GetReason() == "lost" {
		return nil, connect.NewError(connect.CodeUnavailable, "gone")
	}
	return &adminv1.CorrectUsageResponse{
		Correction: &adminv1.UsageCorrection{Id: req.GetId(), Key: req.GetKey(), Delta: req.GetDelta()}, Counters: &adminv1.UsageCounters{Requests: 1},
	}, nil
}

// fairway runs a command against the books.
func fairway(t *testing.T, b *books, args ...string) (string, error) {
	t.Helper()
	srv := connect.NewServer()
	adminv1connect.RegisterUsageServiceHandler(srv, b)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, srv)
	web := httptest.NewServer(mux)
	defer web.Close()
	var out bytes.Buffer
	root := &cobra.Command{Use: "fairway", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands(Options{In: strings.NewReader(""), Out: &out, Err: &out, Getenv: func(name string) string {
		return map[string]string{"FAIRWAY_SERVER": web.URL, "FAIRWAY_TOKEN": "token"}[name]
	}})...)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestUsageQuery(t *testing.T) {
	b := &books{}
	out, err := fairway(t, b, "usage", "query", "--by", "day,model", "--group", "g", "--from", "48h", "--top", "2", "--order", "tokens", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows  []map[string]any
		Total struct {
			Input_tokens, Cost_nano_usd int64
			Cost_usd                    string
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Rows) != 2 || got.Total.Cost_nano_usd != 5_000_000_000 || got.Total.Input_tokens != 300 {
		t.Errorf("%v: %s", err, out)
	}
	if got.Rows[0]["day"] != "2026-11-20" || got.Rows[1]["corrections"] != 1.0 {
		t.Errorf("rows = %v", got.Rows)
	}
	if b.query.GetTop() != 2 || b.query.GetOrderBy() != adminv1.UsageOrder_USAGE_ORDER_TOKENS || !cmp.Equal(b.query.GetGroups(), []string{"g"}) || len(b.query.GetGroupBy()) != 2 {
		t.Errorf("asked %v", b.query)
	}

	out, err = fairway(t, b, "usage", "query", "--group-by", "day,model", "-o", "csv")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(lines) != 3 || lines[1][1] != "'=cmd|x" || lines[2][1] != "gpt-5\ufffd[2J" || lines[2][len(lines[2])-2] != "4" {
		t.Errorf("%v: %s", err, out)
	}

	out, err = fairway(t, b, "usage", "query", "--by", "day,model")
	if err != nil || strings.ContainsRune(out, '\x1b') || !strings.Contains(out, "CORRECTED") || !strings.Contains(out, "-$0.000000005 (1)") {
		t.Errorf("%v: %s", err, out)
	}

	out, err = fairway(t, b, "usage", "query", "--by", "day", "--chart")
	want := "2026-11-20  ██████████  $1\n2026-11-21  " + strings.Repeat("█", 40) + "  $4\ncost, total: $5\n"
	if diff := cmp.Diff(want, out); err != nil || diff != "" || !b.query.GetFill() {
		t.Errorf("chart: %v (-want +got):\n%s", err, diff)
	}
	out, err = fairway(t, b, "usage", "query", "--by", "model,day", "--chart", "--order", "requests")
	want = "=cmd|x     ▅·  1\ngpt-5\ufffd[2J  ·█  2\nfrom 2026-11-20 to 2026-11-21\nrequests, total: 3\n"
	if diff := cmp.Diff(want, out); err != nil || diff != "" {
		t.Errorf("series: %v (-want +got):\n%s", err, diff)
	}
	for _, args := range [][]string{
		{"--by", "planet"}, {"--order", "size"}, {"-o", "xml"}, {"--chart", "-o", "json"}, {"--by", "key", "--group-by", "model"},
	} {
		if _, err := fairway(t, b, append([]string{"usage", "query"}, args...)...); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestUsageCorrect(t *testing.T) {
	b := &books{}
	args := []string{"usage", "correct", "--key", "ada", "--model", "m", "--hour", "2026-11-21T10:00:00Z", "--cost", "-0.25", "--input-tokens", "-10"}
	if _, err := fairway(t, b, append(args, "--reason", "retries", "-o", "json")...); err != nil {
		t.Fatal(err)
	}
	if d := b.correction.GetDelta(); d.GetCostNanoUsd() != -250_000_000 || d.GetInputTokens() != -10 || b.correction.GetId() == "" {
		t.Errorf("asked %v", b.correction)
	}
	// Of a lost answer the caller learns how to ask again.
	if _, err := fairway(t, b, append(args, "--reason", "lost")...); err == nil || !strings.Contains(err.Error(), "--id "+b.correction.GetId()) {
		t.Errorf("error = %v", err)
	}
	if _, err := fairway(t, b, args...); err == nil {
		t.Error("a correction without a reason was accepted")
	}
}

func TestUsageReconcile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bill.csv")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &books{}
	write("day,model,requests,cost\n2026-11-20,=cmd|x,1,1\n2026-11-21,gpt-5\x1b[2J,2,4.01\n")
	out, err := fairway(t, b, "usage", "reconcile", "--channel", "c", "--csv", file)
	if err != nil || !strings.Contains(out, "agrees: 2 days and models") || strings.ContainsRune(out, '\x1b') {
		t.Errorf("%v: %s", err, out)
	}
	if got := b.query.GetEndTime().AsTime(); !got.Equal(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)) || !cmp.Equal(b.query.GetChannels(), []string{"c"}) {
		t.Errorf("asked %v", b.query)
	}
	write("day,model,requests,cost\n2026-11-20,=cmd|x,1,1\n2026-11-21,other,2,4\n")
	out, err = fairway(t, b, "usage", "reconcile", "--account", "a", "--csv", file, "-o", "json")
	var got struct {
		Agrees bool
		Rows   []struct{ Model, Note string }
	}
	if jerr := json.Unmarshal([]byte(out), &got); jerr != nil || err == nil || got.Agrees || len(got.Rows) != 2 || got.Rows[1].Note != "only at the provider" {
		t.Errorf("%v, %v: %s", err, jerr, out)
	}
	out, err = fairway(t, b, "usage", "reconcile", "--account", "a", "--csv", file, "-o", "csv", "--all")
	if err == nil || !strings.Contains(out, "2026-11-20,'=cmd|x,requests,1,1,0,true,") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := fairway(t, b, "usage", "reconcile", "--csv", file); err == nil {
		t.Error("without channel and account it was accepted")
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"gpt-5": "gpt-5", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "  =1": "'  =1", "'x": "''x", "＝1": "'＝1", "": "", "a=b": "a=b", "\t=1": "\ufffd=1", "|x": "'|x",
	} {
		if got := harmless(in); got != want {
			t.Errorf("harmless(%q) = %q, want %q", in, got, want)
		}
	}
}
