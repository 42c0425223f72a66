//! The only place that writes to the terminal.

use std::io::{IsTerminal, Write};

/// Writes a line to standard output; a closed pipe ends the output, not the work.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether progress bars make sense.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns side by side: all but the last as wide as their widest cell; `right` columns are aligned to the right.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            let pad = " ".repeat(widths[at].saturating_sub(cell.chars().count()));
            if right.contains(&at) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "10".into(), "x".into()], vec!["bcd".into(), "7".into(), String::new()]];
        assert_eq!(table(&rows, &[1]), "a    10  x\nbcd   7");
    }
}
