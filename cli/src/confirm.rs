//! Asking before something is done that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Goes on if `yes` was given, or if somebody at the terminal says so. `look` is how to look first.
pub(crate) fn confirm(question: &str, yes: bool, look: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "{question} Nobody is there to ask: add --yes, or look first with {look}"
        )));
    }
    let said = ask(question).map_err(|source| Failure::Stream { doing: "ask at the terminal", source })?;
    if is_yes(&said) { Ok(()) } else { Err(Failure::Declined) }
}

fn ask(question: &str) -> io::Result<String> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut said = String::new();
    io::stdin().lock().read_line(&mut said)?;
    Ok(said)
}

fn is_yes(said: &str) -> bool {
    matches!(said.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("no") && !is_yes("yup"));
    }
}
