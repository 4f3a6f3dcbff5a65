package snapshot

import (
	"fmt"
	"testing"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// BenchmarkOneChange applies transactions of one change to a big state: 1M keys, and 100k accounts in 1000 channels of
// one group, with 20 models each, all pools in use.
func BenchmarkOneChange(b *testing.B) {
	const keys, channels, perChannel = 1_000_000, 1000, 100
	src := newSource("L")
	changes := make([]*syncv1.Change, 0, keys+channels*(perChannel+1)+2)
	changes = append(changes, put(b, groupKind, "g1", 1, &syncv1.GroupState{Name: "g"}))
	models := make([]string, 20)
	for i := range models {
		models[i] = fmt.Sprint("model-", i)
	}
	channel := func(i int, weight uint32) *syncv1.Change {
		return put(b, channelKind, fmt.Sprint("channel-", i), int64(weight), &syncv1.ChannelState{Provider: 1,
			BaseUrl: "https://h", Models: models, GroupIds: []string{"g1"}, Weight: weight,
		})
	}
	account := func(i int, weight uint32) *syncv1.Change {
		return put(b, accountKind, fmt.Sprint("account-", i), int64(weight), &syncv1.AccountState{
			ChannelId: fmt.Sprint("channel-", i%channels), Secret: "s", Weight: weight,
		})
	}
	key := func(i int, version int64) *syncv1.Change {
		return put(b, keyKind, fmt.Sprintf("01J000000000000000%08d", i), version, keyState(i))
	}
	for i := range channels {
		changes = append(changes, channel(i, 100))
	}
	for i := range channels * perChannel {
		changes = append(changes, account(i, 100))
	}
	for i := range keys {
		changes = append(changes, key(i, 1))
	}
	src.apply(changes...)
	r := NewReplica()
	start := time.Now()
	receive(b, r, src.full())
	b.Logf("full state: %v", time.Since(start))
	g, _ := r.Snapshot().Group("g1")
	for _, m := range models {
		r.Snapshot().Pool(g, m)
	}
	version := int64(1)
	sums := *src.sums()
	run := func(name string, change func(n int) *syncv1.Change) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				version++
				c := change(int(version))
				id := ref{c.GetKind(), c.GetId()}
				if old, ok := src.items[id]; ok {
					sums.Remove(int32(id.kind), id.id, old.GetVersion(), old.GetBody())
				}
				src.items[id] = c
				sums.Add(int32(id.kind), id.id, c.GetVersion(), c.GetBody())
				_, err := r.Receive(&syncv1.Txn{
					Lineage: "L", BaseRevision: r.image.revision, Revision: r.image.revision + 1, Changes: []*syncv1.Change{c},
					Last: true, Digest: sums.Root(),
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("key", func(n int) *syncv1.Change { return key(n%keys, int64(n)) })
	run("account", func(n int) *syncv1.Change { return account(n%(channels*perChannel), uint32(n%7+1)) })
	run("channel", func(n int) *syncv1.Change { return channel(n%channels, uint32(n%7+1)) })
}

// BenchmarkFullState applies a full state of 100k keys, as after a start without a last good state.
func BenchmarkFullState(b *testing.B) {
	src := newSource("L")
	var changes []*syncv1.Change
	for i := range 100_000 {
		changes = append(changes, put(b, keyKind, fmt.Sprintf("01J000000000000000%08d", i), 1, keyState(i)))
	}
	src.apply(changes...)
	full := src.full()
	b.ReportAllocs()
	for b.Loop() {
		receive(b, NewReplica(), full)
	}
}
