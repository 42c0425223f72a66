//! Reasoning and answer, told apart while the text still grows.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Too short to know.
    Start,
    Thinking,
    /// After thinking, before the first character of the answer.
    Gap,
    Answer,
}

/// Splits one growing text.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    phase: Phase,
    /// Text that cannot be told yet.
    held: String,
}

/// A piece of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Reasoning(String),
    Answer(String),
}

impl Splitter {
    /// For a text whose prompt has, or has not, opened the thinking already.
    pub(super) fn new(thinking: bool) -> Self {
        Self { phase: if thinking { Phase::Thinking } else { Phase::Start }, held: String::new() }
    }

    /// What more text settles.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        loop {
            match self.phase {
                Phase::Start => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(OPEN) {
                        (self.phase, self.held) = (Phase::Thinking, rest.to_owned());
                    } else if OPEN.starts_with(begun) {
                        return pieces;
                    } else {
                        self.phase = Phase::Answer;
                    }
                }
                Phase::Thinking => {
                    if let Some(at) = self.held.find(CLOSE) {
                        let rest = self.held.split_off(at).split_off(CLOSE.len());
                        self.take(self.held.len(), Piece::Reasoning, &mut pieces);
                        (self.phase, self.held) = (Phase::Gap, rest);
                    } else {
                        let partial = (1..CLOSE.len()).rev().find(|&n| self.held.ends_with(&CLOSE[..n])).unwrap_or(0);
                        self.take(self.held.len() - partial, Piece::Reasoning, &mut pieces);
                        return pieces;
                    }
                }
                Phase::Gap => {
                    self.held = self.held.trim_start().to_owned();
                    if self.held.is_empty() {
                        return pieces;
                    }
                    self.phase = Phase::Answer;
                }
                Phase::Answer => {
                    self.take(self.held.len(), Piece::Answer, &mut pieces);
                    return pieces;
                }
            }
        }
    }

    /// What is left when the text has ended.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let piece = if self.phase == Phase::Thinking { Piece::Reasoning } else { Piece::Answer };
        self.take(self.held.len(), piece, &mut pieces);
        pieces
    }

    fn take(&mut self, end: usize, piece: fn(String) -> Piece, pieces: &mut Vec<Piece>) {
        if end > 0 {
            let rest = self.held.split_off(end);
            pieces.push(piece(std::mem::replace(&mut self.held, rest)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, thinking: bool, step: usize) -> (String, String) {
        let mut splitter = Splitter::new(thinking);
        let chars: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> = chars.chunks(step).flat_map(|chunk| splitter.push(&chunk.iter().collect::<String>())).collect();
        pieces.extend(splitter.finish());
        let (mut reasoning, mut answer) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Reasoning(text) => reasoning.push_str(&text),
                Piece::Answer(text) => answer.push_str(&text),
            }
        }
        (reasoning, answer)
    }

    #[test]
    fn pieces_of_any_size_split_alike() {
        for step in 1..20 {
            let is = |text, thinking, reasoning: &str, answer: &str| {
                assert_eq!(split(text, thinking, step), (reasoning.to_owned(), answer.to_owned()), "{text:?} by {step}");
            };
            is("<think>\n2 < 3</thin</think>\n\nYes </think>", false, "\n2 < 3</thin", "Yes </think>");
            is("so</think> 4", true, "so", "4");
            is("<thing> 4", false, "", "<thing> 4");
            is("<think>cut", false, "cut", "");
            is(" plain", false, "", " plain");
            is("<thi", false, "", "<thi");
        }
    }
}
