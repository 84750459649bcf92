//! Kernel, system image and hello image, reproducibly.
