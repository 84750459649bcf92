//! One small process a container: stdio, logs, exit status.
