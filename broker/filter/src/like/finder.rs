//! Looks for a short piece with `_` in one pass over a text, however much of the text looks like its beginning: each step
//! follows all places at once at which the piece may have begun, one bit each.

/// Most characters of a piece: the bits of a number.
const CHARACTERS_MAX: usize = 64;

/// A piece, compiled.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    /// Its characters in ascending order, each with the places at which it may stand, `_` included.
    masks: Box<[(char, u64)]>,
    /// Where any other character may stand.
    any: u64,
    characters: usize,
}

impl Finder {
    /// Compiles the characters of a piece, with None for `_`. None where there are none, or too many.
    pub(super) fn new(characters: impl Iterator<Item = Option<char>>) -> Option<Self> {
        let characters: Vec<Option<char>> = characters.collect();
        if characters.is_empty() || characters.len() > CHARACTERS_MAX {
            return None;
        }
        let places = |wanted: Option<char>| {
            let places = characters.iter().enumerate().filter(|(_, character)| **character == wanted);
            places.fold(0, |mask, (place, _)| mask | 1 << place)
        };
        let any: u64 = places(None);
        let mut distinct: Vec<char> = characters.iter().copied().flatten().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let masks =
            distinct.into_iter().map(|character| (character, places(Some(character)) | any)).collect();
        Some(Self { masks, any, characters: characters.len() })
    }

    pub(super) fn characters(&self) -> usize {
        self.characters
    }

    /// What follows the piece where it is first in a text.
    pub(super) fn after<'a>(&self, text: &'a str) -> Option<&'a str> {
        let whole = 1 << (self.characters - 1);
        // The bits of the places in the piece up to which the text read so far ends with it.
        let mut begun: u64 = 0;
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            begun = (begun << 1 | 1) & self.mask(character);
            if begun & whole != 0 {
                return Some(rest.as_str());
            }
        }
        None
    }

    fn mask(&self, character: char) -> u64 {
        let found = self.masks.binary_search_by_key(&character, |(known, _)| *known);
        found.ok().and_then(|at| self.masks.get(at)).map_or(self.any, |(_, mask)| *mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(piece: &str) -> Option<Finder> {
        Finder::new(piece.chars().map(|character| Some(character).filter(|character| *character != '_')))
    }

    /// The same, by trying each place.
    fn tried<'a>(piece: &str, text: &'a str) -> Option<&'a str> {
        let pieces: Vec<char> = piece.chars().collect();
        let ends = |from: usize| {
            let mut rest = text[from..].chars();
            pieces
                .iter()
                .all(|wanted| rest.next().is_some_and(|is| *wanted == '_' || *wanted == is))
                .then_some(rest.as_str())
        };
        text.char_indices().find_map(|(from, _)| ends(from))
    }

    #[test]
    fn a_piece_is_found_where_trying_each_place_finds_it() {
        let letters = ['a', 'b', 'é'];
        let texts = (0..3_usize.pow(7)).map(|number| {
            (0..number % 8).map(|at| letters[number / 3_usize.pow(at as u32) % 3]).collect::<String>()
        });
        let texts: Vec<String> = texts.collect();
        for piece in ["a_b", "_", "__", "_a", "a_", "a_a_a", "é_a", "aa_b", "_a_b_", "c_"] {
            let finder = finder(piece).unwrap();
            for text in &texts {
                assert_eq!(finder.after(text), tried(piece, text), "{piece} in {text}");
            }
        }
    }

    #[test]
    fn a_piece_has_as_many_characters_as_a_number_has_bits() {
        let longest = format!("{}_", "a".repeat(CHARACTERS_MAX - 1));
        let text = format!("b{}cd", "a".repeat(CHARACTERS_MAX - 1));
        assert_eq!(finder(&longest).unwrap().after(&text), Some("d"));
        assert!(finder(&format!("{longest}a")).is_none() && finder("").is_none());
    }
}
