//! Figures beside Debian's dockerd, in one run.

fn main() {}
