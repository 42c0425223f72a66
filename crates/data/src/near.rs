//! Suggestions: the known names nearest to one that is unknown.

use std::path::Path;

/// How many names a hint lists before it abbreviates.
const LISTED: usize = 40;

/// The known names that a typing mistake away from `name`, best first, at most three.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// "did you mean …" where something is near, and the list of what there is.
pub(crate) fn columns_hint(column: &str, known: &[String]) -> String {
    let near = nearest(column, known.iter().map(String::as_str));
    let suggestion = if near.is_empty() { String::new() } else { format!("did you mean {}? ", quoted(near)) };
    let more = if known.len() > LISTED { format!(" and {} more", known.len() - LISTED) } else { String::new() };
    let listed = quoted(known.iter().take(LISTED).map(String::as_str));
    format!("{suggestion}columns are {listed}{more}")
}

/// The files of the folder that are near the missing one, or the folder that is missing itself.
pub(crate) fn files_hint(path: &Path) -> Option<String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Some(format!("the folder {} is not there either", folder.display()));
    }
    let name = path.file_name()?.to_str()?;
    let mut names: Vec<String> = folder.read_dir().ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let near = nearest(name, names.iter().map(String::as_str));
    if near.is_empty() { None } else { Some(format!("in that folder there is {}", quoted(near))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_column() {
        let known = ["question", "answer", "gold"].map(str::to_owned);
        assert!(columns_hint("qestion", &known).starts_with("did you mean `question`? columns are `question`"));
        assert!(columns_hint("zzz", &known).starts_with("columns are"));
    }

    #[test]
    fn a_missing_file_finds_its_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.jsonl"), "").unwrap();
        assert!(files_hint(&folder.path().join("trian.jsonl")).unwrap().contains("`train.jsonl`"));
        assert!(files_hint(&folder.path().join("a/b.jsonl")).unwrap().contains("not there either"));
    }
}
