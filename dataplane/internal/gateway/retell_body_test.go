package gateway

import (
	"bytes"
	"testing"

	"fairway/dataplane/internal/dialect/neutral"
)

// What a converted answer repeats of its request are views of the request's body: while it is written, nobody else may get
// that memory.
func TestConvertedAnswersKeepTheBody(t *testing.T) {
	g := New(Deps{}, Options{})
	x := &exchange{g: g}
	x.body = g.slabs.get(64)
	x.body.b = append(x.body.b, "the instructions of one client"...)
	x.wire, x.wired = loose([]byte("said in another way")), wiring{made: true, used: true}
	x.talk = &conversation{request: &neutral.Request{}}
	mine := x.body
	x.commitBody()
	for range 100 {
		if other := g.slabs.get(64); other == mine || x.body != mine {
			t.Fatal("another request got the memory that a converted answer is written from")
		}
	}
	if !bytes.Equal(x.body.b, []byte("the instructions of one client")) {
		t.Error("the body changed")
	}
}
