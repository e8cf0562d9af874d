//! From tokens to a condition, by recursive descent: one method for each rule of the grammar in the crate's
//! documentation, the loosest binding first. Comparisons are in `predicate`, what can be compared in `types`.

mod predicate;
mod types;

use crate::condition::{Condition, Operand};
use crate::error::{Position, SyntaxError, quoted};
use crate::lexer::{Lexer, Sign, Token, Word, characters};
use crate::value::Number;
use crate::{MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH};

/// Compiles an expression.
pub(crate) fn parse(text: &str) -> Result<Condition, SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError {
            position: Position::of_byte(text, MAX_BYTES),
            found: format!("an expression of {} bytes", text.len()),
            expected: "at most 16384 bytes",
            advice: "use a shorter expression; IN is shorter than many OR",
        });
    }
    let mut lexer = Lexer::new(text);
    let (start, token) = lexer.next()?;
    let mut parser = Parser { text, lexer, token, start, read_to: 0, depth: 0, conditions: 0 };
    let part = parser.any()?;
    if parser.token != Token::End {
        return Err(parser.unexpected_after(&part, "AND, OR or the end", "a comparison, AND, OR or the end"));
    }
    parser.condition(part)
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The token that comes next, and where it starts.
    token: Token<'a>,
    start: usize,
    /// The end of the token before it.
    read_to: usize,
    /// Parentheses and NOTs that are open.
    depth: usize,
    /// Conditions so far.
    conditions: usize,
}

/// A piece of an expression: what it means, and where it is, from byte to byte.
struct Part {
    operand: Operand,
    start: usize,
    end: usize,
}

impl Parser<'_> {
    /// `any = all { OR all }`
    fn any(&mut self) -> Result<Part, SyntaxError> {
        let first = self.all()?;
        if self.token != Token::Word(Word::Or) {
            return Ok(first);
        }
        let start = first.start;
        let mut conditions = vec![self.condition(first)?];
        while self.take(Token::Word(Word::Or))? {
            let next = self.all()?;
            conditions.push(self.condition(next)?);
        }
        let flat = conditions.into_iter().flat_map(|condition| match condition {
            Condition::Any(inner) => inner,
            other => vec![other],
        });
        self.made(Condition::Any(flat.collect()), start)
    }

    /// `all = not { AND not }`
    fn all(&mut self) -> Result<Part, SyntaxError> {
        let first = self.not()?;
        if self.token != Token::Word(Word::And) {
            return Ok(first);
        }
        let start = first.start;
        let mut conditions = vec![self.condition(first)?];
        while self.take(Token::Word(Word::And))? {
            let next = self.not()?;
            conditions.push(self.condition(next)?);
        }
        let flat = conditions.into_iter().flat_map(|condition| match condition {
            Condition::All(inner) => inner,
            other => vec![other],
        });
        self.made(Condition::All(flat.collect()), start)
    }

    /// `not = NOT not | predicate`
    fn not(&mut self) -> Result<Part, SyntaxError> {
        let start = self.start;
        if self.token != Token::Word(Word::Not) {
            return self.predicate();
        }
        self.enter()?;
        self.advance()?;
        let negated = self.not()?;
        self.depth -= 1;
        let condition = self.condition(negated)?;
        self.made(Condition::Not(condition.into()), start)
    }

    /// `operand = name | string | [ + | - ] number | TRUE | FALSE | NULL | ( any )`
    fn operand(&mut self, expected: &'static str) -> Result<Part, SyntaxError> {
        let start = self.start;
        let operand = match self.token {
            Token::Name(name) => Operand::Property(name.into()),
            Token::Text(text) => Operand::Text(string(text)),
            Token::Number(_) | Token::Sign(Sign::Plus | Sign::Minus) => Operand::Number(self.number()?),
            Token::Word(Word::True) => constant(Some(true)),
            Token::Word(Word::False) => constant(Some(false)),
            Token::Word(Word::Null) => constant(None),
            Token::Sign(Sign::Open) => return self.parenthesised(),
            _ => return Err(self.no_operand(expected)),
        };
        // The last token of all of these but a parenthesis.
        self.advance()?;
        Ok(Part { operand, start, end: self.read_to })
    }

    fn parenthesised(&mut self) -> Result<Part, SyntaxError> {
        let start = self.start;
        self.enter()?;
        self.advance()?;
        let inner = self.any()?;
        if !self.take(Token::Sign(Sign::Close))? {
            return Err(self.unexpected_after(&inner, "AND, OR or `)`", "a comparison, AND, OR or `)`"));
        }
        self.depth -= 1;
        Ok(Part { operand: inner.operand, start, end: self.read_to })
    }

    /// A number with or without a sign; stays on its digits.
    fn number(&mut self) -> Result<Number, SyntaxError> {
        let start = self.start;
        let negative = self.token == Token::Sign(Sign::Minus);
        if matches!(self.token, Token::Sign(Sign::Plus | Sign::Minus)) {
            self.advance()?;
        }
        let Token::Number(digits) = self.token else {
            return Err(self.unexpected("a number", "only numbers take a sign; there is no arithmetic"));
        };
        let signed = format!("{}{digits}", if negative { "-" } else { "" });
        let end = self.lexer.at();
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return signed.parse().map(Number::Integer).map_err(|_| {
                let advice = "write it with an exponent, such as 1e20, if it need not be exact";
                self.refused(start, end, "an integer of 64 bits", advice)
            });
        }
        let float = signed.parse().ok().and_then(Number::float);
        float.ok_or_else(|| {
            self.refused(start, end, "a number of at most 1.7976931348623157e308", "use a smaller one")
        })
    }
}

/// Tokens, conditions and limits.
impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), SyntaxError> {
        self.read_to = self.lexer.at();
        (self.start, self.token) = self.lexer.next()?;
        Ok(())
    }

    /// Goes past a token if it comes next.
    fn take(&mut self, token: Token<'_>) -> Result<bool, SyntaxError> {
        if self.token != token {
            return Ok(false);
        }
        self.advance()?;
        Ok(true)
    }

    /// Goes past a string that must come next; gives what is between its quotes, and where that starts.
    fn take_string(
        &mut self,
        expected: &'static str,
        advice: &'static str,
    ) -> Result<(usize, &'a str), SyntaxError> {
        let Token::Text(text) = self.token else { return Err(self.unexpected(expected, advice)) };
        let start = self.start + 1;
        self.advance()?;
        Ok((start, text))
    }

    /// Counts the parenthesis or NOT that comes next as open.
    fn enter(&mut self) -> Result<(), SyntaxError> {
        if self.depth == MAX_DEPTH {
            let advice = "nest less; NOT and parentheses count";
            return Err(self.unexpected("an expression of at most 64 levels", advice));
        }
        self.depth += 1;
        Ok(())
    }

    /// A condition that ends before the next token.
    fn made(&mut self, condition: Condition, start: usize) -> Result<Part, SyntaxError> {
        self.count(1, start)?;
        Ok(Part { operand: Operand::Condition(condition.into()), start, end: self.read_to })
    }

    fn count(&mut self, conditions: usize, start: usize) -> Result<(), SyntaxError> {
        self.conditions += conditions;
        if self.conditions > MAX_CONDITIONS {
            let advice = "use IN where many OR ask for one property, and fewer _ between two % of a LIKE";
            return Err(self.refused(start, self.read_to, "at most 1024 conditions", advice));
        }
        Ok(())
    }
}

/// Refusals.
impl Parser<'_> {
    fn refused(&self, start: usize, end: usize, expected: &'static str, advice: &'static str) -> SyntaxError {
        let found = quoted(&self.text[start..end]);
        SyntaxError { position: Position::of_byte(self.text, start), found, expected, advice }
    }

    /// The next token cannot stand here.
    fn unexpected(&self, expected: &'static str, advice: &'static str) -> SyntaxError {
        let mut error = self.refused(self.start, self.lexer.at(), expected, advice);
        if self.token == Token::End {
            error.found = "the end".into();
        }
        error
    }

    /// The next token begins no operand.
    fn no_operand(&self, expected: &'static str) -> SyntaxError {
        let advice = match self.token {
            Token::End if self.read_to == 0 => "write TRUE for every message",
            Token::End => "complete the expression",
            Token::Word(Word::Not) => "put a condition that is compared into parentheses",
            Token::Word(_) => "a reserved word names no property",
            _ => "put a property or a value before it",
        };
        self.unexpected(expected, advice)
    }

    /// The next token does not continue what was read.
    fn unexpected_after(
        &self,
        part: &Part,
        after_condition: &'static str,
        after_operand: &'static str,
    ) -> SyntaxError {
        let operand = !matches!(part.operand, Operand::Condition(_));
        let advice = match self.token {
            Token::End => "close the parenthesis",
            Token::Sign(Sign::Close) => "remove it, or open a parenthesis for it",
            Token::Sign(Sign::Comma) => "only IN takes a list",
            Token::Sign(Sign::Plus | Sign::Minus) => {
                "there is no arithmetic, and a name has letters, digits, _ and $ only"
            }
            Token::Sign(Sign::Open) | Token::Name(_) | Token::Text(_) | Token::Number(_) if operand => {
                "compare a property with a value, such as color = 'red'"
            }
            _ if self.begins_comparison() => "comparisons do not chain: join two with AND",
            _ => "join conditions with AND or OR",
        };
        self.unexpected(if operand { after_operand } else { after_condition }, advice)
    }
}

fn constant(truth: Option<bool>) -> Operand {
    Operand::Condition(Condition::Constant(truth).into())
}

/// A string without its doubled quotes.
fn string(text: &str) -> Box<str> {
    characters(text).map(|(_, character)| character).collect()
}
