package accesslog

import (
	"io"
	"testing"
)

func benchLog(b *testing.B, sample float64) *Log {
	l, err := New(Options{File: "-", Stdout: io.Discard, Sample: sample})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func BenchmarkWants(b *testing.B) {
	for name, sample := range map[string]float64{"none": 0, "some": .01, "all": 1} {
		b.Run(name, func(b *testing.B) {
			l := benchLog(b, sample)
			b.ReportAllocs()
			lot, wanted := uint64(0), 0
			for b.Loop() {
				lot += 0xa0761d6478bd642f // not random, but spread evenly
				if l.Wants(false, lot) {
					wanted++
				}
			}
			if (wanted == 0) != (sample == 0) {
				b.Errorf("%d wanted", wanted)
			}
		})
	}
}

// BenchmarkRecord: what a request pays. The slots are given back by the benchmark itself, so that the writer's work is not
// in it.
func BenchmarkRecord(b *testing.B) {
	l := benchLog(b, 1)
	e := full()
	b.ReportAllocs()
	for b.Loop() {
		if l.Wants(false, 1) {
			l.Record(&e)
		}
		if l.queue.Next() != nil {
			l.queue.Done()
		}
	}
	if n := l.overflowed.Load(); n != 0 {
		b.Fatalf("%d lines dropped", n)
	}
}

func BenchmarkRecordFull(b *testing.B) {
	l := benchLog(b, 1)
	e := full()
	b.ReportAllocs()
	for b.Loop() {
		l.Record(&e)
	}
}

// BenchmarkLine: what the writer pays for a line.
func BenchmarkLine(b *testing.B) {
	e := full()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = appendLine(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}
