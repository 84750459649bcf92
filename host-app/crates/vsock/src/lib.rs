//! The vsock device's thoughts: packets in, actions out.
