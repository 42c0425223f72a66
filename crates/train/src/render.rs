//! From messages to tokens with exact loss masks.
//!
//! The conversation is rendered once and tokenised once. Which characters are the assistant's is found in that same text:
//! the rendering of the messages before a turn (with the generation prompt, as at inference) and the rendering up to and
//! including it must both be prefixes of the whole; what lies between is the turn, its end-of-turn token included. A
//! template that renders earlier turns differently later on breaks this, and the sample is refused rather than trained
//! with a wrong mask.

use std::ops::Range;

use potstill_data::{LossSpan, Message, MessagePart, Sample};
use potstill_model::{ChatMessage, ChatTemplate, RenderOptions, Tokenizer};

use crate::error::{Result, TrainError};
use crate::rows::Document;

/// A conversation's text and which bytes of it are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedText {
    /// The whole conversation as the template writes it.
    pub text: String,
    /// Byte ranges of the assistant's turns, end-of-turn token included, in order.
    pub trained: Vec<Range<usize>>,
    /// Byte ranges within them that count otherwise, with the factor on the sample's weight.
    pub factors: Vec<(Range<usize>, f32)>,
}

impl RenderedText {
    /// The factor on the weight of a token whose last byte this is: tokens begin with the space before a word.
    fn factor(&self, at: usize) -> f32 {
        self.factors.iter().find(|(range, _)| range.contains(&at)).map_or(1.0, |(_, factor)| *factor)
    }
}

/// Renders samples with a template and a tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct Renderer<'a> {
    template: &'a ChatTemplate,
    /// Whether the template has a place for reasoning; else it is written into the content as a think block.
    has_reasoning: bool,
}

impl<'a> Renderer<'a> {
    /// A renderer for this template.
    #[must_use]
    pub fn new(template: &'a ChatTemplate) -> Self {
        Self { template, has_reasoning: template.source().contains("reasoning") }
    }

    /// Renders a sample's messages and finds the assistant's turns.
    ///
    /// # Errors
    /// [`TrainError::Render`] with the sample's id if it has no assistant turn, the template fails or drops text, or the
    /// prefix property does not hold.
    pub fn text(&self, sample: &Sample) -> Result<RenderedText> {
        self.try_text(sample).map_err(|reason| TrainError::Render { sample_id: sample.sample_id.clone(), reason })
    }

    fn try_text(&self, sample: &Sample) -> Result<RenderedText, String> {
        let messages = &sample.messages;
        let chat: Vec<ChatMessage> = messages.iter().map(|message| self.message(message)).collect();
        let render = |count: usize, prompt: bool| {
            let options = RenderOptions { add_generation_prompt: prompt, ..RenderOptions::default() };
            self.template.render(&chat[..count], &options).map_err(|error| error.to_string())
        };
        let text = render(chat.len(), false)?;
        let (mut trained, mut factors) = (Vec::new(), Vec::new());
        for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            if index == 0 {
                return Err("the first message is the assistant's, so nothing prompts it".into());
            }
            let start = prefix(&text, &render(index, true)?, index, "the prompt before")?;
            let bare = render(index, false)?.len();
            if start <= bare {
                return Err("the template writes no generation prompt, so the start of an answer cannot be told".into());
            }
            let end = if index + 1 == chat.len() { text.len() } else { prefix(&text, &render(index + 1, false)?, index, "")? };
            let turn = text.get(start..end).unwrap_or_default().trim_end();
            check_kept(turn, message, index)?;
            for span in sample.loss_spans.iter().filter(|span| span.message as usize == index) {
                let bytes = place_of(span, message, turn)?;
                factors.push((start + bytes.start..start + bytes.end, span.weight));
            }
            trained.push(start..start + turn.len());
        }
        if trained.is_empty() {
            let roles: Vec<&str> = sample.messages.iter().map(|message| message.role.as_str()).collect();
            return Err(format!(
                "it has no assistant message with text, so nothing would be trained (its roles: {}); leave the sample out, or name the \
                 role of what is to be learned `assistant`",
                if roles.is_empty() { "none".to_owned() } else { roles.join(", ") }
            ));
        }
        Ok(RenderedText { text, trained, factors })
    }

    /// The prompt of a sample's last assistant turn, as at inference.
    ///
    /// # Errors
    /// [`TrainError::Render`] with the sample's id if there is no such turn or the template fails.
    pub fn prompt(&self, sample: &Sample) -> Result<String> {
        let refuse = |reason: String| TrainError::Render { sample_id: sample.sample_id.clone(), reason };
        let last = sample.messages.iter().rposition(|message| message.role == "assistant").filter(|&at| at > 0);
        let last = last.ok_or_else(|| refuse("it has no assistant message with a prompt".into()))?;
        let chat: Vec<ChatMessage> = sample.messages[..last].iter().map(|message| self.message(message)).collect();
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        self.template.render(&chat, &options).map_err(|error| refuse(error.to_string()))
    }

    fn message(&self, message: &Message) -> ChatMessage {
        let mut chat = ChatMessage { role: message.role.clone(), content: message.content.clone(), reasoning: None };
        match &message.reasoning {
            Some(reasoning) if self.has_reasoning => chat.reasoning = Some(reasoning.clone()),
            Some(reasoning) => chat.content = format!("<think>\n{}\n</think>\n\n{}", reasoning.trim(), message.content),
            None => {}
        }
        chat
    }

    /// Renders and tokenises a sample.
    ///
    /// # Errors
    /// As [`Renderer::text`], and if the text cannot be tokenised or an assistant turn does not end in a special token.
    pub fn document(&self, tokenizer: &Tokenizer, sample: &Sample) -> Result<Document> {
        let rendered = self.text(sample)?;
        let refuse = |reason: String| TrainError::Render { sample_id: sample.sample_id.clone(), reason };
        let (tokens, ends, trained) = tokenise(tokenizer, &rendered).map_err(|error| refuse(error.to_string()))?;
        for end in turn_ends(&trained) {
            if !is_special(tokenizer, tokens[end]) {
                let last = tokenizer.decode(&tokens[end..=end], false).unwrap_or_default();
                return Err(refuse(format!(
                    "an assistant turn ends with {last:?}, which is no special token of the tokenizer, so the student would \
                     never learn to stop; let the chat template end each turn with one, as ChatML does with <|im_end|>"
                )));
            }
        }
        let weight = |(&trained, &end): (&bool, &usize)| if trained { sample.weight * rendered.factor(end) } else { 0.0 };
        let weights = trained.iter().zip(&ends).map(weight).collect();
        Ok(Document { sample_id: sample.sample_id.clone(), tokens, weights, soft: None })
    }

    /// Renders many samples on several threads, in order.
    ///
    /// # Errors
    /// The error of the first sample that fails.
    pub fn documents(&self, tokenizer: &Tokenizer, samples: &[Sample], threads: usize) -> Result<Vec<Document>> {
        let share = samples.len().div_ceil(threads.max(1)).max(1);
        let part = |samples: &[Sample]| samples.iter().map(|sample| self.document(tokenizer, sample)).collect::<Result<Vec<_>>>();
        let parts: Vec<Result<Vec<Document>>> = std::thread::scope(|scope| {
            let workers: Vec<_> = samples.chunks(share).map(|samples| scope.spawn(move || part(samples))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut documents = Vec::with_capacity(samples.len());
        for part in parts {
            documents.extend(part?);
        }
        Ok(documents)
    }
}

/// Index of the last token of every trained stretch.
fn turn_ends(trained: &[bool]) -> impl Iterator<Item = usize> {
    (0..trained.len()).filter(|&at| trained[at] && !trained.get(at + 1).copied().unwrap_or(false))
}

/// Whether a token is one that decoding leaves out when it leaves out special tokens.
pub(crate) fn is_special(tokenizer: &Tokenizer, token: u32) -> bool {
    tokenizer.decode(&[token], true).is_ok_and(|text| text.is_empty())
        && tokenizer.decode(&[token], false).is_ok_and(|text| !text.is_empty())
}

/// Length of `part` if the whole text begins with it.
fn prefix(text: &str, part: &str, index: usize, what: &str) -> Result<usize, String> {
    if text.starts_with(part) {
        return Ok(part.len());
    }
    let same = text.bytes().zip(part.bytes()).take_while(|(a, b)| a == b).count();
    Err(format!(
        "{what}{}message {index} renders differently alone than in the whole conversation, from byte {same} on; the template \
         rewrites earlier turns, so no mask would be exact",
        if what.is_empty() { "" } else { " " }
    ))
}

/// Bytes of the rendered turn that a span of the message covers.
fn place_of(span: &LossSpan, message: &Message, turn: &str) -> Result<Range<usize>, String> {
    let (text, found) = match span.part {
        MessagePart::Content => (message.content.as_str(), turn.rfind(message.content.trim())),
        MessagePart::Reasoning => {
            let text = message.reasoning.as_deref().unwrap_or_default();
            (text, turn.find(text.trim()))
        }
    };
    let at = found.ok_or_else(|| format!("the template does not render the {} that a loss span lies in", span.part.as_str()))?;
    // Templates trim; what was trimmed is not there to count.
    let trimmed = text.len() - text.trim_start().len();
    let inside = |byte: usize| at + byte.saturating_sub(trimmed).min(text.trim().len());
    let bytes = span.bytes(text);
    Ok(inside(bytes.start)..inside(bytes.end))
}

/// Refuses a template that drops what the student is to learn.
fn check_kept(turn: &str, message: &Message, index: usize) -> Result<(), String> {
    if turn.is_empty() {
        return Err(format!("the template renders nothing for the assistant's message {index}"));
    }
    for (what, text) in [("content", Some(&message.content)), ("reasoning", message.reasoning.as_ref())] {
        if text.is_some_and(|text| !turn.contains(text.trim())) {
            return Err(format!("the template drops or rewrites the {what} of the assistant's message {index}"));
        }
    }
    Ok(())
}

/// Tokens of the text, the last byte of each, and whether it is trained.
///
/// A token that straddles the border of a turn would join prompt and answer, which cannot happen at inference; then the
/// text is tokenised piece by piece between the borders.
fn tokenise(tokenizer: &Tokenizer, rendered: &RenderedText) -> Result<(Vec<u32>, Vec<usize>, Vec<bool>), potstill_model::Error> {
    let whole = tokenizer.encode_offsets(&rendered.text)?;
    let mut borders = rendered.trained.iter().flat_map(|range| [range.start, range.end]).peekable();
    let mut straddles = false;
    for &(start, end) in &whole.offsets {
        while borders.peek().is_some_and(|&border| border <= start) {
            borders.next();
        }
        straddles |= borders.peek().is_some_and(|&border| border < end);
    }
    if !straddles {
        let inside = |start: usize, end: usize| rendered.trained.iter().any(|span| span.start <= start && end <= span.end);
        let trained = whole.offsets.iter().map(|&(start, end)| start < end && inside(start, end)).collect();
        return Ok((whole.ids, whole.offsets.iter().map(|(_, end)| end.saturating_sub(1)).collect(), trained));
    }
    let (mut tokens, mut ends, mut trained, mut from) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut piece = |range: Range<usize>, is_trained: bool| -> Result<(), potstill_model::Error> {
        let encoded = tokenizer.encode_offsets(rendered.text.get(range.clone()).unwrap_or_default())?;
        trained.resize(trained.len() + encoded.ids.len(), is_trained);
        ends.extend(encoded.offsets.iter().map(|(_, end)| (range.start + end).saturating_sub(1)));
        tokens.extend(encoded.ids);
        Ok(())
    };
    for span in &rendered.trained {
        piece(from..span.start, false)?;
        piece(span.clone(), true)?;
        from = span.end;
    }
    piece(from..rendered.text.len(), false)?;
    Ok((tokens, ends, trained))
}
