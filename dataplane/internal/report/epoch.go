package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"fairway/pkg/atomicfile"
)

// epoch is how many records of a boot belong to books that are no more.
//
// When the control plane is restored from a backup, its watermark may fall behind records that were acknowledged and
// deleted here. The records that follow would be refused for ever, because there must be no gap. So the boot begins
// anew for the books: under the id "<boot id>.<epoch>", counting from 1 after the records that are gone.
type epoch uint64

// epochFile holds the epoch in a boot's directory, decimal; none is epoch 0.
const epochFile = "epoch"

// wire is the boot id that the server knows.
func (e epoch) wire(bootID string) string {
	if e == 0 {
		return bootID
	}
	return bootID + "." + strconv.FormatUint(uint64(e), 10)
}

func loadEpoch(dir string) (epoch, error) {
	text, err := os.ReadFile(filepath.Join(dir, epochFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read spool epoch: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read spool epoch: %w", err)
	}
	return epoch(n), nil
}

// save must have returned before the first record is sent under the new id.
func (e epoch) save(dir string) error {
	if err := atomicfile.Write(filepath.Join(dir, epochFile), fmt.Appendln(nil, uint64(e)), 0o600); err != nil {
		return fmt.Errorf("write spool epoch: %w", err)
	}
	return nil
}
