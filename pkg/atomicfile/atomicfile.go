// Package atomicfile writes small files so that a crash at any moment leaves the old content or the new, whole and on
// disk. It refuses to write through to a file in place, and it does not lock: two writers of one path give one of the
// two contents.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes path hold data with exactly mode's permissions (the umask does not count), replacing what is there: a
// temporary file beside it is written, synced and renamed, then the directory is synced. When it fails before the
// rename, path is as it was.
func Write(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, os.Rename)
}

// Create is Write for a path that must not exist yet; it fails with an error that is fs.ErrExist when it does. Of
// several processes that create one path, one succeeds, and the others never see it half-written.
func Create(path string, data []byte, mode fs.FileMode) error {
	// link(2), unlike rename(2), refuses to replace.
	return place(path, data, mode, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
}

func place(path string, data []byte, mode fs.FileMode, move func(from, to string) error) (err error) {
	dir, base := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	temp := filepath.Join(dir, "."+base+"."+rand.Text()+".tmp")
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := fill(temp, data, mode); err != nil {
		return errors.Join(err, remove(temp))
	}
	if err := move(temp, path); err != nil {
		return errors.Join(err, remove(temp))
	}
	return syncDir(dir)
}

// fill creates temp and returns when its content is on disk.
func fill(temp string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode.Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// remove deletes temp; that it is not there is fine.
func remove(temp string) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir puts the directory entry on disk: without it the rename may be lost in a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
