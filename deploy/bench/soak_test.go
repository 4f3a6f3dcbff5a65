package main

import (
	"errors"
	"fmt"
	"image/png"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each scene against the upstream itself, which is as good as a proxy that passes everything on, where that can be.
func TestScenes(t *testing.T) {
	addr := startUpstreamHere(t)
	for _, s := range scenes() {
		fault, odd := strings.CutPrefix(s.name, "upstream: ")
		switch {
		case s.books == ledgerNone, fault == string(faultHang), fault == string(faultClose), fault == string(faultGarbage), strings.HasSuffix(fault, "at times"):
			continue // these need somebody who refuses, or makes an answer of what is none
		case fault == string(faultEvent):
			continue // a proxy makes a status of it
		case odd && fault == string(faultStall):
			continue // nobody gives it up here
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			a := &actor{visitor: visitor{addr: addr}}
			defer a.leave()
			e, err := s.play(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if e.kind == "" || s.books == ledgerSteady && (e.kind != answered || !e.booked) {
				t.Errorf("ending = %+v", e)
			}
		})
	}
}

// What a proxy must never do is noticed.
func TestVisitorNotices(t *testing.T) {
	streamed := strings.Repeat(tagged(contentData, "a"), 3) + tagged(finishData, "a") + doneData
	for _, tc := range []struct {
		name  string
		wrong error
		fails bool
	}{
		{"the answer", reply{status: 200, body: []byte(tagged(completion, "a"))}.whole("a"), false},
		{"another's answer", reply{status: 200, body: []byte(tagged(completion, "b"))}.whole("a"), true},
		{"a part", reply{status: 200, body: []byte(tagged(completion, "a")), broken: true}.whole("a"), true},
		{"a refusal", reply{status: 503}.whole("a"), true},
		{"the stream", reply{status: 200, body: []byte(streamed)}.wholeStream("a", 3), false},
		{"an event less", reply{status: 200, body: []byte(streamed)}.wholeStream("a", 4), true},
		{"another's event", reply{status: 200, body: []byte(strings.Replace(streamed, "chatcmpl-a", "chatcmpl-b", 1))}.wholeStream("a", 3), true},
		{"a cut stream", reply{status: 200, body: []byte(tagged(contentData, "a")), broken: true}.cutStream("a"), false},
		{"a cut stream that says it is whole", reply{status: 200, body: []byte(tagged(contentData, "a") + doneData)}.cutStream("a"), true},
	} {
		if (tc.wrong != nil) != tc.fails {
			t.Errorf("%s: %v", tc.name, tc.wrong)
		}
	}
	if got := (reply{body: []byte(errorBody("server_error"))}).refusalCode(); got != "server_error" {
		t.Errorf("code = %q", got)
	}
	if got := (reply{body: []byte("Bad Gateway")}).refusalCode(); got != "" {
		t.Errorf("code of a body without one = %q", got)
	}
}

// Every fault, read as a client of the upstream itself sees it.
func TestFaults(t *testing.T) {
	addr := startUpstreamHere(t)
	for _, tc := range []struct {
		s      script
		status int // 0 = no answer
		broken bool
	}{
		{script{Fault: faultError}, 500, false},
		{script{Fault: faultLimit}, 429, false},
		{script{Fault: faultEvent, Events: 5}, 200, false},
		{script{Fault: faultCut}, 200, true},
		{script{Fault: faultCut, Events: 5}, 200, true},
		{script{Fault: faultClose}, 0, false},
		{script{Fault: faultGarbage}, 0, false},
	} {
		v := visitor{addr: addr}
		r, err := v.exchange(t.Context(), requestBytes("k", "m", tc.s, smallBody))
		if (err != nil) != (tc.status == 0) || r.status != tc.status || r.broken != tc.broken {
			t.Errorf("%s: %s, %v", tc.s, r, err)
		}
		v.leave()
	}
	for _, s := range []script{{Fault: faultHang}, {Fault: faultStall, Events: 5}} {
		v := visitor{addr: addr}
		if err := v.send(t.Context(), requestBytes("k", "m", s, smallBody)); err != nil {
			t.Fatal(err)
		}
		if s.Fault == faultStall {
			if _, err := v.head(); err != nil {
				t.Error(err)
			}
		}
		_ = v.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := io.Copy(io.Discard, v.in); !isTimeout(err) {
			t.Errorf("%s ended: %v", s.Fault, err)
		}
		v.leave()
	}
	met := 0
	for range 1000 {
		if (script{Fault: faultError, Odds: 30}).meets() {
			met++
		}
	}
	if met == 0 || met == 1000 || (script{}).meets() || !(script{Fault: faultError}).meets() {
		t.Errorf("%d of 1000 attempts meet a fault of 30%%", met)
	}
}

func TestFlat(t *testing.T) {
	of := func(n int, figure func(i int) float64) []sample {
		all := make([]sample, n)
		for i := range all {
			all[i].rss = figure(i)
		}
		return all
	}
	f := flatness{name: "memory", of: func(s *sample) float64 { return s.rss }, share: 0.1, slack: 5}
	for _, tc := range []struct {
		name    string
		samples []sample
		ok      bool
	}{
		{"level", of(100, func(int) float64 { return 50 }), true},
		{"warms up", of(100, func(i int) float64 { return float64(min(10*i, 200)) }), true},
		{"a spike", of(100, func(i int) float64 { return 50 + 1000*float64(i/99) }), true},
		{"shrinks", of(100, func(i int) float64 { return float64(200 - i) }), true},
		{"within the slack", of(100, func(i int) float64 { return 50 + float64(i/50)*9.9 }), true},
		{"beyond it", of(100, func(i int) float64 { return 50 + float64(i/50)*10.1 }), false},
		{"leaks", of(1200, func(i int) float64 { return 50 + float64(i)/50 }), false},
		{"too few", of(leastSamples-1, func(int) float64 { return 50 }), false},
	} {
		if got := f.judge(tc.samples); got.OK != tc.ok {
			t.Errorf("%s: %s", tc.name, got)
		}
	}
}

func TestJudgeBooks(t *testing.T) {
	exact := map[string]entry{
		"steady":  {Requests: 2, Input: 2 * answerInput, Output: 2 * answerOutput},
		"faulty":  {Requests: 1, Errors: 1},
		"leaving": {Requests: 3},
	}
	for _, tc := range []struct {
		name   string
		change func(map[string]entry)
		wrong  string
	}{
		{"exact", func(map[string]entry) {}, ""},
		{"one lost", func(b map[string]entry) { b["faulty"] = entry{} }, "faulty"},
		{"one twice", func(b map[string]entry) {
			b["steady"] = entry{Requests: 3, Input: 3 * answerInput, Output: 3 * answerOutput}
		}, "steady"},
		{"a token more", func(b map[string]entry) {
			b["steady"] = entry{Requests: 2, Input: 2*answerInput + 1, Output: 2 * answerOutput}
		}, "steady"},
		{"one that never reached anybody", func(b map[string]entry) { b["nobody"] = entry{Requests: 1} }, "nobody"},
		{"fewer than were delivered", func(b map[string]entry) { b["leaving"] = entry{Requests: 1} }, "leaving"},
		{"more than were sent", func(b map[string]entry) { b["leaving"] = entry{Requests: 5} }, "leaving"},
	} {
		tally := newTally()
		for _, e := range []struct {
			ledger ledger
			ending ending
		}{
			{ledgerSteady, ending{kind: answered, booked: true}}, {ledgerSteady, ending{kind: answered, booked: true}},
			{ledgerFaulty, ending{kind: "500", booked: true}}, {ledgerFaulty, ending{kind: "503"}},
			{ledgerLeaving, ending{kind: "left", booked: true}}, {ledgerLeaving, ending{kind: "left", booked: true}},
			{ledgerLeaving, ending{kind: "left", may: true}}, {ledgerLeaving, ending{kind: "left", may: true}},
			{ledgerNone, ending{kind: "refused"}},
		} {
			tally.add(&scene{name: "s", books: e.ledger}, e.ending)
		}
		books := map[string]entry{}
		for k, v := range exact {
			books[k] = v
		}
		tc.change(books)
		for _, f := range judgeBooks(books, tally) {
			if f.OK == (f.Name == "books of "+tc.wrong) {
				t.Errorf("%s: %s", tc.name, f)
			}
		}
	}
}

// A report says what failed, and its files can be read.
func TestReport(t *testing.T) {
	for _, ok := range []bool{true, false} {
		var out strings.Builder
		s := &soak{log: &out, out: t.TempDir(), tally: newTally(), findings: []finding{{"one", true, "fine"}, {"two", ok, "figures"}}}
		for i := range 100 {
			s.note(sample{at: float64(i), rss: 50, heap: 20, goroutines: 200, files: 300})
		}
		if !ok {
			s.tally.fault(&scene{name: "plain"}, errors.New("somebody else's answer"))
		}
		err := s.report(time.Now())
		if errors.Is(err, errSoak) == ok || strings.Contains(out.String(), "FAILED  two") == ok || strings.Contains(out.String(), "unexpected: plain: somebody else's answer") == ok {
			t.Errorf("ok = %v: %v\n%s", ok, err, &out)
		}
		f, err := os.Open(filepath.Join(s.out, "soak.png"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(f); err != nil {
			t.Error(err)
		}
		f.Close()
		raw, err := os.ReadFile(filepath.Join(s.out, "samples.csv"))
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(raw), "\n"); lines != 101 || !strings.HasPrefix(string(raw), "seconds,rss_mib,") {
			t.Errorf("%d lines of samples: %.100q", lines, raw)
		}
	}
}

// Overload against somebody who refuses every other connection.
func TestOverloaded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	u := newUpstream()
	go func() {
		defer close(served)
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if i%2 == 1 {
				fmt.Fprint(c, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				_, _ = c.Read(make([]byte, 4<<10))
				c.Close()
				continue
			}
			if u.add(c) {
				go func() {
					defer u.remove(c)
					_ = (&visit{conn: c, buf: make([]byte, 4<<10)}).run()
				}()
			}
		}
	}()
	o, err := overloaded(t.Context(), task{Addr: ln.Addr().String(), Conns: 4, Body: smallBody, Script: script{Hold: time.Millisecond},
		Warm: 20 * time.Millisecond, Window: 100 * time.Millisecond, Watch: []int{os.Getpid()}})
	if err != nil || o.Count == 0 || o.RSS[1] == 0 {
		t.Errorf("%+v, %v", o, err)
	}
	ln.Close()
	<-served
	u.close()
}
