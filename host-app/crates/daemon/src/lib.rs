//! berthd as a library: socket, settings, machines.
