//! The Docker API through real clients, against the reference and against ours.
