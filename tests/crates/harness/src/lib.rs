//! Engines, registries and machines for tests.
