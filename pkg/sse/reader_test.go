package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReader(t *testing.T) {
	const stream = ": hi\n\nevent: a\nid: 7\ndata: x\ndata:  y\n\ndata: z\n\n: bye\n\n"
	r := NewReader(strings.NewReader(stream), 0)
	want := []Event{
		{Raw: []byte(": hi\n\nevent: a\nid: 7\ndata: x\ndata:  y\n\n"), Name: []byte("a"), ID: []byte("7"),
			Data: []byte("x\n y"), HasData: true},
		{Raw: []byte("data: z\n\n"), Data: []byte("z"), HasData: true},
	}
	for i, want := range want {
		got, err := r.Next()
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
	rest, err := r.Next()
	if !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
	if diff := cmp.Diff(": bye\n\n", string(rest.Raw)); diff != "" {
		t.Errorf("rest (-want +got):\n%s", diff)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
}

func TestReaderAtTheEnd(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		r    io.Reader
		max  int
		want []string // data of the events before the error
		rest string
		err  error
	}{
		{"cut in a line", strings.NewReader("data: x\n\ndata: y"), 0, []string{"x"}, "data: y", io.ErrUnexpectedEOF},
		{"cut before the blank line", strings.NewReader("data: x\n"), 0, nil, "data: x\n", io.ErrUnexpectedEOF},
		{"blank lines", strings.NewReader("data: x\n\n\n\n"), 0, []string{"x"}, "\n\n", io.EOF},
		{"cr at the end of a crlf stream", strings.NewReader("data: x\r\n\r\ndata: y\r\n\r"), 0, []string{"x", "y"}, "", io.EOF},
		{"broken connection", io.MultiReader(strings.NewReader("data: x\n\ndata: y\n"), iotest.ErrReader(broken)), 0,
			[]string{"x"}, "", broken},
		{"as long as allowed", strings.NewReader("data: 12345\n\n"), 13, []string{"12345"}, "", io.EOF},
		{"too long", strings.NewReader("data: 1\n\ndata: 123456\n\n"), 13, []string{"1"}, "", ErrTooLong},
		{"never ends", io.MultiReader(strings.NewReader("data: 1\n\n"), endless{}), 1 << 16, []string{"1"}, "", ErrTooLong},
		{"no progress", stuck{}, 0, nil, "", io.ErrNoProgress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(tt.r, tt.max)
			for _, want := range tt.want {
				e, err := r.Next()
				if err != nil {
					t.Fatalf("want %q: %v", want, err)
				}
				if string(e.Data) != want {
					t.Fatalf("data %q, want %q", e.Data, want)
				}
			}
			e, err := r.Next()
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if string(e.Raw) != tt.rest {
				t.Errorf("rest %q, want %q", e.Raw, tt.rest)
			}
			if _, again := r.Next(); again == nil {
				t.Error("an event after the end")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestData(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"one", "data: {\"a\": 1}\n\n", `{"a": 1}`},
		{"no space", "data:x\n\n", "x"},
		{"one space only is dropped", "data:  x\n\n", " x"},
		{"several", "data: x\r\ndata: y\r\n\r\n", "x\ny"},
		{"rest of a crlf in front", "\ndata: x\r\n\r", "x"},
		{"blocks without data in front", ": c\n\nevent: e\n\ndata: x\n\n", "x"},
		{"what follows does not count", "data: x\n\ndata: y\n\n", "x"},
		{"unfinished", "data: x", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(Data([]byte(tt.raw))); got != tt.want {
				t.Errorf("Data(%q) = %q, want %q", tt.raw, got, tt.want)
			}
		})
	}
	if got := Data([]byte(": comment\n\n")); got != nil {
		t.Errorf("Data of a comment = %q, want nil", got)
	}
	if got := Data([]byte("data:\n\n")); got == nil || len(got) != 0 {
		t.Errorf("Data of an empty value = %#v, want empty and not nil", got)
	}
}

// The name of a block that is no event does not stick to the event after it.
func TestParseForgetsNames(t *testing.T) {
	if e := Parse([]byte("event: a\n\ndata: x\n\n")); e.Name != nil {
		t.Errorf("name %q, want none", e.Name)
	}
}

// What is written is read back, and cannot break out of its event.
func FuzzAppendEvent(f *testing.F) {
	f.Add("", []byte("x"))
	f.Add("done", []byte("{}\n[]\r\n\r"))
	f.Add("a\nb: c", []byte("data: x\n\n: y"))
	f.Add("", []byte("\xef\xbb\xbf"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		out := AppendEvent([]byte("keep"), name, data)
		if string(out[:4]) != "keep" {
			t.Fatal("what was there is gone")
		}
		r := NewReader(strings.NewReader(string(out[4:])), 1<<30)
		e, err := r.Next()
		if err != nil {
			t.Fatalf("%q does not read back: %v", out, err)
		}
		lf := strings.NewReplacer("\r\n", "\n", "\r", "\n")
		if want := lf.Replace(string(data)); string(e.Data) != want {
			t.Fatalf("data %q, want %q", e.Data, want)
		}
		if want := strings.NewReplacer("\r", "", "\n", "").Replace(name); string(e.Name) != want {
			t.Fatalf("name %q, want %q", e.Name, want)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("more than one event in %q: %v", out, err)
		}
	})
}
