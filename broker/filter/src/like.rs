//! Patterns of LIKE: `%` stands for any run of characters, `_` for any one, and every other for itself.
//!
//! A pattern is cut at its `%` into pieces. The first and the last are held against the ends of a text, those
//! between are looked for from left to right; the leftmost place is always good enough. So no match is ever
//! taken back, and a match needs neither recursion nor memory.

mod finder;

use std::mem;

use self::finder::Finder;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    head: Piece,
    /// `None` for a pattern without `%`.
    tail: Option<Tail>,
}

/// What follows the first `%`.
#[derive(Clone, Debug)]
struct Tail {
    middle: Box<[Middle]>,
    last: Piece,
}

/// A piece that may be anywhere in what is left of a text.
#[derive(Clone, Debug)]
enum Middle {
    Literal(String),
    /// With `_`, short enough to be looked for in one pass.
    Short(Finder),
    /// With `_`, and tried at every place.
    Long(Piece),
}

/// What stands between two `%`.
#[derive(Clone, Debug, Default)]
struct Piece(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    /// `_`.
    AnyOne,
}

/// An escape character before one that it cannot escape, or at the end of the pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadEscape {
    /// Where the escape character is, as the caller counts.
    pub(crate) at: usize,
}

impl Pattern {
    /// Compiles the characters of a pattern, each with its place.
    pub(crate) fn compile(
        mut characters: impl Iterator<Item = (usize, char)>,
        escape: Option<char>,
    ) -> Result<Self, BadEscape> {
        let mut before = Vec::new();
        let mut piece = Piece::default();
        while let Some((at, character)) = characters.next() {
            // An escape character may be `%` or `_`: it is looked at first.
            if Some(character) == escape {
                let escaped = characters.next().map(|(_, escaped)| escaped);
                let allowed = |escaped: &char| matches!(escaped, '%' | '_') || Some(*escaped) == escape;
                piece.push_literal(escaped.filter(allowed).ok_or(BadEscape { at })?);
            } else if character == '%' {
                before.push(mem::take(&mut piece));
            } else if character == '_' {
                piece.0.push(Part::AnyOne);
            } else {
                piece.push_literal(character);
            }
        }
        let mut before = before.into_iter();
        let Some(head) = before.next() else { return Ok(Self { head: piece, tail: None }) };
        // Nothing is between the two of `%%`.
        let middle = before.filter(|piece| !piece.0.is_empty()).map(Middle::of).collect();
        Ok(Self { head, tail: Some(Tail { middle, last: piece }) })
    }

    /// How often a text may be read from end to end to look for the pattern, beyond once.
    ///
    /// A literal is found in one pass. A piece with `_` that may be anywhere counts as many passes as it has
    /// characters: so many it takes where it is long, and the slower steps of one where it is short.
    pub(crate) fn passes(&self) -> usize {
        let middle = self.tail.iter().flat_map(|tail| tail.middle.iter());
        middle.map(Middle::passes).sum()
    }

    /// Whether the whole text is as the pattern says.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(rest) = self.head.strip_prefix(text) else { return false };
        let Some(tail) = &self.tail else { return rest.is_empty() };
        let Some(mut rest) = tail.last.strip_suffix(rest) else { return false };
        tail.middle.iter().all(|piece| match piece.after(rest) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

impl Piece {
    fn push_literal(&mut self, character: char) {
        if let Some(Part::Literal(literal)) = self.0.last_mut() {
            literal.push(character);
        } else {
            self.0.push(Part::Literal(character.into()));
        }
    }

    /// The piece's text, if it has no `_`.
    fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    fn characters(&self) -> usize {
        let characters = |part: &Part| match part {
            Part::Literal(literal) => literal.chars().count(),
            Part::AnyOne => 1,
        };
        self.0.iter().map(characters).sum()
    }

    /// The rest of a text that begins with the piece.
    fn strip_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.0.iter().try_fold(text, |rest, part| match part {
            Part::Literal(literal) => rest.strip_prefix(literal.as_str()),
            Part::AnyOne => rest.strip_prefix(|_| true),
        })
    }

    /// The rest of a text that ends with the piece.
    fn strip_suffix<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.0.iter().rev().try_fold(text, |rest, part| match part {
            Part::Literal(literal) => rest.strip_suffix(literal.as_str()),
            Part::AnyOne => rest.strip_suffix(|_| true),
        })
    }
}

impl Middle {
    fn of(piece: Piece) -> Self {
        if let Some(literal) = piece.literal() {
            return Self::Literal(literal.to_owned());
        }
        let characters = piece.0.iter().flat_map(|part| {
            let (literal, any) = match part {
                Part::Literal(literal) => (literal.as_str(), None),
                Part::AnyOne => ("", Some(None)),
            };
            literal.chars().map(Some).chain(any)
        });
        match Finder::new(characters) {
            Some(finder) => Self::Short(finder),
            None => Self::Long(piece),
        }
    }

    fn passes(&self) -> usize {
        match self {
            Self::Literal(_) => 0,
            Self::Short(finder) => finder.characters(),
            Self::Long(piece) => piece.characters(),
        }
    }

    /// What follows the piece where it is first in a text.
    fn after<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Literal(literal) => text.find(literal.as_str()).map(|at| &text[at + literal.len()..]),
            Self::Short(finder) => finder.after(text),
            Self::Long(piece) => text.char_indices().find_map(|(at, _)| piece.strip_prefix(&text[at..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, escape: Option<char>) -> Result<Pattern, BadEscape> {
        Pattern::compile(text.char_indices(), escape)
    }

    fn like(text: &str, of: &str) -> bool {
        pattern(of, None).unwrap().matches(text)
    }

    #[test]
    fn percent_stands_for_any_run_of_characters() {
        for of in ["%", "%%", "a%", "%c", "a%c", "%b%", "abc%", "%abc", "a%b%c", "%a%b%c%"] {
            assert!(like("abc", of), "{of}");
        }
        for of in ["", "a", "b%", "%b", "a%bc%c", "%abcd%", "abc%c", "a%a"] {
            assert!(!like("abc", of), "{of}");
        }
        assert!(like("", "%") && like("", "") && !like("", "_%"));
    }

    #[test]
    fn underscore_stands_for_one_character_of_any_width() {
        assert!(like("naïve", "na_ve") && like("日本", "__") && !like("日本", "___"));
        assert!(like("abcd", "%_c%") && like("abcd", "_%_") && like("xaab", "%a_%"));
        assert!(!like("ab", "%b_%") && !like("a", "_%_"));
    }

    #[test]
    fn the_ends_of_a_pattern_do_not_share_a_character() {
        assert!(!like("aba", "ab%ba") && like("abba", "ab%ba"));
        assert!(!like("aXa", "aX%Xa") && !like("ab", "%b%b"));
    }

    #[test]
    fn an_escape_character_takes_the_meaning_from_the_next() {
        let escaped = |text: &str, of: &str, escape| pattern(of, Some(escape)).unwrap().matches(text);
        assert!(escaped("100%", "100!%", '!') && !escaped("1000", "100!%", '!'));
        assert!(escaped("a!b", "a!!b", '!') && escaped("a_b", "a%_b", '%') && escaped("a%b", "a%%b", '%'));
        assert_eq!(pattern("a!b", Some('!')).unwrap_err(), BadEscape { at: 1 });
        assert_eq!(pattern("ab!", Some('!')).unwrap_err(), BadEscape { at: 2 });
    }

    #[test]
    fn only_a_piece_with_underscores_that_may_be_anywhere_takes_more_passes() {
        let passes = |of| pattern(of, None).unwrap().passes();
        assert_eq!([passes("a_b"), passes("a_%_b"), passes("%abc%"), passes("%a_c%%_%")], [0, 0, 0, 4]);
    }
}
