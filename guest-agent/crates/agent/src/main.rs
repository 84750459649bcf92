//! The guest's one binary: init, engine, shim.

fn main() {}
