//! Trees as text: an expression of ours, or what SQLite is asked instead.
//!
//! SQLite's own rules for what text is as a number or boolean (type affinity: `'abc'` is 0) are not ours, and
//! not what is compared here. So it gets each property three times: `a` is its text, `a_number` the number it is
//! or NULL, `a_true` whether it is the text `true`; and the context says which is meant. It has no CONTAINS,
//! STARTSWITH and ENDSWITH, but functions that say the same of a needle that is not empty. Everything else is word
//! for word the same: precedence, three truth values, BETWEEN, IN, IS NULL, and LIKE once it minds the case of
//! letters.

use crate::tree::{Operand, Tree};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Filter,
    /// The same, with every condition in parentheses.
    Parenthesised,
    Sqlite,
}

/// What a property is read as.
#[derive(Clone, Copy)]
enum As {
    Text,
    Number,
    Boolean,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Binding {
    Or,
    And,
    Not,
    Predicate,
}

/// The tokens of an expression; each two may have blanks or comments between them.
pub(crate) fn tokens(tree: &Tree, dialect: Dialect) -> Vec<String> {
    let mut printer = Printer { dialect, out: Vec::new() };
    printer.tree(tree, Binding::Or);
    printer.out
}

struct Printer {
    dialect: Dialect,
    out: Vec<String>,
}

impl Printer {
    fn push(&mut self, tokens: &str) {
        self.out.extend(tokens.split(' ').filter(|token| !token.is_empty()).map(str::to_owned));
    }

    fn tree(&mut self, tree: &Tree, within: Binding) {
        let binding = match tree {
            Tree::Or(_) => Binding::Or,
            Tree::And(_) => Binding::And,
            Tree::Not(_) => Binding::Not,
            _ => Binding::Predicate,
        };
        let parentheses = binding < within || self.dialect == Dialect::Parenthesised;
        self.push(if parentheses { "(" } else { "" });
        match tree {
            Tree::Or(parts) => self.joined(parts, "OR", Binding::And),
            Tree::And(parts) => self.joined(parts, "AND", Binding::Not),
            Tree::Not(inner) => {
                self.push("NOT");
                self.tree(inner, Binding::Not);
            }
            predicate => self.predicate(predicate),
        }
        self.push(if parentheses { ")" } else { "" });
    }

    fn joined(&mut self, parts: &[Tree], word: &str, within: Binding) {
        for (index, part) in parts.iter().enumerate() {
            self.push(if index > 0 { word } else { "" });
            self.tree(part, within);
        }
    }

    fn predicate(&mut self, tree: &Tree) {
        match tree {
            Tree::Constant(truth) => self.push(match truth {
                Some(true) => "TRUE",
                Some(false) => "FALSE",
                None => "NULL",
            }),
            Tree::Property(name) => self.property(name, As::Boolean),
            Tree::Equal(left, right, negated) => {
                let read = compared_as(left, right);
                self.operand(left, read);
                self.push(if *negated { "<>" } else { "=" });
                self.operand(right, read);
            }
            Tree::Ordered(left, order, right) => {
                self.operand(left, As::Number);
                self.push(order);
                self.operand(right, As::Number);
            }
            Tree::Between([value, low, high], negated) => {
                self.operand(value, As::Number);
                self.push(if *negated { "NOT BETWEEN" } else { "BETWEEN" });
                self.operand(low, As::Number);
                self.push("AND");
                self.operand(high, As::Number);
            }
            Tree::IsNull(operand, negated) => {
                self.operand(operand, As::Text);
                self.push(if *negated { "IS NOT NULL" } else { "IS NULL" });
            }
            Tree::In(name, list, negated) if self.dialect == Dialect::Sqlite => {
                self.in_sqlite(name, list, *negated);
            }
            Tree::In(name, list, negated) => self.list(name, As::Text, list, *negated),
            Tree::Like(operand, pattern, negated) => {
                self.operand(operand, As::Text);
                self.push(if *negated { "NOT LIKE" } else { "LIKE" });
                self.text(pattern);
                self.push("ESCAPE '!'");
            }
            Tree::Search(operand, word, needle, negated) if self.dialect == Dialect::Sqlite => {
                self.search_in_sqlite(operand, word, needle, *negated);
            }
            Tree::Search(operand, word, needle, negated) => {
                self.operand(operand, As::Text);
                self.push(if *negated { "NOT" } else { "" });
                self.push(word);
                self.text(needle);
            }
            Tree::Not(_) | Tree::And(_) | Tree::Or(_) => unreachable!("no predicate"),
        }
    }

    fn operand(&mut self, operand: &Operand, read: As) {
        match operand {
            Operand::Property(name) => self.property(name, read),
            Operand::Text(text) => self.text(text),
            Operand::Number(number) => self.push(&number.to_string()),
            Operand::Condition(tree) => {
                self.push("(");
                self.tree(tree, Binding::Or);
                self.push(")");
            }
        }
    }

    fn property(&mut self, name: &str, read: As) {
        match read {
            As::Number if self.dialect == Dialect::Sqlite => self.push(&format!("\"{name}_number\"")),
            As::Boolean if self.dialect == Dialect::Sqlite => self.push(&format!("\"{name}_true\"")),
            _ if self.dialect == Dialect::Sqlite => self.push(&format!("\"{name}\"")),
            _ => self.push(name),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push(format!("'{}'", text.replace('\'', "''")));
    }

    fn list(&mut self, name: &str, read: As, list: &[Operand], negated: bool) {
        self.property(name, read);
        self.push(if negated { "NOT IN (" } else { "IN (" });
        for (index, constant) in list.iter().enumerate() {
            self.push(if index > 0 { "," } else { "" });
            self.operand(constant, read);
        }
        self.push(")");
    }

    /// Strings are looked for in the text and numbers in the number.
    fn in_sqlite(&mut self, name: &str, list: &[Operand], negated: bool) {
        let (texts, numbers): (Vec<_>, Vec<_>) =
            list.iter().cloned().partition(|constant| matches!(constant, Operand::Text(_)));
        self.push("(");
        if !texts.is_empty() {
            self.list(name, As::Text, &texts, negated);
        }
        if !numbers.is_empty() {
            self.push(if texts.is_empty() {
                ""
            } else if negated {
                "AND"
            } else {
                "OR"
            });
            self.list(name, As::Number, &numbers, negated);
        }
        self.push(")");
    }

    fn search_in_sqlite(&mut self, operand: &Operand, word: &str, needle: &str, negated: bool) {
        self.push(match word {
            "CONTAINS" => "instr (",
            _ => "substr (",
        });
        self.operand(operand, As::Text);
        self.push(",");
        match word {
            "CONTAINS" => {
                self.text(needle);
                self.push(if negated { ") = 0" } else { ") > 0" });
                return;
            }
            "STARTSWITH" => self.push(&format!("1 , {} )", needle.chars().count())),
            _ => self.push(&format!("-{} )", needle.chars().count())),
        }
        self.push(if negated { "<>" } else { "=" });
        self.text(needle);
    }
}

/// What a property is read as beside what it is compared with.
fn compared_as(left: &Operand, right: &Operand) -> As {
    match (left, right) {
        (Operand::Number(_), _) | (_, Operand::Number(_)) => As::Number,
        (Operand::Condition(_), _) | (_, Operand::Condition(_)) => As::Boolean,
        _ => As::Text,
    }
}
