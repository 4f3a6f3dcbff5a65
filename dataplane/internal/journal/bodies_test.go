package journal

import (
	"strings"
	"testing"
)

func TestBodies(t *testing.T) {
	room := NewRoom(8, 40) // for two requests
	first, second := room.Take(), room.Take()
	if first == nil || second == nil {
		t.Fatal("no room for two")
	}
	if room.Take() != nil || room.Refused() != 1 {
		t.Errorf("room for a third; %d refused", room.Refused())
	}
	for _, piece := range []string{"", "ab", "cdef"} {
		first.AddResponse([]byte(piece))
	}
	if string(first.Response) != "abcdef" || first.ResponseCut {
		t.Errorf("kept %q, cut %t", first.Response, first.ResponseCut)
	}
	first.AddResponse([]byte("ghij"))
	first.AddResponse([]byte("k"))
	first.AddRequest([]byte(strings.Repeat("x", 8)))
	if string(first.Response) != "abcdefgh" || !first.ResponseCut || string(first.Request) != "xxxxxxxx" || first.RequestCut {
		t.Errorf("kept %q, cut %t; %q, cut %t", first.Response, first.ResponseCut, first.Request, first.RequestCut)
	}
	first.Release()
	first.Release()
	if room.Take() == nil {
		t.Error("what was released is no room")
	}
	if room.Take() != nil {
		t.Error("it was released twice")
	}
}

// Where no bodies are kept the same methods are called.
func TestNoBodies(t *testing.T) {
	var room *Room
	b := room.Take()
	b.AddRequest([]byte("x"))
	b.AddResponse([]byte("x"))
	b.Release()
	if b != nil || room.Refused() != 0 {
		t.Error("no room keeps bodies")
	}
}

// A queue gives room back when the consumer is done with an entry, also through many rounds.
func TestQueueReleases(t *testing.T) {
	room, q := NewRoom(4, 8), NewQueue(16, true)
	for i := range 100 {
		b := room.Take()
		if b == nil {
			t.Fatalf("entry %d: no room", i)
		}
		b.AddRequest([]byte("hi"))
		q.Put(&Entry{Bodies: b})
		if got := q.Next().Bodies; got == nil || string(got.Request) != "hi" {
			t.Fatalf("entry %d: %+v", i, got)
		}
		q.Done()
	}
}
