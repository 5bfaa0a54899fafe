// Command forget removes the containers and sandboxes of a stopped containerd from its metadata and keeps the images.
//
// A cluster that boots on a kept image store must not find the pods of its previous life: containerd would try to
// recover each of them, and their snapshots would pile up. Without a reference containerd collects the snapshots itself.
package main

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var runtimeBuckets = []string{"containers", "sandboxes", "leases"}

func forget(tx *bbolt.Tx) error {
	version := tx.Bucket([]byte("v1"))
	if version == nil {
		return nil
	}
	return version.ForEachBucket(func(namespace []byte) error {
		for _, name := range runtimeBuckets {
			err := version.Bucket(namespace).DeleteBucket([]byte(name))
			if err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
				return fmt.Errorf("%s/%s: %w", namespace, name, err)
			}
		}
		return nil
	})
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: forget CONTAINERD_ROOT/io.containerd.metadata.v1.bolt/meta.db")
		os.Exit(2)
	}
	db, err := bbolt.Open(os.Args[1], 0o600, nil)
	if err == nil {
		err = errors.Join(db.Update(forget), db.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "forget:", err)
		os.Exit(1)
	}
}
