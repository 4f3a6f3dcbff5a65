package admin

import (
	"encoding/base64"
	"strings"
	"testing"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

func TestCursorRoundTrip(t *testing.T) {
	o, err := parseOrder(model.KindKey, "")
	if err != nil {
		t.Fatal(err)
	}
	want := cursor{
		lineage: "01ARZ3NDEKTSV4RRFFQ69G5FAV", revision: 1 << 40, list: listOf(model.KindKey, "f", o),
		last: position{key: strings.Repeat("\xff", maxSortKey), id: "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
	}
	token := want.encode()
	if len(token) > 1024 {
		t.Errorf("the longest token has %d characters; requests take 1024", len(token))
	}
	got, err := parseCursor(token)
	if err != nil || got != want {
		t.Errorf("parse(encode(c)) = %+v, %v; want %+v", got, err, want)
	}
}

func TestListOfTellsListsApart(t *testing.T) {
	type list struct {
		kind          model.Kind
		filter, order string
	}
	lists := []list{
		{model.KindKey, "", ""},
		{model.KindChannel, "", ""},
		{model.KindKey, "true", ""},
		{model.KindKey, "", "metadata.name desc"},
		{model.KindKey, "", "metadata.id"},
	}
	seen := make(map[[8]byte]list)
	for _, l := range lists {
		o, err := parseOrder(l.kind, l.order)
		if err != nil {
			t.Fatal(err)
		}
		id := listOf(l.kind, l.filter, o)
		if other, ok := seen[id]; ok {
			t.Errorf("%+v and %+v are one list", l, other)
		}
		seen[id] = l
	}
	a, _ := parseOrder(model.KindKey, "")
	b, _ := parseOrder(model.KindKey, "metadata.name asc")
	if listOf(model.KindKey, "", a) != listOf(model.KindKey, "", b) {
		t.Error("two spellings of one order are two lists")
	}
}

// FuzzCursor: whatever is accepted is exactly what encode would have made, and refusals are clean.
func FuzzCursor(f *testing.F) {
	f.Add(cursor{lineage: "l", revision: 3, last: position{"k", "i"}}.encode())
	f.Add("")
	f.Add("AQ")
	f.Add(base64.RawURLEncoding.EncodeToString(append([]byte{cursorFormat}, make([]byte, 40)...)))
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseCursor(token)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("refused as %v", fault.KindOf(err))
			}
			return
		}
		if again := c.encode(); again != token {
			t.Errorf("%q was accepted, and is %q", token, again)
		}
	})
}
