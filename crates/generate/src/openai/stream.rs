//! Server-sent events, put together into the reply that a plain request would have had.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fault::{Fault, FaultKind};

/// Collects the events of one streamed reply, whatever the pieces they arrive in.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last line, not yet ended.
    line: Vec<u8>,
    /// `data:` lines of the event that is being read.
    data: Vec<u8>,
    choices: Vec<Partial>,
    usage: Option<Value>,
    error: Option<Value>,
    done: bool,
    /// Bytes that were no events: a server that does not stream answers with a plain body.
    plain: Vec<u8>,
}

#[derive(Debug, Default)]
struct Partial {
    content: String,
    reasoning: String,
    finish_reason: Option<String>,
    logprobs: Vec<Value>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<ChunkChoice>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
}

/// More choices than anybody asks for: an index beyond it is damage, not a wish for memory.
const MAX_CHOICES: u32 = 4096;

impl Assembler {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(line.trim_ascii_end())?;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return if data.is_empty() { Ok(()) } else { self.event(&data) };
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.trim_ascii_start());
        } else if ![&b":"[..], b"event:", b"id:", b"retry:"].iter().any(|field| line.starts_with(field)) {
            self.plain.extend_from_slice(line);
            self.plain.push(b'\n');
        }
        Ok(())
    }

    fn event(&mut self, data: &[u8]) -> Result<(), Fault> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let text = std::str::from_utf8(data).map_err(|error| Fault::new(FaultKind::InvalidUtf8, error.to_string()))?;
        let chunk: Chunk = serde_json::from_str(text).map_err(|error| Fault::new(FaultKind::InvalidJson, format!("event: {error}")))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            self.error = Some(error);
        }
        if let Some(usage) = chunk.usage.filter(|usage| !usage.is_null()) {
            self.usage = Some(usage);
        }
        for choice in chunk.choices.unwrap_or_default() {
            self.take_choice(choice)?;
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: ChunkChoice) -> Result<(), Fault> {
        if choice.index >= MAX_CHOICES {
            return Err(Fault::new(FaultKind::InvalidJson, format!("event: choice {} of at most {MAX_CHOICES}", choice.index)));
        }
        let index = choice.index as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Partial::default);
        }
        let partial = &mut self.choices[index];
        let delta = choice.delta.unwrap_or_default();
        partial.content.push_str(delta.content.as_deref().unwrap_or_default());
        partial.reasoning.push_str(delta.reasoning_content.or(delta.reasoning).as_deref().unwrap_or_default());
        partial.finish_reason = choice.finish_reason.or(partial.finish_reason.take());
        if let Some(Value::Array(entries)) = choice.logprobs.and_then(|mut logprobs| logprobs.get_mut("content").map(Value::take)) {
            partial.logprobs.extend(entries);
        }
        Ok(())
    }

    /// Whether the stream said that it is complete.
    pub(super) fn done(&self) -> bool {
        self.done
    }

    /// The body of the plain reply. A stream that ended without saying how is a cut one.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Fault> {
        let line = std::mem::take(&mut self.line);
        self.take_line(line.trim_ascii_end())?;
        self.take_line(b"")?;
        if let Some(error) = self.error {
            return Err(Fault::in_reply(&error));
        }
        if self.choices.is_empty() {
            return Ok(self.plain);
        }
        if !self.done && self.choices.iter().any(|choice| choice.finish_reason.is_none()) {
            return Err(Fault::new(FaultKind::Cut, "the stream ended in the middle of a reply"));
        }
        let choices: Vec<Value> = self.choices.into_iter().enumerate().map(|(index, choice)| choice.into_json(index)).collect();
        let mut reply = json!({ "object": "chat.completion", "choices": choices });
        if let (Some(usage), Some(fields)) = (self.usage, reply.as_object_mut()) {
            fields.insert("usage".into(), usage);
        }
        Ok(reply.to_string().into_bytes())
    }
}

impl Partial {
    fn into_json(self, index: usize) -> Value {
        let mut message = Map::from_iter([("role".to_owned(), json!("assistant")), ("content".to_owned(), self.content.into())]);
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), self.reasoning.into());
        }
        let mut choice = json!({ "index": index, "message": message, "finish_reason": self.finish_reason });
        if let (false, Some(fields)) = (self.logprobs.is_empty(), choice.as_object_mut()) {
            fields.insert("logprobs".into(), json!({ "content": self.logprobs }));
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openai::reply;

    const STREAM: &str = concat!(
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"2 * 21 ¹\"}}]}\r\n\r\n",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"4\"},\"logprobs\":{\"content\":[{\"token\":\"4\",\"logprob\":-0.5}]}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"2\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":7}}\n\n",
        "data: [DONE]\n\n",
    );

    fn assemble(pieces: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let mut assembler = Assembler::default();
        for piece in pieces {
            assembler.push(piece)?;
        }
        assembler.finish()
    }

    #[test]
    fn a_stream_becomes_the_reply_it_stands_for() {
        let reply = reply::read(&assemble(&[STREAM.as_bytes()]).unwrap()).unwrap();
        let choice = &reply.choices[0];
        assert_eq!((choice.reasoning.as_deref(), choice.response.as_str()), (Some("2 * 21 ¹"), "42"));
        assert_eq!(choice.finish_reason, "stop");
        assert_eq!(reply.usage.completion_tokens, Some(7));
        assert_eq!(choice.logprobs.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn a_server_that_does_not_stream_and_one_that_fails_are_understood() {
        let plain = b"\n{\"choices\":[{\"message\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}";
        assert_eq!(reply::read(&assemble(&[plain]).unwrap()).unwrap().choices[0].response, "42");
        let error = assemble(&[b"data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n"]).unwrap_err();
        assert_eq!(error.kind, FaultKind::Status(503));
        let cut = &STREAM.as_bytes()[..STREAM.find("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"2").unwrap()];
        assert_eq!(assemble(&[cut]).unwrap_err().kind, FaultKind::Cut);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(mut cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut at = 0;
            for cut in cuts {
                pieces.push(&STREAM.as_bytes()[at..cut]);
                at = cut;
            }
            pieces.push(&STREAM.as_bytes()[at..]);
            prop_assert_eq!(assemble(&pieces), assemble(&[STREAM.as_bytes()]));
        }

        #[test]
        fn no_bytes_make_it_panic(lines in prop::collection::vec(prop_oneof![
            Just("data: {\"choices\":[{\"index\":4294967295}]}".to_owned()), Just("data: [DONE]".to_owned()), Just(String::new()),
            Just("data: {}".to_owned()), "data: [{}\\[\\]a-z\":]{0,20}", "[ -~¹]{0,20}",
        ], 0..20)) {
            let _ = assemble(&[lines.join("\n").as_bytes()]);
        }
    }
}
