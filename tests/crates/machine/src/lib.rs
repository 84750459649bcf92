//! The whole product: berth, a VM, the docker CLI outside. The stories are in `tests/`.
