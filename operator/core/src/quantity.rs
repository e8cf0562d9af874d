//! Quantities of Kubernetes: `1000m` is `1`, and `1Gi` is `1024Mi`.

/// Units, and how many thousandths each is.
const UNITS: [(&str, i128); 14] = [
    ("m", 1),
    ("", 1_000),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
    ("Ei", 1_000 << 60),
];

/// A quantity in thousandths; none if it cannot be read, is finer than that, or overflows.
pub(crate) fn thousandths(text: &str) -> Option<i128> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit.strip_prefix(['e', 'E']).map(str::parse::<u32>) {
        Some(Ok(power)) => 10_i128.checked_pow(power)?.checked_mul(1_000)?,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let thousandths = digits.checked_mul(factor)?;
    (thousandths % scale == 0).then_some(thousandths / scale)
}

/// An amount of storage in whole bytes; none if it cannot be read, or is more than anything has.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    thousandths(text).and_then(|thousandths| u64::try_from(thousandths / 1_000).ok())
}

/// Whether two quantities are the same amount, however they are spelled.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one == other || thousandths(one).is_some_and(|one| Some(one) == thousandths(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_value() {
        for (one, other) in [
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1k", "1000"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("2E", "2000P"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [("1", "1m"), ("1G", "1Gi"), ("1", "x"), ("", "0"), ("1..5", "1.5")] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn an_amount_of_storage_is_read_in_bytes_or_not_at_all() {
        for (text, expected) in [
            ("10Gi", Some(10 << 30)),
            ("1.5Ki", Some(1_536)),
            ("2G", Some(2_000_000_000)),
            ("7", Some(7)),
            ("1500m", Some(1)),
            ("-1", None),
            ("17E", Some(17_000_000_000_000_000_000)),
            ("19E", None),
            ("999999999999999999999999Ei", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
