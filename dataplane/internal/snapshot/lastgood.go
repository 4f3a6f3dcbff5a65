package snapshot

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"fairway/pkg/atomicfile"
)

// Names in the state directory.
const (
	lastGoodName = "lastgood"
	previousName = "lastgood.prev"
	keyName      = "lastgood.key"
)

const (
	saveEvery   = time.Second      // at most
	saveRetry   = 30 * time.Second // at most, between attempts that fail
	saveDuty    = 9                // a save of length d is followed by a pause of at least 9 d
	lgKeySize   = 32
	keyFileMode = 0o600
)

// Keeper keeps the last good state on disk, in two generations, sealed by a key beside it (which keeps it out of
// backups of the file alone, not from who can read the directory). It writes off the hot path, at most once per second
// and a tenth of the time, and once more at the end.
type Keeper struct {
	dir     string
	aead    cipher.AEAD
	log     *slog.Logger
	onSave  func(error)
	offered atomic.Pointer[Image]
	signal  chan struct{}
}

// KeeperOptions are optional.
type KeeperOptions struct {
	// OnSave is called after each attempt to write, with its outcome; nil = nobody is told.
	OnSave func(error)
}

// OpenKeeper reads the key in dir, or creates it with mode 0600. It refuses a key that others may read.
func OpenKeeper(dir string, log *slog.Logger, o KeeperOptions) (*Keeper, error) {
	key, err := loadOrCreateKey(filepath.Join(dir, keyName))
	if err != nil {
		return nil, err
	}
	aead, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	k := &Keeper{dir: dir, aead: aead, log: log, onSave: o.OnSave, signal: make(chan struct{}, 1)}
	if k.onSave == nil {
		k.onSave = func(error) {}
	}
	k.clear()
	return k, nil
}

// clear removes what a process left that was killed while it wrote: else each kill would cost a file of this size.
func (k *Keeper) clear() {
	left, err := filepath.Glob(filepath.Join(k.dir, "."+lastGoodName+".*.tmp"))
	if err != nil {
		return // a pattern in the directory's name
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			k.log.Warn("half-written file not removed", "path", path, "error", err)
		}
	}
}

func loadOrCreateKey(path string) ([]byte, error) {
	fresh := make([]byte, lgKeySize)
	rand.Read(fresh) // never fails
	switch err := atomicfile.Create(path, fresh, keyFileMode); {
	case err == nil:
		return fresh, nil
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("create the key of the last good state: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the last good state: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key %s has mode %#o and others may use it; make it 0600", path, info.Mode().Perm())
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the last good state: %w", err)
	}
	if len(key) != lgKeySize {
		return nil, fmt.Errorf("the key %s has %d bytes, want %d; remove it to start without a last good state", path, len(key), lgKeySize)
	}
	return key, nil
}

// Load restores the newest generation that is whole into r, and says when that was saved. False: there is none; what
// is wrong with those that are there is in the log.
func (k *Keeper) Load(r *Replica) (at time.Time, ok bool) {
	for _, name := range []string{lastGoodName, previousName} {
		path := filepath.Join(k.dir, name)
		at, err := k.load(path, r)
		switch {
		case err == nil:
			k.log.Info("last good state loaded", "path", path, "revision", r.image.revision, "resources", r.image.Len(),
				"saved", at, "quarantined", len(r.image.sick))
			return at, true
		case !errors.Is(err, fs.ErrNotExist):
			k.log.Warn("last good state refused", "path", path, "error", err)
		}
	}
	return time.Time{}, false
}

func (k *Keeper) load(path string, r *Replica) (time.Time, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	s, err := unseal(k.aead, file)
	if err != nil {
		return time.Time{}, err
	}
	return s.at, r.restore(s)
}

// Offer names the state to keep. It never blocks; of several offers the last counts.
func (k *Keeper) Offer(im *Image) {
	k.offered.Store(im)
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

// Run writes what is offered until ctx ends, and then what is left. Failed writes are logged and tried again; the
// generations on disk stay.
func (k *Keeper) Run(ctx context.Context) error {
	var failed time.Duration
	for {
		select {
		case <-k.signal:
		case <-ctx.Done():
			_, _ = k.flush() // logged there
			return nil
		}
		took, err := k.flush()
		pause := max(saveEvery, saveDuty*took)
		if err != nil {
			failed = min(saveRetry, max(saveEvery, 2*failed))
			pause = max(pause, failed)
		} else {
			failed = 0
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_, _ = k.flush() // logged there
			return nil
		}
	}
}

// flush writes the offered image, if any, and says how long that took. After a failure it is offered again, unless
// there is a newer one.
func (k *Keeper) flush() (time.Duration, error) {
	im := k.offered.Swap(nil)
	if im == nil || im.lineage == "" {
		return 0, nil
	}
	start := time.Now()
	err := k.save(im, start)
	k.onSave(err)
	if err != nil {
		k.log.Error("last good state not saved", "error", err, "revision", im.revision)
		if k.offered.CompareAndSwap(nil, im) {
			k.Offer(im)
		}
	}
	return time.Since(start), err
}

// save makes the newest generation the previous one, and writes a new one. A crash in between leaves the previous one.
func (k *Keeper) save(im *Image, now time.Time) error {
	path := filepath.Join(k.dir, lastGoodName)
	file := seal(k.aead, im, now)
	if err := os.Rename(path, filepath.Join(k.dir, previousName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the previous state: %w", err)
	}
	if err := atomicfile.Write(path, file, keyFileMode); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return nil
}
