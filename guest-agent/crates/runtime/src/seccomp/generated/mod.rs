//! Numbers of system calls, one table an architecture; a test of the tables' own compares them with the headers of this machine.

mod aarch64;
mod arm;
mod x86;
mod x86_64;

pub(super) use aarch64::CALLS as AARCH64;
pub(super) use arm::CALLS as ARM;
pub(super) use x86::CALLS as X86;
pub(super) use x86_64::CALLS as X86_64;

#[cfg(test)]
mod tests {
    /// `#define __NR_name number` of a header; `None` where the header is not installed.
    fn header(path: &str) -> Option<Vec<(String, u32)>> {
        let text = std::fs::read_to_string(path).ok()?;
        let line = |line: &str| {
            let (name, number) = line
                .strip_prefix("#define __NR_")?
                .split_once(char::is_whitespace)?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        };
        let mut all: Vec<_> = text.lines().filter_map(line).collect();
        all.sort();
        Some(all)
    }

    #[test]
    fn the_tables_are_what_the_headers_say() {
        for (table, path) in [
            (
                super::X86_64,
                "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
            ),
            (super::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
        ] {
            let Some(header) = header(path) else {
                eprintln!("skipped: {path} is not installed");
                continue;
            };
            // A newer header knows more; what the table has must be the same.
            let missing: Vec<_> = table
                .iter()
                .filter(|(name, number)| !header.contains(&((*name).to_owned(), *number)))
                .collect();
            assert!(missing.is_empty(), "{path}: {missing:?}");
        }
    }
}
