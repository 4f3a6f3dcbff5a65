// Package sse reads and writes server-sent events (the "text/event-stream" of the WHATWG HTML standard): Scanner finds
// the ends of events in a byte stream for a relay that must not change a byte, Reader takes events apart, and AppendEvent
// writes one.
//
// It refuses to reconnect, to keep a last event id, and to hold an event beyond the reader's bound.
package sse

import "bytes"

// Event is one event of a stream. Its slices point into the reader's memory, or into what was parsed.
type Event struct {
	// Raw is the exact bytes from the end of the event before to the end of this one's blank line.
	Raw []byte
	// Name is the value of the last event field; empty = "message".
	Name []byte
	// ID is the value of the last id field.
	ID []byte
	// Data is the values of the data fields, joined by LF.
	Data []byte
	// HasData says that there was a data field. What has none (comments, say) is no event, but a relay passes it on.
	HasData bool
}

// Parse takes one event apart. A byte order mark and an LF at its very beginning (the rest of a CRLF that the event
// before ended with) do not count, nor do blocks without data before it, nor does anything after it. Data is part of raw
// unless the event has several data fields.
func Parse(raw []byte) Event {
	e := parse(bytes.TrimPrefix(raw, []byte(bomText)))
	e.Raw = raw
	return e
}

// parse is Parse for what does not begin a stream.
func parse(raw []byte) Event {
	e := Event{Raw: raw}
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		if len(line) == 0 {
			if e.HasData {
				break
			}
			e.Name = nil // of a block that is no event
			continue
		}
		name, value := cutField(line)
		switch string(name) {
		case "event":
			e.Name = value
		case "id":
			e.ID = value
		case field:
			if !e.HasData {
				e.HasData = true
				e.Data = value[:len(value):len(value)]
				continue
			}
			e.Data = append(append(e.Data, '\n'), value...)
		}
	}
	return e
}

// Data returns the data of one event, joined by LF, and nil when it has none. It allocates only for several data fields.
func Data(raw []byte) []byte {
	e := Parse(raw)
	if !e.HasData {
		return nil
	}
	return e.Data
}

// AppendEvent appends an event to dst: an event field unless name is empty, one data field per line of data, and a blank
// line. Line ends inside name are dropped, and those inside data (LF, CRLF, CR) all arrive as LF.
func AppendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(dst, "event: "...)
		for _, c := range []byte(name) {
			if c != '\n' && c != '\r' {
				dst = append(dst, c)
			}
		}
		dst = append(dst, '\n')
	}
	for {
		end := bytes.IndexAny(data, "\r\n")
		dst = append(dst, "data: "...)
		if end < 0 {
			dst = append(dst, data...)
			return append(dst, "\n\n"...)
		}
		dst = append(dst, data[:end]...)
		dst = append(dst, '\n')
		if data[end] == '\r' && end+1 < len(data) && data[end+1] == '\n' {
			end++
		}
		data = data[end+1:]
	}
}

// cutLine splits after the first line end (LF, CRLF or CR); the line comes without it.
func cutLine(p []byte) (line, rest []byte) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		end = len(p)
	}
	if cr := bytes.IndexByte(p[:end], '\r'); cr >= 0 {
		rest = p[cr+1:]
		if len(rest) > 0 && rest[0] == '\n' {
			rest = rest[1:]
		}
		return p[:cr], rest
	}
	if end == len(p) {
		return p, nil
	}
	return p[:end], p[end+1:]
}

// cutField splits a line at its first colon; one space after it does not belong to the value.
func cutField(line []byte) (name, value []byte) {
	name, value, _ = bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return name, value
}
