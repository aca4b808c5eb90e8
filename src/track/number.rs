//! Numbers as people read them.

/// Digits after the point with which numbers that differ by `spread` should be shown: two significant digits of the
/// spread, at most six.
#[must_use]
pub fn decimals_for(spread: f64) -> usize {
    if !spread.is_finite() || spread == 0.0 {
        return 2;
    }
    (1.0 - spread.abs().log10().floor()).clamp(0.0, 6.0) as usize
}

/// A whole number with commas between thousands: 1,234,567.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with `decimals` digits after the point and no negative zero.
#[must_use]
pub fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{:.*}", decimals, number.abs());
    let zero = text.bytes().all(|b| b == b'0' || b == b'.');
    if number < 0.0 && !zero { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_follow_the_spread() {
        let spreads = [1234.0, 12.0, 3.4, 0.5, 0.012, 1e-9, 0.0, f64::NAN];
        assert_eq!(spreads.map(decimals_for), [0, 0, 1, 2, 3, 6, 2, 2]);
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(fixed(-1.25, 1), "-1.2");
        assert_eq!(fixed(-0.04, 1), "0.0");
        assert_eq!(fixed(3.0, 0), "3");
    }
}
