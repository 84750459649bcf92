//! What berth-vmm is: QEMU, vsock, shares and disks put together.
