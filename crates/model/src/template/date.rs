//! `strftime` for the few directives that chat templates use.

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Formats a `YYYY-MM-DD` date at midnight.
pub(super) fn format(date: &str, format: &str) -> Result<String, String> {
    let (year, month, day) = parse(date).ok_or_else(|| format!("the date must be YYYY-MM-DD, found {date:?}"))?;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Y') => out.push_str(&format!("{year:04}")),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('B') => out.push_str(MONTHS[month - 1]),
            Some('b') => out.push_str(&MONTHS[month - 1][..3]),
            Some('A') => out.push_str(DAYS[weekday(year, month, day)]),
            Some('a') => out.push_str(&DAYS[weekday(year, month, day)][..3]),
            Some('H' | 'M' | 'S') => out.push_str("00"),
            Some('%') => out.push('%'),
            other => return Err(format!("strftime_now does not know %{}", other.map(String::from).unwrap_or_default())),
        }
    }
    Ok(out)
}

fn parse(date: &str) -> Option<(usize, usize, usize)> {
    let mut parts = date.split('-').map(|part| part.parse::<usize>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = parts.next().is_none() && (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    fits.then_some((year, month, day))
}

/// Sakamoto's method; Sunday is 0.
fn weekday(year: usize, month: usize, day: usize) -> usize {
    const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = if month < 3 { year - 1 } else { year };
    (year + year / 4 - year / 100 + year / 400 + SHIFT[month - 1] + day) % 7
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_directives_of_real_templates() {
        assert_eq!(super::format("2026-11-22", "%d %b %Y, %A %B %y %%").unwrap(), "22 Nov 2026, Sunday November 26 %");
        assert!(super::format("2026-13-01", "%Y").is_err());
        assert!(super::format("2026-01-01", "%Q").is_err());
    }
}
