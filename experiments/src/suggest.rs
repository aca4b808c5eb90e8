//! "Did you mean …?" for names that do not exist.

/// Similarity from which a name is worth suggesting, between 0 (nothing in common) and 1 (equal). At 0.7 one wrong
/// or missing letter in a short name is still found and unrelated names are not.
const WORTH_SAYING: f64 = 0.7;

/// The name most like `given`, if one is like it at all. Dotted names also match by their last part.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (similarity(given, name), name))
        .filter(|(similarity, _)| *similarity >= WORTH_SAYING)
        // The first of equals, so that the answer does not depend on anything but the order given.
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, name)| name)
}

/// `; did you mean X?`, or nothing.
pub fn did_you_mean<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn similarity(given: &str, name: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(given, name);
    let last = |s: &str| s.rsplit(['.', '/']).next().map_or_else(String::new, str::to_owned);
    if !name.contains(['.', '/']) {
        return whole;
    }
    // Slightly less than a match of the whole name.
    whole.max(0.99 * strsim::normalized_damerau_levenshtein(&last(given), &last(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_nonsense_is_not() {
        let names = ["q_learning", "supervised", "env.num_candidates", "env.slate_size"];
        assert_eq!(nearest("q_lerning", names), Some("q_learning"));
        assert_eq!(nearest("env.num_candidate", names), Some("env.num_candidates"));
        assert_eq!(nearest("num_candidates", names), Some("env.num_candidates"));
        assert_eq!(nearest("agent.slate_size", names), Some("env.slate_size"));
        assert_eq!(nearest("zebra", names), None);
    }
}
