//! Links, addresses, nftables and published ports.
