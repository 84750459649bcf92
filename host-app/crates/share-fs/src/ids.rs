//! Node ids and handles as the guest sees them: the grant's number above, the grant's own number below. Pure.

/// Bits of a grant's own number. Both counters only go up: one lookup each microsecond fills these in half a year.
const LOCAL_BITS: u32 = 44;

/// Largest number of a grant.
pub(crate) const MAX_GRANT: u32 = (1 << (64 - LOCAL_BITS)) - 1;

/// One number of the two; none when either is too large.
pub(crate) fn pack(grant: u32, local: u64) -> Option<u64> {
    (grant <= MAX_GRANT && local >> LOCAL_BITS == 0).then(|| u64::from(grant) << LOCAL_BITS | local)
}

/// The grant's number (0: none, the root of all) and its own number.
pub(crate) fn unpack(packed: u64) -> (u32, u64) {
    let grant = u32::try_from(packed >> LOCAL_BITS).expect("the shift leaves 20 bits");
    (grant, packed & ((1 << LOCAL_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_comes_back_and_what_does_not_is_refused() {
        for (grant, local) in [(0, 1), (1, 1), (MAX_GRANT, (1 << LOCAL_BITS) - 1), (7, 0)] {
            let packed = pack(grant, local).expect("fits");
            assert_eq!(unpack(packed), (grant, local));
        }
        assert_eq!(pack(MAX_GRANT + 1, 1), None);
        assert_eq!(pack(1, 1 << LOCAL_BITS), None);
        assert_eq!(unpack(u64::MAX).0, MAX_GRANT);
    }
}
