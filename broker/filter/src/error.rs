//! Why an expression is refused, said so that its author can mend it.

use std::fmt;

use thiserror::Error;

/// Longest piece of an expression that an error repeats, in characters.
const QUOTED_MAX: usize = 40;

/// An expression that was refused. Its text is what the user reads beside the code
/// `ILLEGAL_FILTER_EXPRESSION`:
///
/// ```text
/// illegal filter expression at character 8: found `==`, expected `=`; write one = to compare
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("illegal filter expression at {position}: found {found}, expected {expected}; {advice}")]
pub struct SyntaxError {
    /// Where the trouble begins.
    pub position: Position,
    /// What stands there: a piece of the expression between backticks, or a description. At most some 50
    /// characters, none of them a control character or one that is not seen.
    pub found: String,
    /// What could have stood there.
    pub expected: &'static str,
    /// How to mend it.
    pub advice: &'static str,
}

/// A place in an expression. All numbers count from 1, in characters (Unicode scalar values, not bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The character, counted from the start of the expression.
    pub character: usize,
    /// The line.
    pub line: usize,
    /// The character, counted from the start of the line.
    pub column: usize,
}

impl fmt::Display for Position {
    /// Names the line only where it helps: most expressions have one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}", self.character)?;
        if self.line > 1 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        Ok(())
    }
}

impl Position {
    /// The place of a byte of `text`; where the byte is inside a character, of that character.
    pub(crate) fn of_byte(text: &str, byte: usize) -> Self {
        let mut position = Self { character: 1, line: 1, column: 1 };
        for (at, character) in text.char_indices() {
            if at + character.len_utf8() > byte {
                break;
            }
            position.character += 1;
            position.column += 1;
            if character == '\n' {
                position.line += 1;
                position.column = 1;
            }
        }
        position
    }
}

/// Whether a character is not seen itself but may change how others are, such as those that turn the direction of writing:
/// what the standard library does not print in `Debug` output.
fn hides(character: char) -> bool {
    // Behind another one: marks that belong to the character before them are seen there.
    let shown = String::from_iter(['.', character]);
    shown.escape_debug().nth(2) == Some('u')
}

/// A piece of an expression as an error shows it: between backticks, shortened, on one line.
pub(crate) fn quoted(piece: &str) -> String {
    let mut out = String::from("`");
    for character in piece.chars().take(QUOTED_MAX) {
        if character.is_control() || hides(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if piece.chars().nth(QUOTED_MAX).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_is_not_seen() {
        assert_eq!(quoted("a\u{202e}b\u{200b}\u{feff}\u{ad}\n"), r"`a\u{202e}b\u{200b}\u{feff}\u{ad}\n`");
        assert_eq!(quoted("\u{2028}\u{e0041}"), r"`\u{2028}\u{e0041}`");
        assert_eq!(quoted("naïve 日本 e\u{301} \"\\'"), "`naïve 日本 e\u{301} \"\\'`");
    }
}
