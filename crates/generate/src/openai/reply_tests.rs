use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(body: &Value) -> Choice {
    read(body.to_string().as_bytes()).unwrap().choices.remove(0)
}

fn fault(body: &[u8]) -> FaultKind {
    read(body).unwrap_err().kind
}

#[test]
fn reasoning_is_found_wherever_servers_put_it() {
    let messages = [
        json!({"content": "42", "reasoning_content": "2 * 21"}),
        json!({"content": "42", "reasoning": "2 * 21", "reasoning_content": null}),
        json!({"content": "42", "reasoning_content": "", "reasoning_details": [{"type": "reasoning.text", "text": "2 * 21"}]}),
        json!({"content": "<think>2 * 21</think>42"}),
        json!({"content": "2 * 21</think>\n\n42"}),
        json!({"content": [{"type": "thinking", "thinking": "2 * 21"}, {"type": "text", "text": "42"}]}),
        json!({"content": "<|begin_of_thought|>2 * 21<|end_of_thought|><|begin_of_solution|>42<|end_of_solution|>"}),
    ];
    for message in messages {
        let choice = one(&json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}));
        assert_eq!((choice.reasoning.as_deref(), choice.response.as_str()), (Some("2 * 21"), "42"), "{message}");
    }
}

#[test]
fn an_anthropic_reply_is_read_as_well() {
    let body = json!({"type": "message", "role": "assistant", "stop_reason": "max_tokens",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}],
        "usage": {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5}});
    let reply = read(body.to_string().as_bytes()).unwrap();
    assert_eq!(reply.choices[0].finish_reason, "length");
    assert_eq!(reply.choices[0].reasoning.as_deref(), Some("hm"));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.cached_prompt_tokens, reply.usage.completion_tokens), (Some(15), Some(5), Some(20)));
}

#[test]
fn a_200_can_still_be_a_failure() {
    assert_eq!(fault(b""), FaultKind::EmptyBody);
    assert_eq!(fault(b"\n\n \n"), FaultKind::EmptyBody);
    assert_eq!(fault(b"{\"choices\": [{\"mess"), FaultKind::InvalidJson);
    assert_eq!(fault(b"<html>bad gateway</html>"), FaultKind::InvalidJson);
    assert_eq!(fault(b"{\"choices\": [{\"message\": {\"content\": \"\xff\"}}]}"), FaultKind::InvalidUtf8);
    assert_eq!(fault(b"{}"), FaultKind::NoChoices);
    assert_eq!(fault(b"{\"choices\": []}"), FaultKind::NoChoices);
    assert_eq!(fault(b"{\"error\": {\"message\": \"overloaded\"}}"), FaultKind::ErrorInReply);
    assert_eq!(fault(b"{\"error\": {\"message\": \"slow down\", \"code\": 429}}"), FaultKind::Status(429));
    assert_eq!(fault(b"{\"error\": {\"message\": \"no key\", \"code\": \"401\"}}"), FaultKind::Status(401));
}

#[test]
fn blank_lines_that_keep_the_connection_alive_mean_nothing() {
    let choice = read(b"\n\n\r\n\n{\"choices\":[{\"message\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}\n\n").unwrap();
    assert_eq!(choice.choices[0].response, "42");
}

#[test]
fn several_choices_come_in_their_order_and_share_the_bill() {
    let body = json!({"choices": [
        {"index": 1, "message": {"content": "second, and longer"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "first"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 101}})
    .to_string();
    let parts = split_choices(body.as_bytes()).unwrap();
    let replies: Vec<Reply> = parts.iter().map(|part| read(part).unwrap()).collect();
    assert_eq!(replies[0].choices[0].response, "first");
    assert_eq!(replies[1].choices[0].response, "second, and longer");
    assert_eq!(replies.iter().map(|reply| reply.usage.completion_tokens.unwrap()).sum::<u32>(), 101);
    assert_eq!(replies.iter().map(|reply| reply.usage.prompt_tokens.unwrap()).sum::<u32>(), 10);
    assert!(replies.iter().all(|reply| reply.usage.estimated));
}

#[test]
fn the_teachers_log_probabilities_are_kept() {
    let choice = one(&json!({"choices": [{"message": {"content": "4"}, "finish_reason": "stop", "logprobs": {"content": [
        {"token": "4", "logprob": -0.1, "top_logprobs": [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": -2.5}]}]}}]}));
    let logprobs = choice.logprobs.unwrap();
    assert_eq!(logprobs[0].top, [("4".to_owned(), -0.1), ("5".to_owned(), -2.5)]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("choices"),
        Just("message"),
        Just("content"),
        Just("usage"),
        Just("error"),
        Just("code"),
        Just("reasoning"),
        Just("index"),
        Just("type"),
        Just("text"),
        Just("logprobs"),
        Just("finish_reason"),
        Just("stop_reason"),
        Just("completion_tokens"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z<>/|¹ ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reader_panic(value in any_json()) {
        let body = value.to_string();
        let _ = read(body.as_bytes());
        let _ = split_choices(body.as_bytes());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&body);
    }

    #[test]
    fn a_cut_reply_is_never_taken_for_a_whole_one(at in 0usize..150) {
        let body = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "the answer is \\boxed{42}"},
            "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}).to_string();
        prop_assume!(at < body.len());
        prop_assert!(read(&body.as_bytes()[..at]).is_err());
    }
}
