//go:build !unix

package sock

import "errors"

const direct = false

func readFD(int, []byte) (int, error)          { return 0, errors.ErrUnsupported }
func writeFD(int, []byte, []byte) (int, error) { return 0, errors.ErrUnsupported }

type probing struct{}

// Pending says, without waiting, whether there is something to read: data, or an end. It is false where that cannot be
// told.
func (c *Conn) Pending() bool { return false }

func (c *Conn) probeStep(uintptr) {}

func shutFD(uintptr) {}
