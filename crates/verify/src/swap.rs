//! A self-check against exchanged columns: golds that look like replies, and replies that look like golds.
//!
//! Most graders treat the two alike, so that a swap costs recall in silence. Here it is found by the looks of a file's
//! first rows: a reply tells a story or marks its answer; a gold is a few signs.

/// Rows that must have been seen before a suspicion is worth a word.
const ENOUGH: u64 = 5;

/// Golds are seldom longer, in bytes.
const SHORT: usize = 60;

/// Counts how many rows look exchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct SwapCheck {
    rows: u64,
    exchanged: u64,
    straight: u64,
}

impl SwapCheck {
    /// Looks at one row.
    pub fn add(&mut self, gold: &str, response: &str) {
        self.rows += 1;
        match (is_reply(gold), is_reply(response)) {
            (true, false) if response.trim().len() <= SHORT => self.exchanged += 1,
            (false, true) => self.straight += 1,
            _ => {}
        }
    }

    /// The share of rows that look exchanged, where they are most of those that look like anything.
    #[must_use]
    pub fn suspicion(&self) -> Option<f64> {
        let share = self.exchanged as f64 / self.rows.max(1) as f64;
        (self.rows >= ENOUGH && self.exchanged > self.straight && share > 0.5).then_some(share)
    }
}

/// A reply: long text, or an answer in a mark that golds do not carry.
fn is_reply(text: &str) -> bool {
    let sentences = text.matches(". ").count() + text.matches(".\n").count() + text.matches('。').count();
    let marked = text.contains("</think>") || text.contains("<answer>") || text.to_lowercase().contains("answer is");
    text.len() > 4 * SHORT && sentences >= 2 || text.len() > SHORT && (marked || text.contains("\\boxed") && sentences >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = "We add the two numbers. The sum is 42, so we are done. Therefore the final answer is $\\boxed{42}$.";

    fn seen(rows: &[(&str, &str)], times: usize) -> Option<f64> {
        let mut check = SwapCheck::default();
        for (gold, response) in rows.iter().cycle().take(times) {
            check.add(gold, response);
        }
        check.suspicion()
    }

    #[test]
    fn exchanged_columns_are_suspected_and_right_ones_are_not() {
        assert_eq!(seen(&[(REPLY, "42")], 10), Some(1.0));
        assert_eq!(seen(&[("42", REPLY)], 10), None);
        assert_eq!(seen(&[("42", "42")], 10), None);
        assert_eq!(seen(&[(REPLY, REPLY)], 10), None, "golds may be whole solutions");
        assert_eq!(seen(&[(REPLY, "42")], 3), None, "too few to say");
        assert_eq!(seen(&[(REPLY, "42"), ("42", "42"), ("42", REPLY)], 30), None);
    }
}
