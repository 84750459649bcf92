//! setup, up, test, image, lint, bench.

fn main() {}
