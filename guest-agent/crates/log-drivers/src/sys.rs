//! Local time, which only the C library knows.
#![expect(unsafe_code, reason = "one call of the C library")]

/// A moment in this machine's time zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) year: i32,
    /// From 0.
    pub(crate) month: usize,
    pub(crate) day: i32,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) second: i32,
    /// East of UTC.
    pub(crate) offset_seconds: i64,
}

/// Seconds since 1970 in local time.
pub(crate) fn local(seconds: i64) -> Local {
    let mut out = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to this frame; the result is initialised by zeroes even when the call fails.
    let tm = unsafe {
        libc::localtime_r(&seconds, out.as_mut_ptr());
        out.assume_init()
    };
    Local {
        year: tm.tm_year + 1900,
        month: usize::try_from(tm.tm_mon).unwrap_or(0),
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        offset_seconds: tm.tm_gmtoff,
    }
}
