//! Which operands a comparison takes. What could never be TRUE of any message is refused here, so that a
//! mistake shows when a consumer subscribes rather than as messages that never come.

use super::{Parser, Part};
use crate::condition::{Condition, Name, Operand};
use crate::error::SyntaxError;
use crate::value::Number;

/// What an operand is before any message is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A property: text, read as what it is compared with.
    Property,
    Text,
    Number,
    Boolean,
    Null,
}

impl Operand {
    fn r#type(&self) -> Type {
        match self {
            Self::Property(_) => Type::Property,
            Self::Text(_) => Type::Text,
            Self::Number(_) => Type::Number,
            Self::Condition(condition) => match **condition {
                Condition::Constant(None) => Type::Null,
                _ => Type::Boolean,
            },
        }
    }
}

impl Parser<'_> {
    /// What stands between AND, OR and NOT: a condition, or a property, which is TRUE if it reads so.
    pub(super) fn condition(&self, part: Part) -> Result<Condition, SyntaxError> {
        match part.operand {
            Operand::Condition(condition) => Ok(*condition),
            Operand::Property(name) => Ok(Condition::Property(name)),
            Operand::Text(_) | Operand::Number(_) => {
                Err(self.refused(part.start, part.end, "a condition", "compare a property with the value"))
            }
        }
    }

    /// The sides of `=` and `<>`: both of one type, or one of them a property.
    pub(super) fn comparable(&self, left: Part, right: Part) -> Result<(Operand, Operand), SyntaxError> {
        for side in [&left, &right] {
            if side.operand.r#type() == Type::Null {
                let advice = "nothing equals NULL: write IS NULL or IS NOT NULL";
                return Err(self.refused(side.start, side.end, "a property or a value", advice));
            }
        }
        let types = (left.operand.r#type(), right.operand.r#type());
        if types.0 != types.1 && types.0 != Type::Property && types.1 != Type::Property {
            let expected = match types.0 {
                Type::Text => "a property or a string",
                Type::Number => "a property or a number",
                _ => "a property or a condition",
            };
            let advice = "values of different types are never equal";
            return Err(self.refused(right.start, right.end, expected, advice));
        }
        Ok((left.operand, right.operand))
    }

    /// A side of `<`, `<=`, `>`, `>=`, or one of BETWEEN.
    pub(super) fn ordered(&self, part: Part) -> Result<Operand, SyntaxError> {
        let advice = match part.operand.r#type() {
            Type::Property | Type::Number => return Ok(part.operand),
            Type::Text => "strings have no order: compare them with =, <>, IN or LIKE",
            Type::Boolean | Type::Null => "TRUE, FALSE, NULL and conditions have no order",
        };
        Err(self.refused(part.start, part.end, "a property or a number", advice))
    }

    /// The bounds of a BETWEEN, which stand from `start` to `end`.
    pub(super) fn ascending(
        &self,
        low: &Operand,
        high: &Operand,
        start: usize,
        end: usize,
    ) -> Result<(), SyntaxError> {
        match (low, high) {
            (Operand::Number(low), Operand::Number(high)) if Number::compare(*low, *high).is_gt() => {
                Err(self.refused(start, end, "the lower bound first", "swap the bounds"))
            }
            _ => Ok(()),
        }
    }

    /// The left of IN.
    pub(super) fn property(&self, part: Part) -> Result<Name, SyntaxError> {
        match part.operand {
            Operand::Property(name) => Ok(name),
            _ => Err(self.refused(part.start, part.end, "a property", "write property IN (list)")),
        }
    }

    /// The left of LIKE, CONTAINS, STARTSWITH and ENDSWITH.
    pub(super) fn textual(&self, part: Part) -> Result<Operand, SyntaxError> {
        match part.operand.r#type() {
            Type::Property | Type::Text => Ok(part.operand),
            _ => {
                let advice = "only the text of a property or string can be searched";
                Err(self.refused(part.start, part.end, "a property or a string", advice))
            }
        }
    }
}
