//! Made-up texts with a known truth.

use potstill_data::{Attempt, Problem};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Every third word is one of these, as in prose.
const FUNCTION: [&str; 24] = [
    "the", "of", "and", "to", "in", "is", "it", "that", "we", "for", "this", "are", "be", "so", "if", "by", "with", "as", "on", "then",
    "have", "can", "from", "but",
];

/// A vocabulary of 30,000 made-up words; low numbers are drawn more often.
pub(crate) struct Prose {
    words: Vec<String>,
    pub(crate) rng: StdRng,
}

impl Prose {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let word = |rng: &mut StdRng| (0..rng.random_range(2..9)).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
        Self { words: (0..30_000).map(|_| word(&mut rng)).collect(), rng }
    }

    pub(crate) fn word(&mut self) -> String {
        if self.rng.random_bool(1.0 / 3.0) {
            return FUNCTION[self.rng.random_range(0..FUNCTION.len())].to_owned();
        }
        let u: f64 = self.rng.random();
        self.words[(self.words.len() as f64 * u * u * u) as usize].clone()
    }

    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 10);
        let mut words = 0;
        while text.len() < bytes {
            text.push_str(&self.word());
            words += 1;
            text.push_str(if words % 60 == 0 { ".\n\n" } else { " " });
        }
        text
    }

    pub(crate) fn copy(&mut self, text: &str, rate: f64) -> String {
        let words = text.split(' ').map(|w| if self.rng.random_bool(rate) { self.word() } else { w.to_owned() });
        words.collect::<Vec<_>>().join(" ")
    }

    /// A question of 60 words, every seventh of them a number.
    pub(crate) fn question(&mut self) -> String {
        let mut words: Vec<String> = (0..60).map(|_| self.word()).collect();
        for at in (3..60).step_by(7) {
            words[at] = self.rng.random_range(2..5000).to_string();
        }
        words.join(" ")
    }
}

pub(crate) fn attempt(id: usize, prompt: &str, response: String) -> Attempt {
    let problem = Problem { problem_id: format!("p{id}"), source: "bench".into(), prompt: prompt.into(), ..Problem::default() };
    Attempt { problem, response, finish_reason: "stop".into(), ..Attempt::default() }
}

/// Texts of 1.5 KB, every fifth a copy of another with words replaced at a rate of 0 to 12 %; and of which.
pub(crate) fn near_duplicates(count: usize) -> (Vec<Attempt>, Vec<Option<usize>>) {
    let mut prose = Prose::new(1);
    let mut rows: Vec<Attempt> = Vec::with_capacity(count);
    let mut copy_of = vec![None; count];
    for (n, source) in copy_of.iter_mut().enumerate() {
        let text = if n % 5 == 4 {
            // A text that is no copy itself, and copied once at most.
            let original = n - 1 - n % 4;
            let rate = prose.rng.random_range(0.0..0.12);
            *source = Some(original);
            prose.copy(&rows[original].response, rate)
        } else {
            prose.text(1500)
        };
        rows.push(attempt(n, "", text));
    }
    (rows, copy_of)
}

/// 1,819 questions, and traces of 1.8 KB: a tenth of them (the numbers divisible by ten) hold a question in their middle,
/// a tenth (those after them) hold one in which every number is another.
pub(crate) fn contaminated(count: usize) -> (Vec<String>, Vec<Attempt>) {
    let mut prose = Prose::new(2);
    let questions: Vec<String> = (0..1819).map(|_| prose.question()).collect();
    let mut rows = Vec::with_capacity(count);
    for n in 0..count {
        let mut text = prose.text(900);
        let planted = &questions[n % questions.len()];
        if n % 10 == 0 {
            text.push_str(planted);
        } else if n % 10 == 1 {
            let other = |w: &str| w.parse::<u32>().map_or(w.to_owned(), |k| (k + 1).to_string());
            text.push_str(&planted.split(' ').map(other).collect::<Vec<_>>().join(" "));
        }
        text.push(' ');
        text.push_str(&prose.text(1800 - text.len().min(1700)));
        rows.push(attempt(n, &prose.text(200), text));
    }
    (questions, rows)
}
