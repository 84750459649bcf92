//! The workspace keeps its own rules.
