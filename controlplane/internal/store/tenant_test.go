package store

import (
	"strconv"
	"testing"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// oldKey stores a key as it was stored before tenants were resources: any text for one, and nothing in the index.
func oldKey(t *testing.T, s *Store, endpoint, name, tenant string) *resourcev1.Key {
	t.Helper()
	k := create(t, s, &resourcev1.Key{Metadata: meta(t, s, name)})[0]
	k.Tenant = tenant
	value, err := encode(k)
	if err != nil {
		t.Fatal(err)
	}
	key := resourceKey(model.KindKey, k.GetMetadata().GetId())
	resp, err := etcdtest.Client(t, endpoint).Put(soon(t), key, string(value))
	if err != nil {
		t.Fatal(err)
	}
	return at(k, resp.Header.GetRevision())
}

func TestKeyOfAnOldTenant(t *testing.T) {
	const old = "Acme / Sons"
	for name, followed := range map[string]bool{"with a copy": true, "without a copy": false} {
		t.Run(name, func(t *testing.T) {
			endpoint := etcdtest.New(t)
			s := open(t, endpoint)
			if followed {
				follow(t, s)
			}
			before := etcdtest.Dump(t, endpoint)
			team := create(t, s, &resourcev1.Tenant{Metadata: meta(t, s, "team")})[0]

			k := oldKey(t, s, endpoint, "a", old)
			put := update(k, func(k *resourcev1.Key) { k.Disabled = true })
			k = at(put.Resource.(*resourcev1.Key), commit(t, s, Write{Puts: []Put{put}}))
			commit(t, s, Write{Deletes: []Delete{{Resource: k}}})

			k = oldKey(t, s, endpoint, "b", old)
			_, err := s.Commit(soon(t), Write{Puts: []Put{update(k, func(k *resourcev1.Key) { k.Tenant = "other" })}})
			wantFault(t, err, fault.Invalid, "")
			_, err = s.Commit(soon(t), Write{Puts: []Put{
				update(k, func(*resourcev1.Key) {}), {Resource: &resourcev1.Key{Metadata: meta(t, s, "new"), Tenant: old}},
			}})
			wantFault(t, err, fault.Invalid, "")
			put = update(k, func(k *resourcev1.Key) { k.Tenant = "team" })
			k = at(put.Resource.(*resourcev1.Key), commit(t, s, Write{Puts: []Put{put}}))
			_, err = s.Commit(soon(t), Write{Deletes: []Delete{{Resource: team}}})
			wantFault(t, err, fault.Stale, model.CodeInUse)
			commit(t, s, Write{Deletes: []Delete{{Resource: k}}})
			commit(t, s, Write{Deletes: []Delete{{Resource: team}}})

			for key := range etcdtest.Dump(t, endpoint) {
				if _, ok := before[key]; !ok && !isAudit(key) {
					t.Errorf("left behind: %s", key)
				}
			}
		})
	}
}

// The tenant comes while an old key is written by a replica whose copy does not show it yet: the key is in the index
// from then on.
func TestOldTenantIsBornMeanwhile(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, other := open(t, endpoint), open(t, endpoint)
	k := oldKey(t, s, endpoint, "k", "acme")
	rec := follow(t, s)
	rec.stop() // From here on the copy is old.
	w := Write{Actor: tester, Puts: []Put{update(k, func(k *resourcev1.Key) { k.Disabled = true })}}
	p, err := s.plan(soon(t), w)
	if err != nil {
		t.Fatal(err)
	}
	acme := create(t, other, &resourcev1.Tenant{Metadata: meta(t, other, "acme")})[0]
	resp, err := s.client.Txn(soon(t)).If(p.cmps...).Then(p.ops...).Else(p.reads...).Commit()
	if err != nil || resp.Succeeded {
		t.Fatalf("a plan from before the tenant: %v, %v", resp.Succeeded, err)
	}
	if revision, err := p.verdict(resp.Responses); revision != 0 || err != nil {
		t.Fatalf("verdict %d, %v, want another plan", revision, err)
	}
	commit(t, s, w)
	_, err = other.Commit(soon(t), Write{Deletes: []Delete{{Resource: acme}}})
	wantFault(t, err, fault.Stale, model.CodeInUse)
}

// The longest lists that the .proto files allow fit one transaction.
func TestTheLongestReferencesFit(t *testing.T) {
	s := open(t, etcdtest.New(t))
	create(t, s, channel(t, s, "c"))
	create(t, s, &resourcev1.Tenant{Metadata: meta(t, s, "team")})
	tenant := &resourcev1.Tenant{Metadata: meta(t, s, "t"), Parent: "team"}
	key := &resourcev1.Key{Metadata: meta(t, s, "k"), Tenant: "t"}
	var w Write
	for i := range 100 {
		name := strconv.Itoa(i)
		w.Puts = append(w.Puts, Put{Resource: group(t, s, name)})
		tenant.Groups = append(tenant.Groups, name)
		if i < 64 {
			w.Puts = append(w.Puts, Put{Resource: account(t, s, name, "c")})
			key.Accounts = append(key.Accounts, name)
		}
		if len(w.Puts) >= 20 || i == 99 {
			commit(t, s, w)
			w = Write{}
		}
	}
	made := create(t, s, tenant)[0]
	k := create(t, s, key)[0]
	commit(t, s, Write{Deletes: []Delete{{Resource: k}}})
	commit(t, s, Write{Deletes: []Delete{{Resource: made}}})
}
