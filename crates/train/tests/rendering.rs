//! Which tokens are trained, and which samples are refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

mod common;

use common::{sample, samples, student};
use potstill_data::{LossSpan, Message, MessagePart, Sample};
use potstill_model::{ChatTemplate, Specials};
use potstill_train::preview::preview;
use potstill_train::render::Renderer;
use potstill_train::{OverLong, SftConfig, Student};

/// The text with trained stretches in ⟦brackets⟧, token by token where `tokens`.
fn marked(student: &Student, sample: &Sample) -> String {
    let document = Renderer::new(&student.template).document(&student.tokenizer, sample).unwrap();
    let mut text = String::new();
    for (at, token) in document.tokens.iter().enumerate() {
        let trained = |at: usize| document.weights.get(at).is_some_and(|&weight| weight != 0.0);
        if trained(at) && (at == 0 || !trained(at - 1)) {
            text.push('⟦');
        }
        text.push_str(&student.tokenizer.decode(&[*token], false).unwrap());
        if trained(at) && !trained(at + 1) {
            text.push('⟧');
        }
    }
    text
}

fn chat(turns: &[(&str, &str)]) -> Sample {
    Sample { messages: turns.iter().map(|(role, content)| Message::new(role, *content)).collect(), ..sample(1, 1) }
}

fn refusal(template: &str, sample: &Sample) -> String {
    let specials = Specials { eos: Some("<|im_end|>".into()), ..Specials::default() };
    let template = ChatTemplate::new(template, specials).unwrap();
    let tokenizer = student(&samples(4)).tokenizer;
    Renderer::new(&template).document(&tokenizer, sample).unwrap_err().to_string()
}

#[test]
fn exactly_the_assistants_tokens_and_their_ends_are_trained() {
    let student = student(&samples(4));
    insta::assert_snapshot!(marked(&student, &sample(12, 2)), @r"
    <|im_start|>user
    What is 2 + 1?<|im_end|>
    <|im_start|>assistant
    ⟦<think>
    2 + 0 = 2. 3 + 1 = 4.
    </think>

    The answer is 3<|im_end|>⟧
    ");
    let turns = [("system", "Be brief."), ("user", "1 + 1?"), ("assistant", "2"), ("user", "+ 3?"), ("assistant", "\n5 ")];
    insta::assert_snapshot!(marked(&student, &chat(&turns)), @r"
    <|im_start|>system
    Be brief.<|im_end|>
    <|im_start|>user
    1 + 1?<|im_end|>
    <|im_start|>assistant
    ⟦2<|im_end|>⟧
    <|im_start|>user
    + 3?<|im_end|>
    <|im_start|>assistant
    ⟦
    5 <|im_end|>⟧
    ");
}

#[test]
fn the_prompt_is_tokenised_as_at_inference() {
    // "assistant\n" and an answer that begins with a line break would share a token if the text were cut blindly.
    let student = student(&samples(4));
    let renderer = Renderer::new(&student.template);
    for answer in ["\n\n5", " 5", "5", "assistant"] {
        let document = renderer.document(&student.tokenizer, &chat(&[("user", "1 + 1?"), ("assistant", answer)])).unwrap();
        let prompt = student.tokenizer.encode("<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n").unwrap();
        assert_eq!(document.tokens[..prompt.len()], prompt, "{answer:?}");
        assert!(document.weights[..prompt.len()].iter().all(|&weight| weight == 0.0));
        assert!(document.weights[prompt.len()] > 0.0);
    }
}

#[test]
fn a_template_without_a_place_for_reasoning_gets_it_in_the_content() {
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let specials = Specials { eos: Some("<|im_end|>".into()), ..Specials::default() };
    let student = Student { template: ChatTemplate::new(template, specials).unwrap(), ..student(&samples(4)) };
    assert!(marked(&student, &sample(12, 1)).contains("⟦<think>\n2 + 0 = 2.\n</think>\n\nThe answer is 3<|im_end|>⟧"));
}

#[test]
fn what_cannot_be_masked_exactly_is_refused_with_the_sample_id() {
    let two_turns = chat(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    let header = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    // Rewrites earlier answers once there is a later turn, as templates that strip think blocks do.
    let rewriting = format!(
        "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{% if m.role == 'assistant' and not loop.last %}}old{{% else %}}\
         {{{{ m.content }}}}{{% endif %}}<|im_end|>\n{{% endfor %}}{header}"
    );
    let message = refusal(&rewriting, &two_turns);
    assert!(message.starts_with("sample s1 cannot be rendered") && message.contains("rewrites earlier turns"), "{message}");

    let endless = format!("{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}\n{{% endfor %}}{header}");
    assert!(refusal(&endless, &two_turns).contains("never learn to stop"));

    let promptless = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    assert!(refusal(promptless, &two_turns).contains("no generation prompt"));

    let dropping = format!("{{# reasoning #}}{promptless}{header}");
    assert!(refusal(&dropping, &sample(1, 1)).contains("drops or rewrites the reasoning"));

    let student = student(&samples(4));
    let renderer = Renderer::new(&student.template);
    for (sample, reason) in [(chat(&[("user", "a")]), "no assistant message"), (chat(&[("assistant", "a")]), "nothing prompts it")] {
        assert!(renderer.text(&sample).unwrap_err().to_string().contains(reason));
    }
}

#[test]
fn spans_of_a_sample_count_otherwise_in_the_loss() {
    let mut sample = sample(12, 3);
    let student = student(&samples(4));
    let reasoning = sample.messages[1].reasoning.clone().unwrap();
    let second = reasoning.find(". ").unwrap() as u32 + 2;
    let span = |part, start, end, weight| LossSpan { message: 1, part, start, end, weight };
    sample.loss_spans = vec![span(MessagePart::Reasoning, 0, second, 0.0), span(MessagePart::Content, 4, 10, 0.5)];
    sample.weight = 2.0;
    let document = Renderer::new(&student.template).document(&student.tokenizer, &sample).unwrap();
    let text_of = |wanted: f32| {
        let kept = document.tokens.iter().zip(&document.weights).filter(|(_, weight)| **weight == wanted).map(|(id, _)| *id);
        student.tokenizer.decode(&kept.collect::<Vec<_>>(), false).unwrap()
    };
    assert!(text_of(0.0).contains(reasoning[..second as usize].trim()), "{}", text_of(0.0));
    assert_eq!(text_of(1.0).trim(), "answer");
    assert!(text_of(2.0).contains(reasoning[second as usize..].trim()) && text_of(2.0).ends_with("<|im_end|>"));

    sample.loss_spans[0].part = MessagePart::Reasoning;
    sample.messages[1].reasoning = None;
    sample.messages[1].content = "The answer is 3".into();
    // Nothing is left of the reasoning; its span covers nothing.
    let document = Renderer::new(&student.template).document(&student.tokenizer, &sample).unwrap();
    assert!(document.weights.iter().filter(|weight| **weight == 2.0).count() > 2);
}

#[test]
fn rendering_on_threads_keeps_the_order_and_names_the_first_failure() {
    let mut many = samples(37);
    let student = student(&many);
    let renderer = Renderer::new(&student.template);
    let one = renderer.documents(&student.tokenizer, &many, 1).unwrap();
    assert_eq!(renderer.documents(&student.tokenizer, &many, 5).unwrap(), one);
    many[20].messages.truncate(1);
    many[33].messages.truncate(1);
    let error = renderer.documents(&student.tokenizer, &many, 4).unwrap_err().to_string();
    assert!(error.contains(&many[20].sample_id), "{error}");
}

#[test]
fn the_preview_counts_what_a_run_would_see() {
    let samples = samples(40);
    let student = student(&samples);
    let config = SftConfig { max_length: 60, over_long: OverLong::Truncate, batch_size: 8, ..SftConfig::default() };
    let preview = preview(&config, &student.outline(), &samples, 2).unwrap();
    assert_eq!((preview.samples.len(), preview.lengths.samples), (2, 40));
    assert_eq!(preview.samples[0].pieces.iter().map(|piece| piece.trained).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(preview.histogram.iter().map(|bin| bin.samples).sum::<usize>(), 40);
    assert!(preview.lengths.truncated > 0 && preview.stop_trained < 1.0);
    assert!(preview.trained_tokens > 0 && preview.trained_tokens < preview.tokens);
    assert!(preview.packing_fill > 0.5 && preview.memory.total() > 0);
}
