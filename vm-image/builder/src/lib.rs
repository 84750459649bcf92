//! Kernel, system image and hello image, reproducibly: the same inputs give the same bytes.
//!
//! Inputs are Debian packages named by version and SHA-256 in `vm-image/image.lock`, and our own agent. Nothing is installed on the machine
//! that builds: packages are fetched by the machine's own apt into a folder of ours and unpacked there. A mirror drops old versions; then the
//! newest is taken with a warning, and [`lock::update`] moves the lock.
//!
//! ```text
//! image.lock ──► debian (apt, dpkg-deb) ──► kernel: vmlinuz, modules ─┐
//!                                      └──► system: tools, CA certs  ─┼──► tree ──► cpio (initrd), erofs (system image)
//! berth-agent ────────────────────────────────────────────────────────┘         └─► hello.tar
//! ```

pub mod cpio;
pub mod debian;
pub mod image;
pub mod kernel;
pub mod lock;
pub mod system;
pub mod tree;
