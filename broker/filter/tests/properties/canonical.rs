//! Printing and reading again.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rq_filter::Expression;

use crate::message::message;
use crate::print::{Dialect, tokens};
use crate::tree::tree;

/// What may stand between two tokens.
const BLANKS: [&str; 6] = [" ", "\n", "\t \r\n", " /* it's (nothing) */ ", " -- nothing'\n", "/**/"];

proptest! {
    #[test]
    fn what_is_printed_reads_as_what_was_printed(tree in tree(), messages in vec(message(), 8)) {
        let first = Expression::parse(&tokens(&tree, Dialect::Filter).join(" ")).unwrap();
        let second = Expression::parse(&first.to_string()).unwrap();
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.to_string(), second.to_string());
        for message in &messages {
            prop_assert_eq!(first.matches(message), second.matches(message), "{} of {:?}", first, message);
        }
    }

    #[test]
    fn needless_parentheses_do_not_count(tree in tree()) {
        let sparing = Expression::parse(&tokens(&tree, Dialect::Filter).join(" ")).unwrap();
        let generous = Expression::parse(&tokens(&tree, Dialect::Parenthesised).join(" ")).unwrap();
        prop_assert_eq!(sparing, generous);
    }

    #[test]
    fn blanks_comments_and_the_case_of_words_do_not_count(
        tree in tree(),
        blanks in vec(select(&BLANKS[..]), 1..8),
    ) {
        let plain = tokens(&tree, Dialect::Filter);
        let mut varied = String::new();
        for (token, blank) in plain.iter().zip(blanks.iter().cycle()) {
            let word = token.bytes().all(|byte| byte.is_ascii_uppercase());
            varied += &if word && blank.len() > 1 { token.to_lowercase() } else { token.clone() };
            varied += blank;
        }
        prop_assert_eq!(Expression::parse(&plain.join(" ")).unwrap(), Expression::parse(&varied).unwrap());
    }
}
