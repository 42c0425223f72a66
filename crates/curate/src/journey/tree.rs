//! Step trees: many ways to go on from every step, pruned by a judge, and the walk through one that errs and comes back.
//!
//! O1 Replication Journey, part 1 (Qin et al., arXiv 2410.18982): a tree of reasoning steps is grown (width 3, depth 10 there), a judge
//! prunes wrong steps, and a depth-first walk along the right path makes at most one wrong trial at each node, takes it back with a
//! critique, and goes on to the right answer. The control is the same path without the trials.
//!
//! A tree here is grown by the caller ([`Tree::open`], [`Tree::grow`]), who asks a teacher for steps and a judge or verifier about
//! them. The walk is a pure function of the tree.

use potstill_data::Verdict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::CurateError;
use crate::text::normalise;

/// How a tree is grown and walked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TreeConfig {
    /// Steps asked for after each step.
    #[schemars(range(min = 1, max = 64))]
    pub width: u32,
    /// Steps of a path at most; a path without an answer by then leads nowhere.
    #[schemars(range(min = 1, max = 100))]
    pub depth: u32,
    /// Steps of one level that are gone on from, at most: those that the judge holds right, in their order.
    #[schemars(range(min = 1, max = 1024))]
    pub beam: u32,
    /// Wrong trials on the whole walk, at most.
    pub wrong_trials: u32,
    /// Steps that a wrong trial goes on for before it is taken back, at most.
    #[schemars(range(min = 1))]
    pub wrong_steps: u32,
    /// Stands between a wrong trial and the critique; `journey` finds the mistake by it (its `wrong_turns`).
    pub turn: String,
    /// The critique where the judge gave none.
    pub critique: String,
}

/// Marks where a wrong trial was noticed.
pub const TURN: &str = "Wait, something is wrong here.";

impl Default for TreeConfig {
    fn default() -> Self {
        Self {
            width: 3,
            depth: 10,
            beam: 2,
            wrong_trials: 3,
            wrong_steps: 2,
            turn: TURN.to_owned(),
            critique: "This does not lead to the answer. Let me go back and try another way.".to_owned(),
        }
    }
}

impl TreeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// A count of 0, or a turn that says nothing.
    pub fn check(&self) -> Result<(), CurateError> {
        let counts = [("tree.width", self.width, 64), ("tree.depth", self.depth, 100), ("tree.beam", self.beam, 1024)];
        for (setting, value, most) in counts.into_iter().chain([("tree.wrong_steps", self.wrong_steps, u32::MAX)]) {
            if value == 0 || value > most {
                return Err(CurateError::OutOfRange { setting, limit: format!("1 to {most}"), found: value.to_string() });
            }
        }
        if self.turn.trim().is_empty() {
            return Err(CurateError::OutOfRange { setting: "tree.turn", limit: "a phrase".into(), found: "an empty text".into() });
        }
        Ok(())
    }
}

/// A step that the caller got, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step's text.
    pub text: String,
    /// For a step that ends with an answer, the verifier's verdict.
    pub answer: Option<Verdict>,
    /// What a judge says of the step itself; `None` without a judge or an opinion.
    pub judged: Option<bool>,
    /// The judge's critique of a wrong step.
    pub critique: Option<String>,
    /// Tokens that the teacher wrote for it.
    pub tokens: u32,
}

#[derive(Debug, Clone)]
struct Node {
    parent: Option<usize>,
    depth: u32,
    step: Step,
    children: Vec<usize>,
}

/// The tree of one problem.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    /// Steps to go on from, with their depth; the root is `None`.
    open: Vec<Option<usize>>,
    begun: bool,
}

/// What a tree gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// The steps of the right path, the last one with the answer.
    pub path: Vec<String>,
    /// The walk: right steps, and before some of them a wrong trial with its critique; the same last step.
    pub walk: Vec<String>,
    /// Wrong trials in the walk.
    pub wrong_trials: u32,
    /// Tokens of the path, as the teacher counted them.
    pub path_tokens: u32,
    /// Tokens of the steps in the walk.
    pub walk_tokens: u32,
}

impl Tree {
    /// An empty tree, whose root wants to be gone on from.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The steps to go on from, each by the texts from the first step to it; empty for the root. The order is the one in which
    /// [`Tree::grow`] expects the replies.
    #[must_use]
    pub fn open(&self) -> Vec<Vec<&str>> {
        if !self.begun {
            return vec![Vec::new()];
        }
        self.open.iter().map(|node| self.texts(*node)).collect()
    }

    /// Takes the steps that were got for each of the open ones, and decides which of these to go on from.
    pub fn grow(&mut self, config: &TreeConfig, steps: Vec<Vec<Step>>) {
        let open = if self.begun { std::mem::take(&mut self.open) } else { vec![None] };
        self.begun = true;
        let mut next = Vec::new();
        for (parent, steps) in open.into_iter().zip(steps) {
            for step in steps {
                let Some(node) = self.add(parent, step) else { continue };
                let about = &self.nodes[node];
                // A step with an answer ends its path; a wrong one is gone on from by the walk only.
                if about.step.answer.is_none() && about.step.judged != Some(false) && about.depth < config.depth {
                    next.push(Some(node));
                }
            }
        }
        // The right answer is there already: further growth would cost and not be walked.
        if self.right_leaf().is_some() {
            next.clear();
        }
        next.truncate(config.beam as usize);
        self.open = next;
    }

    /// Adds a step, unless it is empty or a sibling says the same.
    fn add(&mut self, parent: Option<usize>, step: Step) -> Option<usize> {
        if step.text.trim().is_empty() {
            return None;
        }
        let siblings = parent.map_or(&self.roots, |parent| &self.nodes[parent].children);
        let same = normalise(&step.text);
        if siblings.iter().any(|sibling| normalise(&self.nodes[*sibling].step.text) == same) {
            return None;
        }
        let depth = parent.map_or(1, |parent| self.nodes[parent].depth + 1);
        let node = self.nodes.len();
        self.nodes.push(Node { parent, depth, step, children: Vec::new() });
        match parent {
            Some(parent) => self.nodes[parent].children.push(node),
            None => self.roots.push(node),
        }
        Some(node)
    }

    /// Steps in the tree.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the tree has no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Steps that the judge holds wrong.
    #[must_use]
    pub fn pruned(&self) -> usize {
        self.nodes.iter().filter(|node| node.step.judged == Some(false)).count()
    }

    /// The texts of the first path that ends in an answer which is not right, where there is one.
    #[must_use]
    pub fn wrong_path(&self) -> Option<Vec<&str>> {
        let wrong = |node: &&Node| node.step.answer.is_some_and(|verdict| verdict != Verdict::Correct);
        let node = self.nodes.iter().position(|node| wrong(&node))?;
        Some(self.texts(Some(node)))
    }

    /// The first step with a right answer in depth-first order that no judge holds wrong.
    fn right_leaf(&self) -> Option<usize> {
        let mut stack: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(node) = stack.pop() {
            let step = &self.nodes[node].step;
            if step.answer == Some(Verdict::Correct) && step.judged != Some(false) {
                return Some(node);
            }
            stack.extend(self.nodes[node].children.iter().rev());
        }
        None
    }

    /// Nodes from the first step to this one.
    fn path(&self, node: Option<usize>) -> Vec<usize> {
        let mut path: Vec<usize> = std::iter::successors(node, |node| self.nodes[*node].parent).collect();
        path.reverse();
        path
    }

    fn texts(&self, node: Option<usize>) -> Vec<&str> {
        self.path(node).into_iter().map(|node| self.nodes[node].step.text.as_str()).collect()
    }

    /// The walk to the right answer; `None` where no path leads to one.
    #[must_use]
    pub fn walk(&self, config: &TreeConfig) -> Option<Walk> {
        let path = self.path(Some(self.right_leaf()?));
        let mut walk = Walk { path: Vec::new(), walk: Vec::new(), wrong_trials: 0, path_tokens: 0, walk_tokens: 0 };
        for node in path {
            if walk.wrong_trials < config.wrong_trials
                && let Some(wrong) = self.wrong_sibling(node)
            {
                self.try_wrong(config, wrong, &mut walk);
            }
            let step = &self.nodes[node].step;
            walk.path.push(step.text.trim().to_owned());
            walk.walk.push(step.text.trim().to_owned());
            walk.path_tokens += step.tokens;
            walk.walk_tokens += step.tokens;
        }
        Some(walk)
    }

    /// The first other way from the same place that leads to no right answer: one that the judge criticised before others.
    fn wrong_sibling(&self, node: usize) -> Option<usize> {
        let siblings = self.nodes[node].parent.map_or(&self.roots, |parent| &self.nodes[parent].children);
        let others = || siblings.iter().copied().filter(|other| *other != node);
        let criticised = others().find(|other| self.nodes[*other].step.judged == Some(false));
        criticised.or_else(|| others().find(|other| self.is_known_wrong(*other)))
    }

    /// Whether everything that was tried from here ended in a wrong answer: an unfinished way may still be right.
    fn is_known_wrong(&self, node: usize) -> bool {
        let about = &self.nodes[node];
        match (about.step.judged, about.step.answer) {
            (Some(false), _) => true,
            (_, Some(verdict)) => verdict == Verdict::Incorrect,
            (_, None) => !about.children.is_empty() && about.children.iter().all(|child| self.is_known_wrong(*child)),
        }
    }

    /// Goes down the wrong way for a few steps and takes it back.
    fn try_wrong(&self, config: &TreeConfig, wrong: usize, walk: &mut Walk) {
        let first = std::iter::successors(Some(wrong), |node| self.nodes[*node].children.first().copied());
        let steps: Vec<&Step> = first.take(config.wrong_steps as usize).map(|node| &self.nodes[node].step).collect();
        for step in &steps {
            walk.walk.push(step.text.trim().to_owned());
            walk.walk_tokens += step.tokens;
        }
        let critique = steps.iter().rev().find_map(|step| step.critique.as_deref()).map(str::trim).filter(|text| !text.is_empty());
        walk.walk.push(format!("{} {}", config.turn, critique.unwrap_or(&config.critique)));
        walk.wrong_trials += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(text: &str) -> Step {
        Step { text: text.into(), answer: None, judged: None, critique: None, tokens: 1 }
    }

    fn answer(text: &str, verdict: Verdict) -> Step {
        Step { answer: Some(verdict), ..step(text) }
    }

    fn wrong(text: &str, critique: &str) -> Step {
        Step { judged: Some(false), critique: Some(critique.into()), ..step(text) }
    }

    fn config() -> TreeConfig {
        TreeConfig { turn: "Wait.".into(), critique: "No.".into(), ..TreeConfig::default() }
    }

    #[test]
    fn a_walk_tries_one_wrong_way_at_each_node_and_ends_right() {
        let mut tree = Tree::new();
        tree.grow(&config(), vec![vec![wrong("A1", "A1 adds wrongly."), step("A2"), wrong("A3", "A3 too.")]]);
        assert_eq!(tree.open(), [["A2"]]);
        tree.grow(&config(), vec![vec![answer("B1 is 5", Verdict::Incorrect), answer("B2 is 7", Verdict::Correct)]]);
        assert!(tree.open().is_empty(), "nothing grows beyond the right answer");
        let walk = tree.walk(&config()).unwrap();
        assert_eq!(walk.path, ["A2", "B2 is 7"]);
        assert_eq!(walk.walk, ["A1", "Wait. A1 adds wrongly.", "A2", "B1 is 5", "Wait. No.", "B2 is 7"]);
        assert_eq!((walk.wrong_trials, walk.path_tokens, walk.walk_tokens, tree.pruned()), (2, 2, 4, 2));
        let once = TreeConfig { wrong_trials: 1, ..config() };
        assert_eq!(tree.walk(&once).unwrap().walk, ["A1", "Wait. A1 adds wrongly.", "A2", "B2 is 7"]);
    }

    #[test]
    fn without_a_judge_a_way_is_wrong_when_all_its_answers_are() {
        let mut tree = Tree::new();
        tree.grow(&config(), vec![vec![step("A1"), step("A2"), step("A3")]]);
        assert_eq!(tree.open(), [["A1"], ["A2"]], "the beam is two");
        tree.grow(&config(), vec![vec![answer("is 1", Verdict::Incorrect)], vec![answer("is 2", Verdict::Correct)]]);
        let walk = tree.walk(&config()).unwrap();
        // A3 was never gone on from: nobody knows whether it is wrong.
        assert_eq!(walk.walk, ["A1", "is 1", "Wait. No.", "A2", "is 2"]);
    }

    #[test]
    fn no_right_answer_is_no_walk() {
        let mut tree = Tree::new();
        tree.grow(&config(), vec![vec![answer("is 1", Verdict::Incorrect), answer("is  1", Verdict::Incorrect), step("  ")]]);
        assert_eq!(tree.len(), 1, "the same step and an empty one are left out");
        assert_eq!((tree.walk(&config()), tree.wrong_path()), (None, Some(vec!["is 1"])));
        assert!(TreeConfig { width: 0, ..config() }.check().is_err() && TreeConfig { turn: " ".into(), ..config() }.check().is_err());
    }

    proptest! {
        /// Whatever a teacher and a judge say: a walk ends in the right answer, holds its path in order, and errs at most once a node.
        #[test]
        fn walks_hold_their_path_and_end_right(levels in prop::collection::vec(prop::collection::vec((0..6_u8, 0..5_u8), 1..5), 1..6), beam in 1..4_u32) {
            let config = TreeConfig { beam, depth: 6, ..config() };
            let mut tree = Tree::new();
            for (depth, level) in levels.iter().enumerate() {
                let open = tree.open().len();
                let steps = (0..open).map(|node| {
                    level.iter().enumerate().map(|(at, (what, name))| {
                        let text = format!("{depth}.{node}.{at}.{name}");
                        match what {
                            0 => answer(&text, Verdict::Incorrect),
                            1 => answer(&text, Verdict::Correct),
                            2 | 3 => wrong(&text, "bad"),
                            _ => step(&text),
                        }
                    }).collect()
                }).collect();
                tree.grow(&config, steps);
                prop_assert!(tree.open().len() <= beam as usize);
            }
            if let Some(walk) = tree.walk(&config) {
                prop_assert_eq!(walk.walk.last(), walk.path.last());
                let mut rest = walk.walk.iter();
                prop_assert!(walk.path.iter().all(|step| rest.any(|said| said == step)), "the path is in the walk, in order");
                let turns = walk.walk.iter().filter(|said| said.starts_with("Wait.")).count();
                prop_assert_eq!(turns, walk.wrong_trials as usize);
                prop_assert!(turns <= walk.path.len());
                prop_assert_eq!(tree.walk(&config).unwrap(), walk);
            }
        }
    }
}
