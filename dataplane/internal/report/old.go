package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oldBoot is what an earlier process left: its shelf of segments. The spool's lock proves that the process is over.
type oldBoot struct {
	id    string
	dir   string
	kept  []uint64
	bytes int64
	freed func(bytes int64)

	// The segment that was read last.
	number uint64
	leaf   leaf
}

// damagedSuffix marks a segment that could not be read; it is kept for a person to look at.
const damagedSuffix = ".damaged"

// findOldBoots lists the boots under root in the order of their ids, without the running one.
func findOldBoots(root, running string, log *slog.Logger) ([]*oldBoot, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list usage spools: %w", err)
	}
	var boots []*oldBoot
	for _, entry := range entries {
		if !entry.IsDir() || !validBootID(entry.Name()) || entry.Name() == running {
			continue
		}
		b := &oldBoot{id: entry.Name(), dir: filepath.Join(root, entry.Name()), freed: func(int64) {}}
		switch err := b.scan(log); {
		case errors.Is(err, errForeign):
			log.Warn("usage spool of another format left alone", "boot_id", b.id, "error", err)
		case err != nil:
			log.Error("usage spool cannot be read", "boot_id", b.id, "error", err)
		case len(b.kept) == 0:
			if err := clearDir(b.dir); err != nil {
				log.Warn("empty usage spool not deleted", "boot_id", b.id, "error", err)
			}
		default:
			boots = append(boots, b)
		}
	}
	return boots, nil
}

// scan finds the segments, deletes what was never finished, and sets damaged ones aside.
func (b *oldBoot) scan(log *slog.Logger) error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(b.dir, entry.Name())
		if strings.HasSuffix(entry.Name(), partSuffix) {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		name, isSegment := strings.CutSuffix(entry.Name(), segmentSuffix)
		number, err := strconv.ParseUint(name, 10, 64)
		if !isSegment || err != nil || segmentName(number) != entry.Name() {
			continue
		}
		size, err := checkHeader(path)
		if errors.Is(err, errDamaged) {
			log.Error("damaged usage segment set aside", "path", path+damagedSuffix, "error", err)
			if err := os.Rename(path, path+damagedSuffix); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		b.kept = append(b.kept, number)
		b.bytes += size
	}
	slices.Sort(b.kept)
	return nil
}

// checkHeader reads no more than a segment's header.
func checkHeader(path string) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(f, head); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("%w: %d bytes", errDamaged, info.Size())
	} else if err != nil {
		return 0, err
	}
	return info.Size(), checkHead(head, info.Size())
}

func (b *oldBoot) numbers() []uint64 { return b.kept }

func (b *oldBoot) path(number uint64) string { return filepath.Join(b.dir, segmentName(number)) }

func (b *oldBoot) open(number uint64) (leaf, error) {
	if b.number == number {
		return b.leaf, nil
	}
	image, err := os.ReadFile(b.path(number))
	if err != nil {
		return leaf{}, fmt.Errorf("read usage segment: %w", err)
	}
	p, before, known, err := parseSegment(image)
	if err != nil {
		return leaf{}, fmt.Errorf("read usage segment %d of boot %s: %w", number, b.id, err)
	}
	b.number = number
	b.leaf = leaf{pages: p, before: before, known: known, limit: p.used(), sealed: true, over: true}
	return b.leaf, nil
}

func (b *oldBoot) place(number, before uint64) (err error) {
	f, err := os.OpenFile(b.path(number), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("place usage segment: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, before+1), offsetBase); err != nil {
		return fmt.Errorf("place usage segment: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("place usage segment: %w", err)
	}
	if b.number == number {
		b.leaf.before, b.leaf.known = before, true
	}
	return nil
}

func (b *oldBoot) drop(number uint64) error {
	path := b.path(number)
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("delete usage segment: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("delete usage segment: %w", err)
	}
	b.kept = slices.DeleteFunc(slices.Clone(b.kept), func(n uint64) bool { return n == number })
	b.freed(info.Size())
	return nil
}

// clearDir deletes the directory of a boot without segments, unless something unknown is in it.
func clearDir(dir string) error {
	if err := os.Remove(filepath.Join(dir, epochFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete usage spool: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("delete usage spool: %w", err)
	}
	return nil
}
