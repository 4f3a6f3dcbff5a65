package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Outcome is what a case came to.
type Outcome struct {
	*Result
	Bars []Verdict `json:",omitempty"`
}

// Verdict is a bar and whether it is met.
type Verdict struct {
	Bar
	Met bool
}

// Report is what a study came to.
type Report struct {
	Name, Question string
	Outcomes       []*Outcome
}

// Bars counts those of all studies, and those that were missed.
func Bars(reports []*Report) (all, missed int) {
	for _, r := range reports {
		for _, o := range r.Outcomes {
			for _, b := range o.Bars {
				all++
				if !b.Met {
					missed++
				}
			}
		}
	}
	return all, missed
}

// RunAll runs studies, so many runs at once; each is a world of its own, so that the answer is the same.
func RunAll(studies []Study, parallel int) []*Report {
	reports := make([]*Report, len(studies))
	turns := make(chan struct{}, max(parallel, 1))
	var runs sync.WaitGroup
	for i := range studies {
		s := &studies[i]
		reports[i] = &Report{Name: s.Name, Question: s.Question, Outcomes: make([]*Outcome, len(s.Cases))}
		for j := range s.Cases {
			turns <- struct{}{}
			runs.Go(func() {
				reports[i].Outcomes[j] = s.Cases[j].Run()
				<-turns
			})
		}
	}
	runs.Wait()
	return reports
}

// Run runs the case and asks its bars.
func (c *Case) Run() *Outcome {
	o := &Outcome{Result: Run(c.Setup)}
	if c.Bars != nil {
		for _, b := range c.Bars(o.Result) {
			o.Bars = append(o.Bars, Verdict{b, b.Met()})
		}
	}
	return o
}

// WriteJSON writes reports for other programs.
func WriteJSON(w io.Writer, reports []*Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(reports)
}

// WriteTables writes reports as Markdown.
func WriteTables(w io.Writer, reports []*Report) error {
	p := &printer{to: w}
	for _, r := range reports {
		p.print("### %s\n\n", r.Question)
		if len(r.Outcomes) == 0 {
			continue
		}
		p.print("| what | chosen by | failed requests | first attempts over capacity | retries per request | busiest account over the mean | at a moment | price | first byte |\n")
		p.print("|---|---|---|---|---|---|---|---|---|\n")
		for _, o := range r.Outcomes {
			p.print("| %s | %s | %.3f%% | %.2f%% | %.4f | %.2f | %.2f | %.3f | %.0f ms |\n", o.Name, o.Strategy, 100*o.Failed,
				100*o.Over, o.Retries, o.Uneven, o.Peak, o.Price, o.TTFT)
		}
		p.print("\n")
		p.bars(r)
	}
	return p.err
}

// bars lists what was asked of a study's runs.
func (p *printer) bars(r *Report) {
	head := false
	for _, o := range r.Outcomes {
		for _, b := range o.Bars {
			if !head {
				p.print("| run | measure | result | bar |\n|---|---|---|---|\n")
				head = true
			}
			p.print("| %s, %s | %s | %s%s | %s |\n", o.Name, o.Strategy, b.What, figure(b.Got), b.Unit, b.limit())
		}
	}
	if head {
		p.print("\n")
	}
}

func (b Verdict) limit() string {
	if b.Limit == 100 && b.Unit == "%" && !b.Least {
		return "–"
	}
	word, met := "at most", "met"
	if b.Least {
		word = "at least"
	}
	if !b.Met {
		met = "**missed**"
	}
	return fmt.Sprintf("%s %s%s, %s", word, figure(b.Limit), b.Unit, met)
}

func figure(v float64) string {
	if v >= 10 || v == 0 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// printer remembers the first error.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) print(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.to, format, args...)
	}
}
