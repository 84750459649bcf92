//! The machine process.

fn main() {}
