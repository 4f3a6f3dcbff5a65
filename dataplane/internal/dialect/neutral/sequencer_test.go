package neutral

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// tape notes what is emitted, in words.
type tape struct{ words []string }

func (t *tape) emit(e *Event) {
	switch e.Kind {
	case PartBegin:
		t.words = append(t.words, "begin "+e.Name)
	case Delta:
		t.words = append(t.words, "delta "+string(e.Raw))
	case PartEnd:
		t.words = append(t.words, "end "+e.Signature.Value)
	case Failed:
		t.words = append(t.words, "failed")
	}
}

func TestSequencer(t *testing.T) {
	type step struct {
		part int
		e    Event
	}
	begin := func(part int, name string) step { return step{part, Event{Kind: PartBegin, Part: Call, Name: name}} }
	delta := func(part int, raw string) step { return step{part, Event{Kind: Delta, Raw: []byte(raw)}} }
	end := func(part int, sig string) step {
		return step{part, Event{Kind: PartEnd, Signature: Signature{Value: sig}}}
	}
	for _, tc := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{
			"one after the other", []step{begin(0, "a"), delta(0, "1"), delta(0, "2"), end(0, "s"), begin(1, "b"), end(1, "")},
			[]string{"begin a", "delta 1", "delta 2", "end s", "begin b", "end "},
		},
		{
			"interleaved", []step{begin(0, "a"), begin(1, "b"), delta(1, "x"), delta(0, "1"), delta(1, "y"), end(0, ""), delta(1, "z"), end(1, "")},
			[]string{"begin a", "delta 1", "end ", "begin b", "delta xy", "delta z", "end "},
		},
		{
			"later ones end first", []step{begin(7, "a"), begin(3, "b"), begin(5, "c"), end(5, "sc"), delta(3, "x"), end(3, "sb"), delta(7, "1"), end(7, "sa")},
			[]string{"begin a", "delta 1", "end sa", "begin b", "delta x", "end sb", "begin c", "end sc"},
		},
		{
			"a number again while the part before waits", []step{begin(0, "a"), begin(1, "b"), end(1, ""), begin(1, "c"), delta(1, "c"), end(0, ""), end(1, "")},
			[]string{"begin a", "end ", "begin b", "end ", "begin c", "delta c", "end "},
		},
		{"begins twice", []step{begin(0, "a"), begin(0, "a"), end(0, "")}, []string{"begin a", "failed"}},
		{"goes on without having begun", []step{begin(0, "a"), delta(1, "x"), delta(0, "y")}, []string{"begin a", "failed"}},
		{"ends twice", []step{begin(0, "a"), end(0, ""), end(0, "")}, []string{"begin a", "end ", "failed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Sequencer
			var got tape
			for _, st := range tc.steps {
				s.Put(st.part, &st.e, got.emit)
			}
			if d := cmp.Diff(tc.want, got.words); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestSequencerIsBounded(t *testing.T) {
	var s Sequencer
	var got tape
	live, waiting := 0, 1
	s.Put(live, &Event{Kind: PartBegin}, got.emit)
	s.Put(waiting, &Event{Kind: PartBegin}, got.emit)
	piece := []byte(strings.Repeat("x", 1<<16))
	for range 64 {
		if !s.Put(live, &Event{Kind: Delta, Raw: piece}, func(*Event) {}) {
			t.Fatal("what streams on counts as held")
		}
	}
	for range MaxHeld / len(piece) {
		if !s.Put(waiting, &Event{Kind: Delta, Raw: piece}, got.emit) {
			t.Fatal("failed below the bound")
		}
	}
	if s.Put(waiting, &Event{Kind: Delta, Raw: []byte("x")}, got.emit) || s.Put(live, &Event{Kind: PartEnd}, got.emit) {
		t.Error("went on beyond the bound")
	}
	if d := cmp.Diff([]string{"begin ", "failed"}, got.words); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What was given back is no longer held: a long stream whose parts overlap a little never reaches the bound.
func TestSequencerForgets(t *testing.T) {
	var s Sequencer
	drop := func(e *Event) {
		if e.Kind == Failed {
			t.Fatal("failed")
		}
	}
	piece := []byte(strings.Repeat("x", MaxHeld/4))
	s.Put(0, &Event{Kind: PartBegin}, drop)
	for i := range 100 {
		s.Put(i+1, &Event{Kind: PartBegin, Name: "n"}, drop)
		s.Put(i+1, &Event{Kind: Delta, Raw: piece}, drop)
		s.Put(i, &Event{Kind: PartEnd}, drop)
	}
}

// Whatever the order in which parts come, each comes out whole, at once, and in the order of the beginnings.
func TestSequencerKeepsParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "parts")
		texts := make([]string, n)
		state := make([]int, n) // 0 = not begun, 1 = open, 2 = ended
		var order []int
		var s Sequencer
		var got []string
		depth := 0
		emit := func(e *Event) {
			switch e.Kind {
			case PartBegin:
				depth++
				got = append(got, e.Name+":")
			case Delta:
				got[len(got)-1] += string(e.Raw)
			case PartEnd:
				depth--
				got[len(got)-1] += "/" + e.Signature.Value
			default:
				t.Fatalf("event %d", e.Kind)
			}
			if depth < 0 || depth > 1 {
				t.Fatal("parts overlap")
			}
		}
		name := func(i int) string { return string('a' + rune(i)) }
		for left := n; left > 0; {
			i := rapid.IntRange(0, n-1).Draw(t, "part")
			switch {
			case state[i] == 0:
				order = append(order, i)
				b := []byte(name(i))
				s.Put(i, &Event{Kind: PartBegin, Name: string(b)}, emit)
				state[i] = 1
			case state[i] == 1 && rapid.Bool().Draw(t, "end"):
				s.Put(i, &Event{Kind: PartEnd, Signature: Signature{Value: name(i)}}, emit)
				state[i] = 2
				left--
			case state[i] == 1:
				text := []byte(rapid.StringMatching(`[xyz]{1,3}`).Draw(t, "text"))
				texts[i] += string(text)
				s.Put(i, &Event{Kind: Delta, Raw: text}, emit)
				clear(text) // it is not kept
			}
			if s.Open(i) != (state[i] == 1) {
				t.Fatalf("Open(%d) = %v", i, s.Open(i))
			}
		}
		want := make([]string, 0, n)
		for _, i := range order {
			want = append(want, name(i)+":"+texts[i]+"/"+name(i))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		if s.held != 0 || len(s.parts) != 0 {
			t.Fatalf("%d bytes of %d parts are left", s.held, len(s.parts))
		}
	})
}
