//! Options of `ps`, as far as they pick columns and processes. Man page: ps(1) of procps.

use super::columns::{self, Column};

/// What `ps` was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Arguments {
    pub(super) columns: Vec<Column>,
    pub(super) no_headers: bool,
    /// Keys to order by; true: falling.
    pub(super) order: Vec<(Column, bool)>,
    pub(super) chosen: Chosen,
}

/// Which processes; all empty: every one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) pids: Vec<String>,
    pub(super) parents: Vec<String>,
    /// Names or numbers.
    pub(super) users: Vec<String>,
    pub(super) names: Vec<String>,
}

#[derive(Default)]
struct Parser {
    bsd: bool,
    /// Letters that pick a format.
    formats: String,
    /// `-o`.
    own: Vec<Column>,
    done: Arguments,
}

/// Reads the options.
///
/// # Errors
/// The text `ps` would have written.
pub(super) fn parse(text: &str) -> Result<Arguments, String> {
    let mut parser = Parser::default();
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let mut value = |rest: &str| -> Result<String, String> {
            if rest.is_empty() {
                words
                    .next()
                    .map(str::to_owned)
                    .ok_or_else(|| "error: list of something must follow".to_owned())
            } else {
                Ok(rest.to_owned())
            }
        };
        if let Some(long) = word.strip_prefix("--") {
            parser.long(long, value)?;
        } else if let Some(letters) = word
            .strip_prefix('-')
            .filter(|letters| !letters.starts_with("aux"))
        {
            parser.unix(letters, &mut value)?;
        } else {
            // `-aux` means what its writer meant: there is no user `x`.
            parser.bsd(word.trim_start_matches('-'), &mut value)?;
        }
    }
    parser.finish()
}

impl Parser {
    fn unix(
        &mut self,
        letters: &str,
        value: &mut impl FnMut(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        for (place, letter) in letters.char_indices() {
            let rest = &letters[place + letter.len_utf8()..];
            match letter {
                'A' | 'e' | 'a' | 'd' | 'w' | 'c' => {}
                'f' | 'F' | 'l' | 'j' | 'y' => self.formats.push(letter),
                'x' => self.bsd = true,
                'o' => {
                    self.own.extend(columns::own(&value(rest)?)?);
                    return Ok(());
                }
                'p' | 'q' | 'u' | 'U' | 'C' => {
                    let list = value(rest)?;
                    let target = match letter {
                        'p' | 'q' => &mut self.done.chosen.pids,
                        'C' => &mut self.done.chosen.names,
                        _ => &mut self.done.chosen.users,
                    };
                    target.extend(items(&list));
                    return Ok(());
                }
                _ => return Err("error: unsupported SysV option".to_owned()),
            }
        }
        Ok(())
    }

    fn bsd(
        &mut self,
        letters: &str,
        value: &mut impl FnMut(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        self.bsd = true;
        for (place, letter) in letters.char_indices() {
            let rest = &letters[place + letter.len_utf8()..];
            match letter {
                'a' | 'x' | 'w' | 'g' => {}
                'h' => self.done.no_headers = true,
                'u' | 'l' | 'j' => self.formats.push(letter),
                'o' => {
                    self.own.extend(columns::own(&value(rest)?)?);
                    return Ok(());
                }
                'k' => {
                    self.order(&value(rest)?)?;
                    return Ok(());
                }
                'p' => {
                    self.done.chosen.pids.extend(items(&value(rest)?));
                    return Ok(());
                }
                _ => return Err("error: unsupported option (BSD syntax)".to_owned()),
            }
        }
        Ok(())
    }

    fn long(
        &mut self,
        text: &str,
        mut value: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<(), String> {
        let (name, given) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "no-headers" | "no-heading" | "noheader" | "noheaders" | "no-heading(s)" => {
                self.done.no_headers = true
            }
            "headers" | "heading" => {}
            "cols" | "columns" | "width" | "rows" | "lines" => drop(value(given)?),
            "format" => self.own.extend(columns::own(&value(given)?)?),
            "sort" => self.order(&value(given)?)?,
            "pid" | "quick-pid" => self.done.chosen.pids.extend(items(&value(given)?)),
            "ppid" => self.done.chosen.parents.extend(items(&value(given)?)),
            "user" | "User" => self.done.chosen.users.extend(items(&value(given)?)),
            _ => return Err("error: unknown gnu long option".to_owned()),
        }
        Ok(())
    }

    fn order(&mut self, text: &str) -> Result<(), String> {
        for key in items(text) {
            let falling = key.starts_with('-');
            let column = columns::find(key.trim_start_matches(['+', '-']))
                .ok_or("error: unknown sort specifier")?;
            self.done.order.push((column, falling));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Arguments, String> {
        let has = |letter: char| self.formats.contains(letter);
        if !self.own.is_empty() {
            if !self.formats.is_empty() {
                return Err("error: conflicting format options".to_owned());
            }
            self.done.columns = self.own;
            return Ok(self.done);
        }
        let list = if self.bsd {
            match self.formats.as_str() {
                "" => "pid,tname=TTY,stat,bsdtime,args",
                "u" => "user,pid,%cpu,%mem,vsz,rss,tname=TTY,stat,bsdstart,bsdtime,args",
                "j" => "ppid,pid,pgid,sid,tname=TTY,tpgid,stat,uid,bsdtime,args",
                "l" => "f,uid,pid,ppid,priority,ni,vsz,rss,wchan:6,stat,tname=TTY,bsdtime,args",
                _ => return Err("error: conflicting format options".to_owned()),
            }
        } else {
            match (has('F'), has('f'), has('l'), has('j')) {
                (false, false, false, false) => "pid,tname=TTY,time,ucmd",
                (true, _, false, false) => {
                    "user=UID,pid,ppid,c,sz,rss,psr,stime,tname=TTY,time,cmd"
                }
                (_, true, false, false) => "user=UID,pid,ppid,c,stime,tname=TTY,time,cmd",
                (_, true, false, true) => "user=UID,pid,ppid,pgid,sid,c,stime,tname=TTY,time,cmd",
                (_, true, true, false) => {
                    "f,s,user=UID,pid,ppid,c,opri,ni,addr,sz,wchan:6,stime,tname=TTY,time,cmd"
                }
                (_, _, false, true) => "pid,pgid,sid,tname=TTY,time,ucmd",
                (_, _, true, false) if has('y') => {
                    "s,uid,pid,ppid,c,opri,ni,rss,sz,wchan:6,tname=TTY,time,ucmd"
                }
                (_, _, true, false) => {
                    "f,s,uid,pid,ppid,c,opri,ni,addr,sz,wchan:6,tname=TTY,time,ucmd"
                }
                _ => return Err("error: conflicting format options".to_owned()),
            }
        };
        self.done.columns = columns::built_in(list);
        Ok(self.done)
    }
}

fn items(list: &str) -> impl Iterator<Item = String> + '_ {
    list.split(',')
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> String {
        match parse(text) {
            Ok(arguments) => arguments
                .columns
                .iter()
                .map(|column| column.title.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn formats_have_the_columns_of_ps() {
        for (text, want) in [
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e -f", "UID PID PPID C STIME TTY TIME CMD"),
            (
                "aux",
                "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
            ),
            (
                "-aux",
                "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
            ),
            ("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
            (
                "-el",
                "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD",
            ),
            ("-ely", "S UID PID PPID C PRI NI RSS SZ WCHAN TTY TIME CMD"),
            (
                "l",
                "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND",
            ),
            ("axj", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND"),
            ("-A", "PID TTY TIME CMD"),
            ("-x", "PID TTY STAT TIME COMMAND"),
            ("-eo pid,ppid,cmd", "PID PPID CMD"),
            ("axo pid,args", "PID COMMAND"),
            ("-o pid -o user:20", "PID USER"),
            ("-opid=ID,comm", "ID COMMAND"),
            ("--format=pid,etime", "PID ELAPSED"),
            (
                "-o pid,foo",
                "error: unknown user-defined format specifier \"foo\"",
            ),
            ("--foo", "error: unknown gnu long option"),
            ("z", "error: unsupported option (BSD syntax)"),
            ("-ef -o pid", "error: conflicting format options"),
        ] {
            assert_eq!(titles(text), want, "{text}");
        }
    }

    #[test]
    fn selections_and_order_are_taken() {
        let arguments = parse("-p 1,2 -u root --sort=-rss,pid").unwrap();
        assert_eq!(arguments.chosen.pids, ["1", "2"]);
        assert_eq!(arguments.chosen.users, ["root"]);
        assert_eq!(arguments.order.len(), 2);
        assert!(arguments.order[0].1 && !arguments.order[1].1);
    }
}
