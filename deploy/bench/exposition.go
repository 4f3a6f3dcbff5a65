package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// exposition is a page of metrics: each series by its name and labels, as the page spells them.
type exposition map[string]float64

// parseExposition reads Prometheus' text format as far as the proxy writes it: comments and "series value" lines.
func parseExposition(raw []byte) (exposition, error) {
	e := exposition{}
	for line := range bytes.Lines(raw) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		// A label's value may hold spaces; the number is what comes last.
		i := bytes.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("no metric: %.100q", line)
		}
		v, err := strconv.ParseFloat(string(line[i+1:]), 64)
		if err != nil {
			return nil, fmt.Errorf("no metric: %.100q", line)
		}
		e[string(bytes.TrimSpace(line[:i]))] = v
	}
	return e, nil
}

// sum adds up a metric's series, whatever their labels.
func (e exposition) sum(name string) float64 {
	var sum float64
	for series, v := range e {
		if series == name || strings.HasPrefix(series, name+"{") {
			sum += v
		}
	}
	return sum
}

// metricsOf reads the metrics of a target.
func metricsOf(ctx context.Context, ops string) (exposition, error) {
	raw, err := page(ctx, "http://"+ops+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseExposition(raw)
}

// page is what a URL has.
func page(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// What is looked at should not have to compress what it shows.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", url, response.StatusCode)
	}
	return io.ReadAll(response.Body)
}
