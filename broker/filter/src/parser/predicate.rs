//! Comparisons: what stands between two of AND, OR and NOT.

use super::{Parser, Part, string};
use crate::condition::{Condition, List, Order, Search};
use crate::error::SyntaxError;
use crate::lexer::{Sign, Token, Word, characters};
use crate::like::Pattern;

/// What can follow a NOT inside a comparison.
const AFTER_NOT: &str = "IN, BETWEEN, LIKE, CONTAINS, STARTSWITH or ENDSWITH";

impl Parser<'_> {
    /// `predicate = operand [ comparison ]`
    pub(super) fn predicate(&mut self) -> Result<Part, SyntaxError> {
        let left = self.operand("a property, a value, NOT or `(`")?;
        if !self.begins_comparison() {
            return Ok(left);
        }
        let start = left.start;
        if let Some(order) = self.order() {
            self.advance()?;
            let right = self.right()?;
            let ordered = Condition::Ordered(self.ordered(left)?, order, self.ordered(right)?);
            return self.made(ordered, start);
        }
        let (condition, negated) = match self.token {
            Token::Sign(_) => self.equality(left)?,
            Token::Word(Word::Is) => self.is_null(left)?,
            _ => self.inner_negatable(left)?,
        };
        let part = self.made(condition, start)?;
        if !negated {
            return Ok(part);
        }
        let condition = self.condition(part)?;
        self.made(Condition::Not(condition.into()), start)
    }

    /// Whether the next token, after an operand, begins a comparison.
    pub(super) fn begins_comparison(&self) -> bool {
        let sign = matches!(self.token, Token::Sign(Sign::Equal | Sign::NotEqual));
        let word = match self.token {
            Token::Word(word) => {
                !matches!(word, Word::And | Word::Or | Word::True | Word::False | Word::Null)
            }
            _ => false,
        };
        sign || word || self.order().is_some() || self.at_name("LIKE")
    }

    fn order(&self) -> Option<Order> {
        match self.token {
            Token::Sign(Sign::Less) => Some(Order::Less),
            Token::Sign(Sign::LessOrEqual) => Some(Order::LessOrEqual),
            Token::Sign(Sign::Greater) => Some(Order::Greater),
            Token::Sign(Sign::GreaterOrEqual) => Some(Order::GreaterOrEqual),
            _ => None,
        }
    }

    /// Whether the next token is a name that is a word of the language here.
    fn at_name(&self, word: &str) -> bool {
        matches!(self.token, Token::Name(name) if name.eq_ignore_ascii_case(word))
    }

    /// The operand to the right of a sign.
    fn right(&mut self) -> Result<Part, SyntaxError> {
        self.operand("a property, a value or `(`")
    }

    /// `( = | <> ) operand`
    fn equality(&mut self, left: Part) -> Result<(Condition, bool), SyntaxError> {
        let negated = self.token == Token::Sign(Sign::NotEqual);
        self.advance()?;
        let right = self.right()?;
        let (left, right) = self.comparable(left, right)?;
        Ok((Condition::Equal(left, right), negated))
    }

    /// `IS [ NOT ] NULL`
    fn is_null(&mut self, left: Part) -> Result<(Condition, bool), SyntaxError> {
        self.advance()?;
        let negated = self.take(Token::Word(Word::Not))?;
        if !self.take(Token::Word(Word::Null))? {
            let expected = if negated { "NULL" } else { "NULL or NOT NULL" };
            return Err(self.unexpected(expected, "use = or <> to compare with a value"));
        }
        Ok((Condition::IsNull(left.operand), negated))
    }

    /// `[ NOT ] ( BETWEEN … | IN … | LIKE … | CONTAINS … | STARTSWITH … | ENDSWITH … )`
    fn inner_negatable(&mut self, left: Part) -> Result<(Condition, bool), SyntaxError> {
        let negated = self.take(Token::Word(Word::Not))?;
        let condition = match self.token {
            Token::Word(Word::Between) => self.between(left)?,
            Token::Word(Word::In) => self.list(left)?,
            Token::Word(Word::Contains | Word::StartsWith | Word::EndsWith) => self.search(left)?,
            _ if self.at_name("LIKE") => self.like(left)?,
            _ => {
                return Err(self.unexpected(AFTER_NOT, "write NOT before the property, or <> for not equal"));
            }
        };
        Ok((condition, negated))
    }

    /// `BETWEEN operand AND operand`
    fn between(&mut self, value: Part) -> Result<Condition, SyntaxError> {
        self.advance()?;
        let low = self.right()?;
        if !self.take(Token::Word(Word::And))? {
            return Err(self.unexpected("AND", "give both bounds: BETWEEN 1 AND 10"));
        }
        let high = self.right()?;
        let (start, end) = (low.start, high.end);
        let (value, low, high) = (self.ordered(value)?, self.ordered(low)?, self.ordered(high)?);
        self.ascending(&low, &high, start, end)?;
        Ok(Condition::Between { value, low, high })
    }

    /// `IN ( constant { , constant } )`
    fn list(&mut self, left: Part) -> Result<Condition, SyntaxError> {
        let name = self.property(left)?;
        self.advance()?;
        if !self.take(Token::Sign(Sign::Open))? {
            return Err(self.unexpected("`(`", "put the list in parentheses: IN ('a', 'b')"));
        }
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        loop {
            match self.token {
                Token::Text(text) => texts.push(string(text)),
                Token::Number(_) | Token::Sign(Sign::Plus | Sign::Minus) => numbers.push(self.number()?),
                _ => {
                    let advice =
                        "list strings in single quotes, or numbers; ask for a missing property with IS NULL";
                    return Err(self.unexpected("a string or a number", advice));
                }
            }
            self.advance()?;
            if self.take(Token::Sign(Sign::Close))? {
                return Ok(Condition::In(name, List::new(texts, numbers)));
            }
            if !self.take(Token::Sign(Sign::Comma))? {
                return Err(self.unexpected(
                    "`,` or `)`",
                    "separate the constants with commas, and end the list with )",
                ));
            }
        }
    }

    /// `( CONTAINS | STARTSWITH | ENDSWITH ) string`
    fn search(&mut self, left: Part) -> Result<Condition, SyntaxError> {
        let text = self.textual(left)?;
        let word = self.token;
        self.advance()?;
        let (_, needle) = self.take_string("a string", "put what to look for in single quotes")?;
        let needle = string(needle);
        let search = match word {
            Token::Word(Word::StartsWith) => Search::StartsWith(needle),
            Token::Word(Word::EndsWith) => Search::EndsWith(needle),
            _ => Search::Contains(needle),
        };
        Ok(Condition::Text(text, search))
    }

    /// `LIKE string [ ESCAPE string ]`
    fn like(&mut self, left: Part) -> Result<Condition, SyntaxError> {
        let (left_start, text) = (left.start, self.textual(left)?);
        self.advance()?;
        let (start, source) = self.take_string("a string", "put the pattern in single quotes")?;
        let escape = self.escape()?;
        let pattern = Pattern::compile(characters(source), escape).map_err(|bad| {
            let at = start + bad.at;
            let advice = "write the escape character twice where it means itself";
            let rest = start + source.len();
            let end = self.text[at..rest].char_indices().nth(2).map_or(rest, |(length, _)| at + length);
            self.refused(at, end, "%, _ or the escape character itself after it", advice)
        })?;
        self.count(pattern.passes(), left_start)?;
        let source = string(source);
        Ok(Condition::Text(text, Search::Like { source, escape, pattern }))
    }

    fn escape(&mut self) -> Result<Option<char>, SyntaxError> {
        if !self.at_name("ESCAPE") {
            return Ok(None);
        }
        self.advance()?;
        let (at, advice) = (self.start, "name one escape character, such as ESCAPE '!'");
        let (_, escape) = self.take_string("a string of one character", advice)?;
        let mut escape = characters(escape).map(|(_, character)| character);
        match (escape.next(), escape.next()) {
            (Some(escape), None) => Ok(Some(escape)),
            _ => Err(self.refused(at, self.read_to, "a string of one character", advice)),
        }
    }
}
