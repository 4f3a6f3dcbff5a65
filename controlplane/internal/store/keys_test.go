package store

import (
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"fairway/controlplane/internal/model"
)

func FuzzParseResourceKey(f *testing.F) {
	for _, k := range model.Kinds() {
		f.Add(resourceKey(k, "01J"))
	}
	f.Add(resourcePrefix)
	f.Add(resourcePrefix + "channel/a/b")
	f.Add(resourcePrefix + "nothing/a")
	f.Add(lineageKey)
	f.Fuzz(func(t *testing.T, key string) {
		k, id, ok := parseResourceKey(key)
		if ok && resourceKey(k, id) != key {
			t.Errorf("%q became %s %q", key, k, id)
		}
	})
}

func FuzzParseUsageKey(f *testing.F) {
	f.Add(hourPrefix + "0000000001/k/c/a/m")
	f.Add(hourPrefix + "0000000001/k/c/a/vendor/m")
	f.Add(hourPrefix + "0000000001////")
	f.Add(hourPrefix + "1/k/c/a/m")
	f.Add(hourPrefix + "-000000001/k/c/a/m")
	f.Fuzz(func(t *testing.T, key string) {
		k, ok := parseUsageKey(key)
		if !ok {
			return
		}
		if again, err := usageKey(k); err != nil || again != key {
			t.Errorf("%q became %+v, which is %q (%v)", key, k, again, err)
		}
	})
}

func FuzzUsageKey(f *testing.F) {
	f.Add(int64(1), "k", "c", "a", "m")
	f.Add(int64(490_000), "01J", "01K", "", "vendor/m")
	f.Add(int64(-1), "", "", "", "")
	f.Fuzz(func(t *testing.T, hour int64, key, channel, account, mdl string) {
		in := UsageKey{Hour: hour, Key: key, Channel: channel, Account: account, Model: mdl}
		stored, err := usageKey(in)
		if err != nil {
			return
		}
		if out, ok := parseUsageKey(stored); !ok || out != in {
			t.Errorf("%+v came back as %+v, %t", in, out, ok)
		}
	})
}

func FuzzParseAuditToken(f *testing.F) {
	f.Add("")
	f.Add("MDFBUlozTkRFS1RTVjRSUkZGUTY5RzVGQVY")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := parseAuditToken(token)
		if err == nil && !strings.HasPrefix(auditKey(id), auditPrefix) {
			t.Errorf("token %q leads to %q", token, auditKey(id))
		}
	})
}

func TestKeysStayInTheirPlace(t *testing.T) {
	in := []string{lineageKey, schemaKey, metaPrefix + "dek/1", resourceKey(model.KindChannel, "x"), resourceKey(model.KindSettings, "x")}
	for _, key := range in {
		if key < watchStart || key >= watchEnd {
			t.Errorf("%s is not watched", key)
		}
	}
	out := []string{auditBound(time.Now()), replicaPrefix + "r", leaderPrefix + "r", joinPrefix + "x", hourKey(1), markPrefix + "b",
		nameKey(model.KindChannel, "c"), refKey(model.KindGroup, "g", model.KindKey, "k")}
	for _, key := range out {
		if key >= watchStart && key < watchEnd {
			t.Errorf("%s is watched", key)
		}
		if !strings.HasPrefix(key, root) {
			t.Errorf("%s is outside of %s", key, root)
		}
	}
}

func TestAuditKeysSortByTime(t *testing.T) {
	last := ""
	for _, at := range []time.Time{
		{}, time.UnixMilli(0), time.UnixMilli(1), time.Date(2026, 1, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 1, 2, 0, 0, 0, time.FixedZone("", 3600)),
	} {
		key := auditBound(at)
		if key < last {
			t.Errorf("the key of %s sorts before the one before", at)
		}
		last = key
	}
	if k := auditBound(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)); k != auditBound(ulid.Time(ulid.MaxTime())) {
		t.Errorf("a time beyond all ULIDs gives %s", k)
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a/": "a0", "a\xff": "b", "\xff": "\x00"} {
		if got := prefixEnd(prefix); got != want {
			t.Errorf("prefixEnd(%q) = %q, want %q", prefix, got, want)
		}
	}
}
