package admin

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestCreateFillsDefaultsAndIgnoresWhatIsNotTheCallers(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	in := goodChannel("c1")
	in.Metadata.Id, in.Metadata.Etag = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "77"
	in.Metadata.CreateTime = &timestamppb.Timestamp{Seconds: 1}
	res, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{Channel: in})
	if err != nil {
		t.Fatal(err)
	}
	got := res.GetChannel()
	m := got.GetMetadata()
	if len(m.GetId()) != 26 || m.GetId() == in.GetMetadata().GetId() || m.GetCreateTime().GetSeconds() < 1_600_000_000 {
		t.Errorf("metadata was taken from the request: %v", m)
	}
	if m.GetEtag() != fmt.Sprint(res.GetRevision()) {
		t.Errorf("etag %q, revision %d: a new resource's etag is the revision that made it", m.GetEtag(), res.GetRevision())
	}
	if got.GetWeight() != 100 || got.GetPriceRatioPpm() != 1_000_000 || !cmp.Equal(got.GetGroups(), []string{"default"}) ||
		got.GetTimeouts().GetFirstByte().GetSeconds() != 300 {
		t.Errorf("defaults are missing: %v", got)
	}
	again, err := c.channels.GetChannel(t.Context(), &adminv1.GetChannelRequest{Name: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again.GetChannel(), protocmp.Transform()); diff != "" {
		t.Errorf("Create showed something else than Get (-create +get):\n%s", diff)
	}
}

// A sealed form that a request brings along could be another account's, copied from a backup.
func TestCreateTakesNoSealedForm(t *testing.T) {
	w := newWorld(t)
	forged := &resourcev1.Secret{Fingerprint: "f0f0f0f0", Sealed: &resourcev1.SealedValue{KeyId: "k", Ciphertext: []byte("forged")}}
	w.channel("c1", &resourcev1.Account{Metadata: named("a1"), Secret: forged})
	if _, err := w.as(w.owner).accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("a2"), Channel: "c1", Secret: forged},
	}); err != nil {
		t.Fatal(err)
	}
	for r := range w.store.State().All(model.KindAccount) {
		if a, ok := r.(*resourcev1.Account); !ok || a.GetSecret() != nil {
			t.Errorf("stored %v", r)
		}
	}
}

// What was just written is in the next list, in the same replica, every time.
func TestReadYourWrites(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	for i := range 50 {
		name := fmt.Sprintf("g%02d", i)
		created, err := c.groups.CreateGroup(t.Context(), &adminv1.CreateGroupRequest{Group: &resourcev1.Group{Metadata: named(name)}})
		if err != nil {
			t.Fatal(err)
		}
		listed, err := c.groups.ListGroups(t.Context(), &adminv1.ListGroupsRequest{OrderBy: "metadata.create_time desc", PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		if listed.GetRevision() < created.GetRevision() || listed.GetGroups()[0].GetMetadata().GetName() != name {
			t.Fatalf("list at revision %d does not show what revision %d made", listed.GetRevision(), created.GetRevision())
		}
		if _, err := c.groups.DeleteGroup(t.Context(), &adminv1.DeleteGroupRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.groups.GetGroup(t.Context(), &adminv1.GetGroupRequest{Name: name}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Fatalf("get of what was deleted: %v", err)
		}
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	made := w.channel("c1")
	get := func() *resourcev1.Channel {
		t.Helper()
		res, err := c.channels.GetChannel(t.Context(), &adminv1.GetChannelRequest{Name: "c1"})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetChannel()
	}
	update := func(in *resourcev1.Channel, paths ...string) (*adminv1.UpdateChannelResponse, error) {
		return c.channels.UpdateChannel(t.Context(), &adminv1.UpdateChannelRequest{Channel: in, UpdateMask: mask(paths...)})
	}

	res, err := update(&resourcev1.Channel{Metadata: named("c1"), Priority: 7, Weight: 9}, "priority")
	if err != nil {
		t.Fatal(err)
	}
	if got := get(); got.GetPriority() != 7 || got.GetWeight() != 100 || got.GetMetadata().GetEtag() != fmt.Sprint(res.GetRevision()) ||
		!got.GetMetadata().GetUpdateTime().AsTime().After(made.GetMetadata().GetCreateTime().AsTime()) {
		t.Errorf("after the update: %v", got)
	}

	// The etag of before is stale, and everything is as it was.
	_, err = update(&resourcev1.Channel{Metadata: made.GetMetadata(), Priority: 8}, "priority")
	wantCode(t, err, connect.CodeFailedPrecondition)
	if current := currentEtag(t, err); current != get().GetMetadata().GetEtag() {
		t.Errorf("the detail names the etag %q", current)
	}
	// With the one from the detail it works.
	if _, err := update(&resourcev1.Channel{Metadata: &resourcev1.Metadata{Name: "c1", Etag: currentEtag(t, err)}, Priority: 8}, "priority"); err != nil {
		t.Errorf("with the current etag: %v", err)
	}

	// The merged result is checked, not what the mask named.
	_, err = update(&resourcev1.Channel{Metadata: named("c1"), BaseUrl: "https://user:pw@llm.example"}, "base_url")
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "base_url") || strings.Contains(m, "pw") {
		t.Errorf("message %q", m)
	}
	_, err = update(&resourcev1.Channel{Metadata: named("c1")}, "models")
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = update(&resourcev1.Channel{Metadata: named("c1"), Groups: []string{"none"}}, "groups")
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = update(&resourcev1.Channel{Metadata: named("c1"), Timeouts: &resourcev1.Timeouts{Dial: durationpb.New(-1)}}, "timeouts.dial")
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "channel.timeouts.dial") {
		t.Errorf("message %q does not name the field", m)
	}

	// What changes nothing is no change: same etag, nothing in the audit.
	before := get()
	if res, err := update(before); err != nil || res.GetChannel().GetMetadata().GetEtag() != before.GetMetadata().GetEtag() {
		t.Errorf("an update that changes nothing: %v, %v", res, err)
	}
	// A field that is cleared gets its default again.
	if res, err := update(&resourcev1.Channel{Metadata: named("c1")}, "weight"); err != nil || res.GetChannel().GetWeight() != 100 {
		t.Errorf("weight cleared: %v, %v", res, err)
	}
	// By id it is found too; the name stays what it is.
	if res, err := update(&resourcev1.Channel{Metadata: named(before.GetMetadata().GetId()), Priority: 3}, "priority"); err != nil ||
		res.GetChannel().GetMetadata().GetName() != "c1" {
		t.Errorf("update by id: %v, %v", res, err)
	}
	_, err = update(&resourcev1.Channel{Metadata: named("none"), Priority: 3}, "priority")
	wantCode(t, err, connect.CodeNotFound)

	audit, err := c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{Kind: "channel", ResourceName: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, r := range audit.GetRecords() {
		if r.GetOperator() != FirstOwner || r.GetRequestId() == "" || !strings.HasPrefix(r.GetProcedure(), "/fairway.admin.v1.ChannelService/") {
			t.Errorf("audit record %v", r)
		}
		changes = append(changes, fmt.Sprint(r.GetAction(), r.GetChangedFields()))
	}
	want := []string{"ACTION_UPDATE [priority]", "ACTION_UPDATE [priority]", "ACTION_UPDATE [priority]", "ACTION_CREATE []"}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// Of many who saw the same etag exactly one writes, and the audit shows exactly that one; without etags all of them do.
func TestConcurrentUpdates(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	made := w.channel("c1")
	const writers = 100
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		won   []int32
		stale int
	)
	for i := range int32(writers) {
		wg.Go(func() {
			_, err := c.channels.UpdateChannel(t.Context(), &adminv1.UpdateChannelRequest{
				Channel: &resourcev1.Channel{Metadata: made.GetMetadata(), Priority: i + 1}, UpdateMask: mask("priority"),
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, i+1)
			case connect.CodeOf(err) == connect.CodeFailedPrecondition && currentEtag(t, err) != "":
				stale++
			default:
				t.Errorf("update: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := c.channels.GetChannel(t.Context(), &adminv1.GetChannelRequest{Name: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(won) != 1 || stale != writers-1 || got.GetChannel().GetPriority() != won[0] {
		t.Errorf("%d won, %d were stale, priority is %d; want one winner, whose priority it is", len(won), stale, got.GetChannel().GetPriority())
	}

	const free = 20
	for i := range free {
		wg.Go(func() {
			label := map[string]string{fmt.Sprint("w", i): "x"}
			_, err := c.channels.UpdateChannel(t.Context(), &adminv1.UpdateChannelRequest{
				Channel: &resourcev1.Channel{Metadata: &resourcev1.Metadata{Name: "c1", Labels: label}}, UpdateMask: mask("metadata.labels"),
			})
			if err != nil {
				t.Errorf("update without an etag: %v", err)
			}
		})
	}
	wg.Wait()
	audit, err := c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{Kind: "channel", PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(audit.GetRecords()); n != 1+1+free {
		t.Errorf("the audit shows %d changes, want %d", n, 1+1+free)
	}
}

func TestCreateChannelWithAccountsIsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	res, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{
		Channel:  goodChannel("c1"),
		Accounts: []*resourcev1.Account{{Metadata: named("a1")}, {Metadata: named("a2"), Channel: "c1", Weight: 7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range res.GetAccounts() {
		if a.GetChannel() != "c1" || a.GetMetadata().GetEtag() != fmt.Sprint(res.GetRevision()) || a.GetWeight() == 0 {
			t.Errorf("account %d is %v", i, a)
		}
	}
	for _, tt := range []struct {
		name     string
		accounts []*resourcev1.Account
		code     connect.Code
		want     string
	}{
		{"taken name", []*resourcev1.Account{{Metadata: named("b1")}, {Metadata: named("a1")}}, connect.CodeAlreadyExists, "a1"},
		{"one name twice", []*resourcev1.Account{{Metadata: named("b1")}, {Metadata: named("b1")}}, connect.CodeInvalidArgument, ""},
		{"another channel", []*resourcev1.Account{{Metadata: named("b1"), Channel: "c1"}}, connect.CodeInvalidArgument, "accounts[0].channel"},
		{"no name", []*resourcev1.Account{{Metadata: named("b1")}, {}}, connect.CodeInvalidArgument, "accounts[1].metadata"},
		{"a broken rule", []*resourcev1.Account{{Metadata: named("b1"), Weight: 1e6}}, connect.CodeInvalidArgument, "accounts[0].weight"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{Channel: goodChannel("c2"), Accounts: tt.accounts})
			if m := wantCode(t, err, tt.code); !strings.Contains(m, tt.want) {
				t.Errorf("message %q, want %q in it", m, tt.want)
			}
			if _, err := c.channels.GetChannel(t.Context(), &adminv1.GetChannelRequest{Name: "c2"}); connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("the channel is there: %v", err)
			}
			if _, err := c.accounts.GetAccount(t.Context(), &adminv1.GetAccountRequest{Name: "b1"}); connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("its first account is there: %v", err)
			}
		})
	}
}

func TestDeleteChannel(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	w.channel("c1")
	const accounts = 2*cascadeBatch + 5
	for i := range accounts {
		_, err := c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
			Account: &resourcev1.Account{Metadata: named(fmt.Sprint("a", i)), Channel: "c1"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.channel("c2", &resourcev1.Account{Metadata: named("other")})

	_, err := c.channels.DeleteChannel(t.Context(), &adminv1.DeleteChannelRequest{Name: "c1"})
	if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, "in use") {
		t.Errorf("message %q", m)
	}
	_, err = c.channels.DeleteChannel(t.Context(), &adminv1.DeleteChannelRequest{Name: "c1", Cascade: true, Etag: "1"})
	wantCode(t, err, connect.CodeFailedPrecondition)
	if n := w.store.State().Len(model.KindAccount); n != accounts+1 {
		t.Fatalf("a cascade with a stale etag deleted %d accounts", accounts+1-n)
	}

	// Accounts that come while it goes are deleted too, or come too late and find no channel.
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, err := c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
				Account: &resourcev1.Account{Metadata: named(fmt.Sprint("late", i)), Channel: "c1"},
			})
			if err != nil && connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("a late account: %v", err)
			}
		})
	}
	res, err := c.channels.DeleteChannel(t.Context(), &adminv1.DeleteChannelRequest{Name: "c1", Cascade: true})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.WaitRevision(t.Context(), res.GetRevision()); err != nil {
		t.Fatal(err)
	}
	listed, err := c.accounts.ListAccounts(t.Context(), &adminv1.ListAccountsRequest{})
	if err != nil || len(listed.GetAccounts()) != 1 || listed.GetAccounts()[0].GetMetadata().GetName() != "other" {
		t.Errorf("left over: %v, %v", listed.GetAccounts(), err)
	}
	if _, err := c.channels.GetChannel(t.Context(), &adminv1.GetChannelRequest{Name: "c1"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("the channel is there: %v", err)
	}
}

func TestDeleteGuards(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	_, err := c.groups.DeleteGroup(t.Context(), &adminv1.DeleteGroupRequest{Name: "default"})
	wantCode(t, err, connect.CodeFailedPrecondition)
	if _, err := c.groups.CreateGroup(t.Context(), &adminv1.CreateGroupRequest{Group: &resourcev1.Group{Metadata: named("vip")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("k"), Group: "vip"}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.groups.DeleteGroup(t.Context(), &adminv1.DeleteGroupRequest{Name: "vip"})
	if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, `key "k"`) {
		t.Errorf("message %q does not say what uses it", m)
	}
	_, err = c.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "k", Etag: "1"})
	wantCode(t, err, connect.CodeFailedPrecondition)
	if _, err = c.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "k", Etag: currentEtag(t, err)}); err != nil {
		t.Errorf("delete with the current etag: %v", err)
	}
	if _, err = c.groups.DeleteGroup(t.Context(), &adminv1.DeleteGroupRequest{Name: "vip"}); err != nil {
		t.Errorf("delete of what nothing uses any more: %v", err)
	}
	_, err = c.groups.DeleteGroup(t.Context(), &adminv1.DeleteGroupRequest{Name: "vip"})
	wantCode(t, err, connect.CodeNotFound)
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	got, err := c.settings.GetSettings(t.Context(), &adminv1.GetSettingsRequest{})
	if err != nil || got.GetSettings().GetRetry().GetMaxAttempts() != 3 {
		t.Fatalf("settings = %v, %v", got, err)
	}
	res, err := c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{
		Settings: &resourcev1.Settings{Retry: &resourcev1.RetryPolicy{MaxAttempts: 5}}, UpdateMask: mask("retry.max_attempts"),
	})
	if err != nil || res.GetSettings().GetRetry().GetMaxAttempts() != 5 || res.GetSettings().GetRetry().GetBudgetPercent() != 20 {
		t.Fatalf("updated = %v, %v", res, err)
	}
	_, err = c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{Settings: &resourcev1.Settings{Metadata: named("other")}})
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{})
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = c.settings.UpdateSettings(t.Context(), &adminv1.UpdateSettingsRequest{
		Settings: &resourcev1.Settings{Metadata: got.GetSettings().GetMetadata()},
	})
	if currentEtag(t, err) != res.GetSettings().GetMetadata().GetEtag() {
		t.Errorf("a stale etag: %v", err)
	}
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	for i := range 7 {
		_, err := c.models.CreateModel(t.Context(), &adminv1.CreateModelRequest{
			Model: &resourcev1.Model{Metadata: named(fmt.Sprint("m", i)), Prices: &resourcev1.Prices{Input: int64(i % 3)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	req := &adminv1.ListModelsRequest{PageSize: 3, OrderBy: "prices.input desc", Filter: "model.prices.input > 0"}
	var names []string
	for {
		res, err := c.models.ListModels(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if res.GetTotalSize() != 4 {
			t.Errorf("total_size = %d, want 4", res.GetTotalSize())
		}
		for _, m := range res.GetModels() {
			names = append(names, m.GetMetadata().GetName())
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
		for _, other := range []*adminv1.ListModelsRequest{
			{PageToken: req.PageToken},
			{PageToken: req.PageToken, OrderBy: req.OrderBy},
			{PageToken: req.PageToken, Filter: req.Filter},
		} {
			_, err := c.models.ListModels(t.Context(), other)
			if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "page_token") {
				t.Errorf("message %q", m)
			}
		}
		_, err = c.groups.ListGroups(t.Context(), &adminv1.ListGroupsRequest{PageToken: req.PageToken})
		wantCode(t, err, connect.CodeInvalidArgument)
	}
	if diff := cmp.Diff([]string{"m5", "m2", "m4", "m1"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	first, err := c.models.ListModels(t.Context(), &adminv1.ListModelsRequest{PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	cur, err := parseCursor(first.GetNextPageToken())
	if err != nil {
		t.Fatal(err)
	}
	// A page of a replica that is ahead: this one catches up before it answers.
	ahead := cur
	ahead.revision = first.GetRevision() + 1
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.models.CreateModel(t.Context(), &adminv1.CreateModelRequest{Model: &resourcev1.Model{Metadata: named("n")}}); err != nil {
			t.Errorf("create: %v", err)
		}
	})
	next, err := c.models.ListModels(t.Context(), &adminv1.ListModelsRequest{PageSize: 2, PageToken: ahead.encode()})
	wg.Wait()
	if err != nil || next.GetRevision() < ahead.revision || next.GetModels()[0].GetMetadata().GetName() != "m2" {
		t.Errorf("the page after one of a later revision: %v, %v", next, err)
	}
	cur.lineage = "another"
	_, err = c.models.ListModels(t.Context(), &adminv1.ListModelsRequest{PageSize: 2, PageToken: cur.encode()})
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "replaced") {
		t.Errorf("a token of another lineage: %q", m)
	}
}

func TestFleetAndUsageAndDiagnostics(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	status, err := c.fleet.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if err != nil || status.GetLineage() != w.store.Lineage() || status.GetRevision() == 0 || len(status.GetProxies()) != 1 ||
		len(status.GetUnreachableReplicas()) != 1 {
		t.Errorf("status = %v, %v", status, err)
	}
	var waits []string
	w.fleet.waited = func(revision int64, timeout time.Duration) { waits = append(waits, fmt.Sprint(revision, timeout)) }
	for _, req := range []*adminv1.WaitForRevisionRequest{{Revision: 3}, {Revision: 4, Timeout: durationpb.New(0)}, {Revision: 5, Timeout: durationpb.New(time.Second)}} {
		if res, err := c.fleet.WaitForRevision(t.Context(), req); err != nil || !res.GetApplied() {
			t.Errorf("wait = %v, %v", res, err)
		}
	}
	if diff := cmp.Diff([]string{"3 10s", "4 0s", "5 1s"}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	for _, req := range []*adminv1.WaitForRevisionRequest{{}, {Revision: 1, Timeout: durationpb.New(time.Hour)}, {Revision: 1, Timeout: durationpb.New(-1)}} {
		_, err := c.fleet.WaitForRevision(t.Context(), req)
		wantCode(t, err, connect.CodeInvalidArgument)
	}

	token, err := c.fleet.CreateJoinToken(t.Context(), &adminv1.CreateJoinTokenRequest{})
	if err != nil || token.GetToken() == "" || token.GetJoinToken().GetMaxUses() != 1 || token.GetJoinToken().GetId() != "j1h0m0s" {
		t.Errorf("join token = %v, %v", token, err)
	}
	if want := (store.Actor{Operator: FirstOwner, Procedure: "/fairway.admin.v1.FleetService/CreateJoinToken", RequestID: w.tokens.actors[0].RequestID}); w.tokens.actors[0] != want || want.RequestID == "" {
		t.Errorf("actor = %+v", w.tokens.actors[0])
	}
	_, err = c.fleet.DeleteJoinToken(t.Context(), &adminv1.DeleteJoinTokenRequest{Id: "none"})
	wantCode(t, err, connect.CodeNotFound)

	if res, err := c.usage.QueryUsage(t.Context(), &adminv1.QueryUsageRequest{}); err != nil || res.GetTotal().GetRequests() != 1 {
		t.Errorf("usage = %v, %v", res, err)
	}
	correction := &adminv1.CorrectUsageRequest{
		Hour: timestamppb.Now(), Key: "k", Model: "m", Delta: &adminv1.UsageDelta{Requests: -1}, Reason: "because",
	}
	if res, err := c.usage.CorrectUsage(t.Context(), correction); err != nil || res.GetCorrection().GetDelta().GetRequests() != -1 {
		t.Errorf("correct = %v, %v", res, err)
	}
	if a := w.usage.corrector; a.Operator != FirstOwner || a.RequestID == "" || !strings.HasSuffix(a.Procedure, "/CorrectUsage") {
		t.Errorf("corrected as %+v", a)
	}
	correction.Reason = ""
	_, err = c.usage.CorrectUsage(t.Context(), correction)
	wantCode(t, err, connect.CodeInvalidArgument)
	if res, err := c.usage.ListUsageCorrections(t.Context(), &adminv1.ListUsageCorrectionsRequest{}); err != nil || len(res.GetCorrections()) != 1 {
		t.Errorf("corrections = %v, %v", res, err)
	}
	_, err = c.usage.QueryUsage(t.Context(), &adminv1.QueryUsageRequest{StartTime: &timestamppb.Timestamp{Nanos: -1}})
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{EndTime: &timestamppb.Timestamp{Nanos: -1}})
	wantCode(t, err, connect.CodeInvalidArgument)

	w.channel("c1", &resourcev1.Account{Metadata: named("a1")})
	key, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("k")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"k", key.GetKey().GetMetadata().GetId()} {
		res, err := c.diagnostics.Explain(t.Context(), &adminv1.ExplainRequest{Key: name, Model: "m"})
		if err != nil || !res.GetServed() || res.GetCandidates()[0].GetAccount() != "a1" {
			t.Errorf("explain by %q = %v, %v", name, res, err)
		}
	}
	_, err = c.diagnostics.Explain(t.Context(), &adminv1.ExplainRequest{Key: "none", Model: "m"})
	wantCode(t, err, connect.CodeNotFound)
}
