//! From characters to tokens, one at a time.

use std::fmt;

use crate::error::{Position, SyntaxError, quoted};

/// A word, value or sign of an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token<'a> {
    Word(Word),
    /// A name that is no [`Word`]: a property's, or LIKE or ESCAPE where one of them can stand.
    Name(&'a str),
    /// What is between the quotes of a string, with each quote inside still doubled.
    Text(&'a str),
    /// Digits with at most one point and an exponent; no sign, no suffix.
    Number(&'a str),
    Sign(Sign),
    End,
}

/// The reserved words. LIKE and ESCAPE are none: they stand where no property can, so properties of these names,
/// which the reference allows, stay usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    And,
    Between,
    Contains,
    EndsWith,
    False,
    In,
    Is,
    Not,
    Null,
    Or,
    StartsWith,
    True,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const WORDS: [(&str, Word); 12] = [
    ("AND", Word::And),
    ("BETWEEN", Word::Between),
    ("CONTAINS", Word::Contains),
    ("ENDSWITH", Word::EndsWith),
    ("FALSE", Word::False),
    ("IN", Word::In),
    ("IS", Word::Is),
    ("NOT", Word::Not),
    ("NULL", Word::Null),
    ("OR", Word::Or),
    ("STARTSWITH", Word::StartsWith),
    ("TRUE", Word::True),
];

/// Longer ones first.
const SIGNS: [(&str, Sign); 11] = [
    ("<>", Sign::NotEqual),
    ("<=", Sign::LessOrEqual),
    (">=", Sign::GreaterOrEqual),
    ("(", Sign::Open),
    (")", Sign::Close),
    (",", Sign::Comma),
    ("+", Sign::Plus),
    ("-", Sign::Minus),
    ("=", Sign::Equal),
    ("<", Sign::Less),
    (">", Sign::Greater),
];

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = WORDS.iter().find(|(_, word)| word == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// Reads an expression from left to right.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it starts; it ends at [`Self::at`].
    pub(crate) fn next(&mut self) -> Result<(usize, Token<'a>), SyntaxError> {
        self.skip_blanks()?;
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok((start, Token::End)) };
        let token = match first {
            '\'' => self.string()?,
            '0'..='9' => self.number()?,
            '.' if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number()?,
            _ if begins_name(first) => self.name(),
            _ => self.sign(first)?,
        };
        Ok((start, token))
    }

    /// How far has been read, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes characters as long as they are of a kind.
    fn take_while(&mut self, of_kind: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !of_kind(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(|character| matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c'));
            if self.rest().starts_with("--") {
                self.take_while(|character| !matches!(character, '\n' | '\r'));
            } else if let Some(comment) = self.rest().strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    return Err(self.refused(
                        self.at,
                        "a comment without an end".into(),
                        "`*/`",
                        "end the comment with */",
                    ));
                };
                self.at += "/*".len() + end + "*/".len();
            } else {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<Token<'a>, SyntaxError> {
        let content = &self.rest()[1..];
        let mut end = 0;
        while let Some(quote) = content[end..].find('\'') {
            end += quote;
            if !content[end + 1..].starts_with('\'') {
                self.at += end + "''".len();
                return Ok(Token::Text(&content[..end]));
            }
            end += "''".len();
        }
        let advice = "end the string with ', and write '' for a ' inside it";
        Err(self.refused(self.at, "a string without an end".into(), "a closing `'`", advice))
    }

    fn number(&mut self) -> Result<Token<'a>, SyntaxError> {
        let start = self.at;
        let digits = |lexer: &mut Self| lexer.take_while(|character| character.is_ascii_digit()).len();
        digits(self);
        let mut integer = true;
        if self.rest().starts_with('.') {
            integer = false;
            self.at += 1;
            digits(self);
        }
        if self.rest().starts_with(['e', 'E']) {
            let before = self.at;
            self.at += 1;
            self.at += usize::from(self.rest().starts_with(['+', '-']));
            if digits(self) == 0 {
                self.at = before;
            } else {
                integer = false;
            }
        }
        let number = &self.text[start..self.at];
        // Java's suffix of a long.
        self.at += usize::from(integer && self.rest().starts_with(['l', 'L']));
        if self.rest().starts_with(|next| continues_name(next) || next == '.') {
            self.take_while(|character| continues_name(character) || character == '.');
            let advice = "put a blank behind a number, and quotes around what is none";
            let found = quoted(&self.text[start..self.at]);
            return Err(self.refused(start, found, "a number such as 42, 0.5 or 1e3", advice));
        }
        Ok(Token::Number(number))
    }

    fn name(&mut self) -> Token<'a> {
        let name = self.take_while(continues_name);
        let word = WORDS.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
        word.map_or(Token::Name(name), |(_, word)| Token::Word(*word))
    }

    fn sign(&mut self, first: char) -> Result<Token<'a>, SyntaxError> {
        for (written, expected, advice) in MISTAKEN_SIGNS {
            if self.rest().starts_with(written) {
                return Err(self.refused(self.at, quoted(written), expected, advice));
            }
        }
        for (written, sign) in SIGNS {
            if self.rest().starts_with(written) {
                self.at += written.len();
                return Ok(Token::Sign(sign));
            }
        }
        let mut found = quoted(first.encode_utf8(&mut [0; 4]));
        let mut advice = "the name of a property has letters, digits, _ and $ only";
        if !first.is_ascii_graphic() {
            found = format!("{found} (U+{:04X})", u32::from(first));
            advice = "outside strings use ASCII only; the name of a property has letters, digits, _ and $";
        }
        Err(self.refused(self.at, found, "a property, a value or a comparison", advice))
    }

    fn refused(&self, at: usize, found: String, expected: &'static str, advice: &'static str) -> SyntaxError {
        SyntaxError { position: Position::of_byte(self.text, at), found, expected, advice }
    }
}

/// What people write who think of another language: the sign, what it should have been, what to do.
const MISTAKEN_SIGNS: [(&str, &str, &str); 12] = [
    ("==", "`=`", "write one = to compare"),
    ("!=", "`<>`", "write <> for not equal"),
    ("!", "`NOT`", "write NOT for not"),
    ("&", "`AND`", "write AND between conditions"),
    ("|", "`OR`", "write OR between conditions"),
    ("\"", "`'`", "write strings in single quotes, and properties in none"),
    ("‘", "`'`", "write strings in straight single quotes: '"),
    ("’", "`'`", "write strings in straight single quotes: '"),
    ("“", "`'`", "write strings in straight single quotes: '"),
    ("”", "`'`", "write strings in straight single quotes: '"),
    ("*", "a property, a value or a comparison", "for every message write TRUE; there is no arithmetic"),
    (";", "the end", "leave the ; out"),
];

fn begins_name(character: char) -> bool {
    character.is_ascii_alphabetic() || matches!(character, '_' | '$')
}

fn continues_name(character: char) -> bool {
    begins_name(character) || character.is_ascii_digit()
}

/// The characters of a string, each with its byte after the opening quote; a doubled quote is one.
pub(crate) fn characters(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut characters = text.char_indices();
    std::iter::from_fn(move || {
        let next = characters.next()?;
        if next.1 == '\'' {
            characters.next();
        }
        Some(next)
    })
}
