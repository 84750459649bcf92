//! The engine's durable state in redb.
