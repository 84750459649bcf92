//! Words of an instruction: taken apart, and with quotes and variables worked out as Docker does it.

use std::cell::Cell;

use errdefs::Result;

use super::invalid;

/// Most bytes that variables and ranges bring into one text of instructions: a variable made of itself twice is twice as long.
const MAX_BROUGHT_BYTES: usize = 4 << 20;

/// What may still be brought in.
pub(super) struct Budget(Cell<usize>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_BROUGHT_BYTES))
    }

    /// # Errors
    /// When it is used up.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        let left = self.0.get().checked_sub(bytes);
        let left = left.ok_or_else(|| {
            invalid(format!(
                "instructions that expand to more than {MAX_BROUGHT_BYTES} bytes are not supported"
            ))
        })?;
        self.0.set(left);
        Ok(())
    }
}

/// Variables, and what they may bring.
#[derive(Clone, Copy)]
pub(super) struct Environment<'a> {
    pub(super) variables: &'a [String],
    pub(super) budget: &'a Budget,
}

/// Splits at white space outside of quotes; quotes and escapes stay.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('\''), _) | (None, _) if letter == '\'' => {
                quote = if quote.is_some() { None } else { Some('\'') };
                word.push(letter);
            }
            (Some('\''), _) => word.push(letter),
            (_, '\\') => {
                word.push(letter);
                word.extend(letters.next());
            }
            (Some(_), '"') => {
                quote = None;
                word.push(letter);
            }
            (None, '"') => {
                quote = Some('"');
                word.push(letter);
            }
            (None, letter) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Works out one word: its quotes and variables.
pub(super) fn expand(word: &str, environment: Environment<'_>) -> Result<String> {
    Expansion::run(word, environment).map(|expansion| expansion.text)
}

/// The same; what a variable brings is split at its white space.
pub(super) fn expand_to_words(word: &str, environment: Environment<'_>) -> Result<Vec<String>> {
    let mut expansion = Expansion::run(word, environment)?;
    if !expansion.word.is_empty() || expansion.quoted {
        expansion.words.push(std::mem::take(&mut expansion.word));
    }
    Ok(expansion.words)
}

struct Expansion<'a> {
    whole: &'a str,
    left: std::iter::Peekable<std::str::Chars<'a>>,
    environment: Environment<'a>,
    text: String,
    words: Vec<String>,
    word: String,
    quoted: bool,
}

impl<'a> Expansion<'a> {
    fn run(whole: &'a str, environment: Environment<'a>) -> Result<Self> {
        let mut expansion = Self {
            whole,
            left: whole.chars().peekable(),
            environment,
            text: String::new(),
            words: Vec::new(),
            word: String::new(),
            quoted: false,
        };
        while let Some(letter) = expansion.left.next() {
            match letter {
                '\'' => expansion.single()?,
                '"' => expansion.double()?,
                '\\' => {
                    // One at the end is nothing.
                    let escaped = expansion.left.next().map(String::from);
                    expansion.push(&escaped.unwrap_or_default());
                }
                '$' => {
                    let value = expansion.variable()?;
                    expansion.push_split(&value);
                }
                letter if letter.is_whitespace() => expansion.push_split(&letter.to_string()),
                letter => expansion.push(&letter.to_string()),
            }
        }
        Ok(expansion)
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn push_split(&mut self, text: &str) {
        self.text.push_str(text);
        for letter in text.chars() {
            if !letter.is_whitespace() {
                self.word.push(letter);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn single(&mut self) -> Result<()> {
        self.quoted = true;
        loop {
            match self.left.next() {
                Some('\'') => return Ok(()),
                Some(letter) => self.push(&letter.to_string()),
                None => return Err(self.unfinished("single")),
            }
        }
    }

    fn double(&mut self) -> Result<()> {
        self.quoted = true;
        loop {
            match self.left.next() {
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.variable()?;
                    self.push(&value);
                }
                Some('\\') => match self.left.peek() {
                    Some('"' | '$' | '\\') => {
                        let escaped = self.left.next().map(String::from);
                        self.push(&escaped.unwrap_or_default());
                    }
                    _ => self.push("\\"),
                },
                Some(letter) => self.push(&letter.to_string()),
                None => return Err(self.unfinished("double")),
            }
        }
    }

    fn unfinished(&self, kind: &str) -> errdefs::Error {
        self.wrong(&format!(
            "unexpected end of statement while looking for matching {kind}-quote"
        ))
    }

    fn wrong(&self, why: &str) -> errdefs::Error {
        invalid(format!("failed to process {:?}: {why}", self.whole))
    }

    fn variable(&mut self) -> Result<String> {
        let value = self.after_dollar()?;
        self.environment.budget.take(value.len())?;
        Ok(value)
    }

    /// What follows a dollar sign.
    fn after_dollar(&mut self) -> Result<String> {
        if self.left.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name).unwrap_or_default()
            });
        }
        self.left.next();
        let name = self.name();
        if name.is_empty() {
            return Err(self.wrong("syntax error: bad substitution"));
        }
        let value = self.value(&name);
        let mut modifier = self.left.next();
        let counts_empty = modifier == Some(':');
        if counts_empty {
            modifier = self.left.next();
        }
        let is_set = value
            .as_ref()
            .is_some_and(|value| !counts_empty || !value.is_empty());
        match modifier {
            Some('}') if !counts_empty => Ok(value.unwrap_or_default()),
            Some('-') => {
                let word = self.until_brace()?;
                Ok(if is_set {
                    value.unwrap_or_default()
                } else {
                    word
                })
            }
            Some('+') => {
                let word = self.until_brace()?;
                Ok(if is_set { word } else { String::new() })
            }
            Some('?') => {
                let word = self.until_brace()?;
                match value.filter(|_| is_set) {
                    Some(value) => Ok(value),
                    None if word.is_empty() => {
                        Err(self.wrong(&format!("{name}: is not allowed to be unset")))
                    }
                    None => Err(self.wrong(&format!("{name}: {word}"))),
                }
            }
            other => {
                let other = other.unwrap_or(char::REPLACEMENT_CHARACTER);
                Err(self.wrong(&format!("unsupported modifier ({other}) in substitution")))
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self
            .left
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(letter);
            // Parameters have one digit.
            if name.len() == 1 && letter.is_ascii_digit() {
                break;
            }
        }
        name
    }

    fn until_brace(&mut self) -> Result<String> {
        let mut word = String::new();
        let mut depth = 0_u32;
        for letter in self.left.by_ref() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => return expand(&word, self.environment),
                '}' => depth -= 1,
                _ => {}
            }
            word.push(letter);
            // Each step in is a call: a text of braces alone would use up the stack.
            if depth > 32 {
                break;
            }
        }
        Err(self.wrong("syntax error: missing '}'"))
    }

    fn value(&self, name: &str) -> Option<String> {
        self.environment.variables.iter().find_map(|entry| {
            let (key, value) = entry.split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_outside_of_quotes() {
        assert_eq!(
            split(r#"A=1 B="two words" C=a\ b 'd e'=f  "#),
            ["A=1", "B=\"two words\"", "C=a\\ b", "'d e'=f"]
        );
    }

    #[test]
    fn words_are_worked_out_as_docker_does_it() {
        let variables = ["X=1".to_owned(), "E=".to_owned(), "W=a b".to_owned()];
        let environment = Environment {
            variables: &variables,
            budget: &Budget::new(),
        };
        for (word, expected) in [
            ("\"two words\"", "two words"),
            ("'$X'", "$X"),
            ("\"x${X}y\"", "x1y"),
            ("${NOPE:-def}", "def"),
            ("${E:-def}${E-def}", "def"),
            ("${X:+alt}${NOPE:+alt}", "alt"),
            ("${NOPE:-a${X}b}", "a1b"),
            ("a\\ b\\$X", "a b$X"),
            ("\"x\\\"y\\z\"", "x\"y\\z"),
            ("$", "$"),
            ("$NOPE", ""),
            ("$X$X", "11"),
        ] {
            assert_eq!(expand(word, environment).expect(word), expected, "{word}");
        }
        assert_eq!(
            expand_to_words("$W", environment).expect("words"),
            ["a", "b"]
        );
        assert_eq!(
            expand_to_words("$NOPE", environment).expect("words"),
            [""; 0]
        );
    }

    #[test]
    fn what_is_not_finished_is_refused() {
        let none = Environment {
            variables: &[],
            budget: &Budget::new(),
        };
        for word in ["${B", "'a", "\"a", "${}", "${X!}", "${X:", "${X:-"] {
            assert!(expand(word, none).is_err(), "{word}");
        }
        let deep = "${A:-".repeat(5000);
        assert!(expand(&deep, none).is_err());
    }
}
