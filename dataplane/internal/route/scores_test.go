package route

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
)

func TestScores(t *testing.T) {
	h := open(t, world{
		channels: []channel{{1, 1, []uint32{1, 3, 1, 1, 1, 1}}, {1, 1, []uint32{1}}, {0, 1, []uint32{1, 1}}},
		ratios:   []int64{2_000_000, 1_000_000}, group: groupOf(balanced),
	})
	p, a := h.pool(), h.ask()
	known{vigor: .5, performance: .5}.tell(find(t, p, "0.1").Cell)
	find(t, p, "0.1").Cell.InFlight.Store(3)
	find(t, p, "0.1").Cell.Full.Store(4)
	find(t, p, "0.2").Cell.Cool(nowMS + 1)
	find(t, p, "0.3").Cell.Hold(nowMS + 1)
	find(t, p, "0.4").Cell.Full.Store(1)
	find(t, p, "0.4").Cell.InFlight.Store(1)
	a.Tried = []*snapshot.Account{find(t, p, "0.5").Account}
	type row struct {
		ID       snapshot.AccountID
		Share    float64
		Terms    [4]float32
		Total    float32
		Excluded string
	}
	w := [...]float64{math.Pow(.8, 4) / 8, .5 * math.Pow(.2+.15+.2+.1, 4) * 3 / 8, 1}
	sum := w[0] + w[1] + w[2]
	want := []row{
		{"1.0", w[2] / sum, [4]float32{1, 1, 1, 1}, 1, ""},
		{"0.0", w[0] / sum, [4]float32{.5, 1, 1, 1}, .8, ""},
		{"0.1", w[1] / sum, [4]float32{.5, .5, .25, 1}, .5, ""},
		{"0.4", 0, [4]float32{.5, 1, 0, 1}, .6, "crowded"},
		{"0.3", 0, [4]float32{.5, 1, 1, 1}, .8, "held"},
		{"0.2", 0, [4]float32{.5, 1, 1, 1}, .8, "resting"},
		{"0.5", 0, [4]float32{.5, 1, 1, 1}, .8, "tried"},
		{"2.0", .5, [4]float32{1, 1, 1, 1}, 1, ""},
	}
	list, more := Scores(p, a, 8)
	got := make([]row, 0, len(list))
	for _, s := range list {
		got = append(got, row{s.Candidate.Account.ID, s.Share, [4]float32{s.Cost, s.Performance, s.Load, s.Reliability}, s.Total, s.Excluded})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-5, 0)); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}
	if more != 1 {
		t.Errorf("%d more, want 1", more)
	}
	if list[2].InFlight != 3 || list[2].Vigor != .5 || list[2].Priority != 1 || list[7].Priority != 0 {
		t.Errorf("%+v", list)
	}
	if list, more := Scores(p, a, 0); len(list) != 0 || more != 9 {
		t.Errorf("%d and %d more, want none and 9", len(list), more)
	}
}

// TestScoresAreWhatPicksFollow: the shares that people are told are those that idle accounts get.
func TestScoresAreWhatPicksFollow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := open(t, world{channels: drawChannels(rt), group: groupOf(rapid.SampledFrom(strategies).Draw(rt, "strategy"))})
		p, a := h.pool(), h.ask()
		usable := 0
		each(p, func(c *snapshot.Candidate) {
			known{vigor: rapid.Float32Range(.2, 1).Draw(rt, "vigor"), performance: rapid.Float32Range(.5, 1).Draw(rt, "performance")}.tell(c.Cell)
			if rapid.IntRange(0, 3).Draw(rt, "cooling") == 0 {
				c.Cell.Cool(nowMS + 1)
			} else {
				usable++
			}
		})
		if usable == 0 {
			return
		}
		list, _ := Scores(p, a, 100)
		want := make(map[snapshot.AccountID]float64)
		for _, s := range list {
			want[s.Candidate.Account.ID] = s.Share
		}
		const n = 4000
		for id, k := range counts(t, p, a, n) {
			// Six standard deviations; turns are more even than chance.
			if slack := 6*math.Sqrt(n*want[id]*(1-want[id])) + 1; math.Abs(float64(k)-n*want[id]) > slack {
				rt.Errorf("%s was picked %d times of %d, want %.0f±%.0f", id, k, n, n*want[id], slack)
			}
		}
	})
}
