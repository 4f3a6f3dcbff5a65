package upstream

// Get returns the first value of a header.
func (r *Response) Get(lower string) []byte { return r.Header.Peek(lower) }

// Fields yields all headers.
func (r *Response) Fields(yield func(name, value []byte) bool) {
	for n, v := range r.Header.All() {
		if !yield(n, v) {
			return
		}
	}
}

// Each reads to the end of the body.
func (r *Response) Each(take func([]byte) bool) error {
	p := make([]byte, 4032)
	for {
		n, err := r.Read(p)
		if n > 0 && !take(p[:n]) {
			return nil
		}
		if err != nil {
			if err.Error() == "EOF" {
				return nil
			}
			return err
		}
	}
}
