//! Near names for suggestions.

/// The candidate that was most likely meant: one within a third of its length in edits, or one that only adds to what was written.
#[must_use]
pub fn near<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &'a str| {
        let edits = strsim::damerau_levenshtein(written, candidate);
        let longest = written.chars().count().max(candidate.chars().count());
        let grown = written.len() >= 3 && (candidate.starts_with(written) || written.starts_with(candidate));
        ((edits <= (longest / 3).max(1) && edits < longest) || grown).then_some((edits, candidate))
    };
    candidates.into_iter().filter_map(close).min().map(|(_, candidate)| candidate)
}

/// A hint that names the near candidate, or all of them where none is near.
pub(crate) fn suggest<'a>(written: &str, what: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(candidate) = near(written, candidates.clone()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    let all: Vec<String> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    if all.is_empty() { Some(format!("there are no {what}")) } else { Some(format!("{what}: {}", all.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::{near, suggest};

    #[test]
    fn typing_errors_and_extensions_are_near() {
        let known = ["temperature", "teacher", "top_p", "samples"];
        assert_eq!(near("temprature", known), Some("temperature"));
        assert_eq!(near("taecher", known), Some("teacher"));
        assert_eq!(near("temp", known), Some("temperature"));
        assert_eq!(near("where", known), None);
        assert_eq!(near("top_k", known), Some("top_p"));
    }

    #[test]
    fn a_hint_lists_what_there_is_when_nothing_is_near() {
        assert_eq!(suggest("zzz", "stages", ["a_long_one", "another"]).unwrap(), "stages: `a_long_one`, `another`");
        assert_eq!(suggest("zzz", "stages", []).unwrap(), "there are no stages");
    }
}
