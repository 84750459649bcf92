//! Blobs, layers, snapshots and image names on disk.
