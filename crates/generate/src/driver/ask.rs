//! What a problem is asked as.

use std::sync::Arc;

use potstill_data::{Message, Problem};

/// A problem with the chat that asks it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The problem; it becomes part of each row.
    pub problem: Arc<Problem>,
    /// The chat; the last turn is the user's.
    pub messages: Arc<[Message]>,
}

impl Ask {
    /// A question that is no problem of a data set: an id to tell failures apart by, and the chat.
    #[must_use]
    pub fn new(id: impl Into<String>, messages: impl IntoIterator<Item = Message>) -> Self {
        let problem = Problem { problem_id: id.into(), ..Problem::default() };
        Self { problem: Arc::new(problem), messages: messages.into_iter().collect() }
    }
}

/// Where the prompt goes in a template.
const PLACE: &str = "{prompt}";

/// A template without its place.
#[derive(Debug, thiserror::Error)]
#[error("the prompt template holds no {PLACE}")]
pub struct PromptError;

/// How problems are put to a model.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    system: Option<String>,
    template: Option<String>,
}

impl Prompt {
    /// A system prompt, and a template of the user's turn in which `{prompt}` stands for the problem. Other braces are
    /// left alone: prompts hold LaTeX.
    ///
    /// # Errors
    /// [`PromptError`] when the template holds no `{prompt}`.
    pub fn new(system: Option<String>, template: Option<String>) -> Result<Self, PromptError> {
        if template.as_ref().is_some_and(|template| !template.contains(PLACE)) {
            return Err(PromptError);
        }
        Ok(Self { system: system.filter(|system| !system.trim().is_empty()), template })
    }

    /// The chat that asks a problem.
    #[must_use]
    pub fn ask(&self, problem: Problem) -> Ask {
        let user = match &self.template {
            Some(template) => template.replace(PLACE, &problem.prompt),
            None => problem.prompt.clone(),
        };
        let system = self.system.iter().map(|system| Message::new("system", system.trim_end()));
        let messages = system.chain([Message::new("user", user)]).collect();
        Ask { problem: Arc::new(problem), messages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_takes_its_place_and_other_braces_stay() {
        let template = "Return your final response within \\boxed{}. {prompt}";
        let prompt = Prompt::new(Some("Think.\n".into()), Some(template.into())).unwrap();
        let ask = prompt.ask(Problem { prompt: "What is {prompt}?".into(), ..Problem::default() });
        assert_eq!(
            *ask.messages,
            [Message::new("system", "Think."), Message::new("user", "Return your final response within \\boxed{}. What is {prompt}?"),]
        );
        assert!(Prompt::new(None, Some("no place".into())).is_err());
    }
}
