package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// format is how a command answers.
type format string

const (
	tableFormat format = "table"
	jsonFormat  format = "json"
	yamlFormat  format = "yaml"
)

func (f *format) String() string { return string(*f) }

// Type names the flag's value in help texts.
func (f *format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case tableFormat, jsonFormat, yamlFormat:
		*f = v
		return nil
	}
	return fmt.Errorf("want table, json or yaml")
}

// emit answers with plain in the machine-readable formats, and by calling human for a person.
func (s *session) emit(plain any, human func(w io.Writer)) error {
	switch s.output {
	case jsonFormat:
		enc := json.NewEncoder(s.o.Out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(plain)
	case yamlFormat:
		raw, err := encodeYAML(plain)
		if err != nil {
			return fmt.Errorf("encode yaml: %w", err)
		}
		_, err = s.o.Out.Write(raw)
		return err
	}
	human(s.o.Out)
	return nil
}

// grid prints rows under a header, without borders.
func grid(w io.Writer, header []string, rows [][]string) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatUpper
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(row(header))
	for _, r := range rows {
		t.AppendRow(row(r))
	}
	fmt.Fprintln(w, t.Render())
}

func row(cells []string) table.Row {
	r := make(table.Row, len(cells))
	for i, c := range cells {
		r[i] = c
	}
	return r
}

// when prints a timestamp in UTC to the second, or a dash.
func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.DateTime)
}

// dash stands for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
