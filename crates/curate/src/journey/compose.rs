//! From the attempts of one problem to its journey samples and their controls.

use std::collections::BTreeMap;
use std::ops::Range;

use potstill_data::{Attempt, LossSpan, Message, MessagePart, Sample, SampleKind, Verdict};

use super::meta::describe;
use super::report::Skip;
use super::seen::{Mistake, Seen, judge_answer, judge_text};
use super::{Cut, Eyes, JourneyConfig, JourneySource, Writer, reflection};
use crate::error::CurateError;
use crate::render::{Renderer, as_is, problem_meta};
use crate::text::whole;

/// A journey before a writer has seen it; it ends correct already.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The id of the sample that it will be.
    pub sample_id: String,
    /// Where its mistake comes from.
    pub origin: JourneySource,
    /// The attempt that ends it; its problem is the draft's.
    pub right: Attempt,
    /// The thought, mistake and correction; `None` where all of it stands in the response.
    pub reasoning: Option<String>,
    /// What is said finally.
    pub response: String,
    /// The wrong answers, in order; empty for wrong turns without one.
    pub wrong_answers: Vec<String>,
    /// Where the mistakes stand, in bytes of the reasoning (of the response where there is none), in order; what lies
    /// between them are reflections, what follows the last is the way that led to the right answer.
    pub mistakes: Vec<Range<usize>>,
    /// The attempts that it was made of, the wrong ones first.
    pub lineage: Vec<String>,
}

/// What one problem gives before the writer.
#[derive(Debug, Clone, Default)]
pub struct Drafts {
    /// Its journeys.
    pub drafts: Vec<Draft>,
    /// The right attempt of a problem that needs no correction, if such are kept.
    pub straight: Option<Sample>,
    /// The control set: shortcuts of the same problem.
    pub shortcuts: Vec<Sample>,
    /// Why candidates were not used.
    pub rejected: Vec<Skip>,
}

/// What one problem gave.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Its journey samples.
    pub journeys: Vec<(JourneySource, Sample)>,
    /// Its right attempt as it is, where the problem needed no correction and such are kept.
    pub straight: Option<Sample>,
    /// Its shortcut samples; empty if there is neither a journey nor a straight one.
    pub shortcuts: Vec<Sample>,
    /// Why there is no journey, if there is none.
    pub skipped: Option<Skip>,
    /// Why further candidates were not used.
    pub rejected: Vec<Skip>,
}

/// Composes journeys, problem by problem; pure, so that problems can go to several threads.
#[derive(Debug, Clone)]
pub struct Journey {
    config: JourneyConfig,
    seed: u64,
    renderer: Renderer,
}

impl Journey {
    /// Checks the settings.
    ///
    /// # Errors
    /// Counts of 0, no source, an empty reflection, or a wrong `render` table.
    pub fn new(config: JourneyConfig, seed: u64) -> Result<Self, CurateError> {
        let positive = |setting, value: u32| match value {
            0 => Err(CurateError::OutOfRange { setting, limit: "at least 1".into(), found: "0".into() }),
            _ => Ok(()),
        };
        positive("per_problem", config.per_problem)?;
        if !(0.0..=1.0).contains(&config.mistake_weight) {
            let found = config.mistake_weight.to_string();
            return Err(CurateError::OutOfRange { setting: "mistake_weight", limit: "from 0 to 1".into(), found });
        }
        positive("wrong_attempts", config.wrong_attempts)?;
        if config.from.is_empty() {
            let (limit, found) = ("`recovered`, `joined` or both".into(), "an empty list".into());
            return Err(CurateError::OutOfRange { setting: "from", limit, found });
        }
        reflection::check(&config.reflections)?;
        let renderer = Renderer::new(&config.render)?;
        Ok(Self { config, seed, renderer })
    }

    /// All steps for one problem: draft, write (if there is a writer), verify. The attempts may come in any order.
    #[must_use]
    pub fn problem(&self, attempts: &[Attempt], eyes: &Eyes<'_>, writer: Option<&Writer<'_>>) -> Outcome {
        let drafts = self.draft(attempts, eyes);
        let written = drafts.drafts.iter().map(|d| writer.map(|w| w(d))).collect();
        self.settle(drafts, written, eyes)
    }

    /// The drafts and controls of one problem, for callers that write many drafts at once.
    #[must_use]
    pub fn draft(&self, attempts: &[Attempt], eyes: &Eyes<'_>) -> Drafts {
        let mut seen: Vec<Seen<'_>> = attempts.iter().map(|a| Seen::new(a, eyes)).collect();
        seen.sort_by(|a, b| (a.text.len(), a.attempt.sample_index, &a.id).cmp(&(b.text.len(), b.attempt.sample_index, &b.id)));
        let mut rights = Vec::new();
        for right in seen.iter().filter(|s| s.is_right()) {
            rights.push((right, right.mistake(eyes, &self.config.wrong_turns)));
        }
        let mut out = Drafts::default();
        if rights.is_empty() {
            out.rejected.push(Skip::NoRight);
            return out;
        }
        let mut candidates = Vec::new();
        for source in &self.config.from {
            match source {
                JourneySource::Recovered => candidates.extend(rights.iter().filter_map(|(s, m)| Some(recovered(s, m.as_ref()?)))),
                JourneySource::Joined => candidates.extend(self.joined(&seen, &rights, eyes, &mut out.rejected)),
            }
        }
        self.choose(candidates, eyes, &mut out);
        if !out.drafts.is_empty() {
            out.shortcuts = self.shortcuts(&rights, eyes);
        } else if out.rejected.is_empty() {
            // The only right attempt of a problem cannot be both its journey and its shortcut.
            let enough = rights.len() > 1 || !self.config.paired;
            out.rejected.push(if self.config.keep_straight && !enough { Skip::OnlyShortcut } else { Skip::NoMistake });
            if let (true, Some((longest, _))) = (self.config.keep_straight && enough, rights.last()) {
                out.straight = Some(as_is(longest.attempt, SampleKind::Shortcut, &self.renderer));
                out.shortcuts = self.shortcuts(&rights, eyes);
            }
        }
        out
    }

    /// The first `per_problem` candidates that end correct.
    fn choose(&self, candidates: Vec<Draft>, eyes: &Eyes<'_>, out: &mut Drafts) {
        for mut draft in candidates {
            if out.drafts.len() == self.config.per_problem as usize {
                return;
            }
            if ends_correct(&draft.right, draft.reasoning.as_deref(), &draft.response, eyes) {
                draft.sample_id = format!("{}~journey{}", draft.right.problem.problem_id, out.drafts.len());
                out.drafts.push(draft);
            } else {
                out.rejected.push(Skip::EndsWrong);
            }
        }
    }

    /// Joined candidates: the k-th takes the next `wrong_attempts` different wrong answers and the k-th right attempt.
    fn joined(&self, seen: &[Seen<'_>], rights: &[(&Seen<'_>, Option<Mistake>)], eyes: &Eyes<'_>, rejected: &mut Vec<Skip>) -> Vec<Draft> {
        let mut wrongs: BTreeMap<String, Vec<Piece<'_>>> = BTreeMap::new();
        for wrong in seen.iter().filter(|s| s.verdict == Verdict::Incorrect) {
            match self.piece(wrong, eyes) {
                Ok(piece) => wrongs.entry(piece.answer.split_whitespace().collect()).or_default().push(piece),
                Err(skip) => rejected.push(skip),
            }
        }
        // The commonest wrong answer is the most plausible mistake; the shortest attempt (the first seen) shows it.
        let mut ranked: Vec<Vec<Piece<'_>>> = wrongs.into_values().collect();
        ranked.sort_by_key(|same| std::cmp::Reverse(same.len()));
        let firsts: Vec<Piece<'_>> = ranked.into_iter().filter_map(|same| same.into_iter().next()).collect();
        let mut clean: Vec<&Seen<'_>> = rights.iter().filter(|(_, m)| m.is_none()).map(|(s, _)| *s).collect();
        if clean.is_empty() {
            clean = rights.iter().map(|(s, _)| *s).collect();
        }
        let chunks = firsts.chunks(self.config.wrong_attempts as usize).zip(clean.iter().cycle()).enumerate();
        chunks.map(|(k, (pieces, right))| self.join(k, pieces, right)).collect()
    }

    fn piece<'s>(&self, wrong: &'s Seen<'_>, eyes: &Eyes<'_>) -> Result<Piece<'s>, Skip> {
        let answer = wrong.wrong_answer(eyes).ok_or(Skip::Uncommitted)?;
        let text = match self.config.cut {
            Cut::AfterAnswer => wrong.through(answer),
            Cut::BeforeAnswer => wrong.before(answer),
            Cut::Whole => wrong.text.as_str(),
        };
        if text.is_empty() {
            return Err(Skip::Uncommitted);
        }
        if text.chars().count() > self.config.max_wrong_chars as usize {
            return Err(Skip::TooLong);
        }
        Ok(Piece { id: &wrong.id, text, answer: &answer.text })
    }

    fn join(&self, k: usize, pieces: &[Piece<'_>], right: &Seen<'_>) -> Draft {
        let mut reasoning = String::new();
        let mut mistakes = Vec::with_capacity(pieces.len());
        for (n, piece) in pieces.iter().enumerate() {
            mistakes.push(reasoning.len()..reasoning.len() + piece.text.len());
            reasoning.push_str(piece.text);
            let id = format!("{}#{k}.{n}", right.attempt.problem.problem_id);
            let turn = reflection::reflection(&self.config.reflections, self.seed, &id, piece.answer);
            reasoning.push_str("\n\n");
            reasoning.push_str(&turn);
            if n + 1 < pieces.len() {
                reasoning.push_str("\n\n");
            }
        }
        if let Some(own) = &right.reasoning {
            reasoning.push_str("\n\n");
            reasoning.push_str(own);
        }
        Draft {
            sample_id: String::new(),
            origin: JourneySource::Joined,
            right: right.attempt.clone(),
            reasoning: Some(reasoning),
            response: right.response.clone(),
            wrong_answers: pieces.iter().map(|p| p.answer.to_owned()).collect(),
            mistakes,
            lineage: pieces.iter().map(|p| p.id.to_owned()).chain([right.id.clone()]).collect(),
        }
    }

    /// Up to `per_problem` right attempts without a mistake; else the final answer alone of one that recovered.
    fn shortcuts(&self, rights: &[(&Seen<'_>, Option<Mistake>)], eyes: &Eyes<'_>) -> Vec<Sample> {
        let clean = rights.iter().filter(|(_, mistake)| mistake.is_none());
        let most = self.config.per_problem as usize;
        let found: Vec<Sample> = clean.take(most).map(|(s, _)| as_is(s.attempt, SampleKind::Shortcut, &self.renderer)).collect();
        if !found.is_empty() {
            return found;
        }
        let answer_alone = |(seen, mistake): &(&Seen<'_>, Option<Mistake>)| {
            let (reasoning, response) = seen.parted(mistake.as_ref()?);
            reasoning?;
            (judge_text(seen.attempt, None, response.clone(), eyes) == Verdict::Correct).then(|| {
                let bare = Attempt { reasoning: None, response, ..seen.attempt.clone() };
                let mut sample = as_is(&bare, SampleKind::Shortcut, &self.renderer);
                sample.sample_id.push_str("~answer");
                sample
            })
        };
        rights.iter().find_map(answer_alone).into_iter().collect()
    }

    /// Verifies what the writer made of each draft (`None`: there was no writer) and renders the samples.
    #[must_use]
    pub fn settle(&self, drafts: Drafts, written: Vec<Option<Result<String, String>>>, eyes: &Eyes<'_>) -> Outcome {
        let mut out = Outcome { rejected: drafts.rejected, ..Outcome::default() };
        for (draft, text) in drafts.drafts.into_iter().zip(written.into_iter().chain(std::iter::repeat(None))) {
            match text.map(|t| self.rewritten(&draft, t, eyes)).transpose() {
                Ok(smooth) => out.journeys.push((draft.origin, self.sample(smooth.as_ref().unwrap_or(&draft)))),
                Err(skip) => {
                    out.rejected.push(skip);
                    if self.config.keep_unwritten {
                        out.journeys.push((draft.origin, self.sample(&draft)));
                    }
                }
            }
        }
        if let Some(straight) = drafts.straight.filter(|_| !(self.config.paired && drafts.shortcuts.is_empty())) {
            out.rejected.clear();
            out.straight = Some(straight);
            out.shortcuts = drafts.shortcuts;
        } else if out.journeys.is_empty() {
            // The first cause met names the problem's; the others stay listed.
            out.skipped = Some(if out.rejected.is_empty() { Skip::NoMistake } else { out.rejected.remove(0) });
        } else if self.config.paired && drafts.shortcuts.is_empty() {
            out.journeys.clear();
            out.skipped = Some(Skip::NoShortcut);
        } else {
            out.shortcuts = drafts.shortcuts;
        }
        out
    }

    /// The draft with the written text in place of its own, if that still errs and still ends correct.
    fn rewritten(&self, draft: &Draft, text: Result<String, String>, eyes: &Eyes<'_>) -> Result<Draft, Skip> {
        let text = text.map_err(|_| Skip::WriterFailed)?.trim().to_owned();
        if text.is_empty() {
            return Err(Skip::WriterFailed);
        }
        let errs = |answer: &str| judge_answer(&draft.right, answer, eyes) == Verdict::Incorrect;
        let wrong: Vec<usize> = (eyes.answers)(&text).into_iter().filter(|c| errs(&c.text)).map(|c| c.span.end).collect();
        // The writer's text has no seams: each wrong answer ends a mistake that began where the one before ended.
        let starts = std::iter::once(0).chain(wrong.iter().copied());
        let mistakes: Vec<Range<usize>> = starts.zip(&wrong).map(|(start, end)| start..*end).collect();
        let turned = self.config.wrong_turns.iter().any(|t| !t.is_empty() && text.contains(t.as_str()));
        let named = draft.wrong_answers.iter().any(|w| text.contains(w.as_str()));
        if mistakes.is_empty() && !turned && !named {
            return Err(Skip::WriterLostMistake);
        }
        if !ends_correct(&draft.right, Some(&text), &draft.response, eyes) {
            return Err(Skip::WriterChangedAnswer);
        }
        Ok(Draft { reasoning: Some(text), mistakes, ..draft.clone() })
    }

    fn sample(&self, draft: &Draft) -> Sample {
        let problem = &draft.right.problem;
        let mut meta = problem_meta(problem);
        describe(&mut meta, draft);
        let messages = self.renderer.messages(&problem.prompt, draft.reasoning.as_deref(), &draft.response);
        let loss_spans = if self.config.mistake_weight == 1.0 { Vec::new() } else { spans(&messages, draft, self.config.mistake_weight) };
        Sample {
            sample_id: draft.sample_id.clone(),
            problem_id: problem.problem_id.clone(),
            source: problem.source.clone(),
            messages,
            kind: SampleKind::Journey,
            weight: 1.0,
            loss_spans,
            lineage: draft.lineage.clone(),
            meta,
        }
    }
}

/// The draft's mistakes as spans of the last message, wherever the format has put the text that errs.
fn spans(messages: &[Message], draft: &Draft, weight: f32) -> Vec<LossSpan> {
    let errs_in = draft.reasoning.as_deref().unwrap_or(&draft.response);
    let Some((message, last)) = messages.iter().enumerate().next_back() else { return Vec::new() };
    let (part, offset) = match &last.reasoning {
        Some(reasoning) if draft.reasoning.as_ref() == Some(reasoning) => (MessagePart::Reasoning, 0),
        _ => match last.content.find(errs_in) {
            Some(at) => (MessagePart::Content, last.content[..at].chars().count()),
            // The format leaves the thought out, and the mistake with it.
            None => return Vec::new(),
        },
    };
    let characters = |bytes: usize| offset + errs_in.get(..bytes).map_or(0, |text| text.chars().count());
    let span = |mistake: &Range<usize>| LossSpan {
        message: message as u32,
        part,
        start: characters(mistake.start) as u32,
        end: characters(mistake.end) as u32,
        weight,
    };
    draft.mistakes.iter().map(span).collect()
}

/// A wrong attempt's part in a joined journey.
struct Piece<'a> {
    id: &'a str,
    text: &'a str,
    answer: &'a str,
}

fn recovered(seen: &Seen<'_>, mistake: &Mistake) -> Draft {
    let (reasoning, response) = seen.parted(mistake);
    let said = reasoning.as_ref().map_or(response.len(), String::len);
    Draft {
        sample_id: String::new(),
        origin: JourneySource::Recovered,
        right: seen.attempt.clone(),
        wrong_answers: mistake.answer.iter().cloned().collect(),
        mistakes: std::iter::once(0..mistake.end.min(said)).collect(),
        lineage: vec![seen.id.clone()],
        reasoning,
        response,
    }
}

/// The judge on the response as given, and on thought and response as one text: neither may end in another answer.
fn ends_correct(right: &Attempt, reasoning: Option<&str>, response: &str, eyes: &Eyes<'_>) -> bool {
    let correct = |verdict| verdict == Verdict::Correct;
    correct(judge_text(right, reasoning, response.to_owned(), eyes))
        && (reasoning.is_none() || correct(judge_text(right, None, whole(reasoning, response).into_owned(), eyes)))
}
