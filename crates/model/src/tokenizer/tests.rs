use super::*;

fn corpus() -> Vec<String> {
    let sentence = |i: usize| {
        format!(
            "<|im_start|>user\nUse {} and {} to make {}.<|im_end|>\n<|im_start|>assistant\n<think>\nLet me try {} × {}: no, go back.\n</think>",
            i,
            i * 7 % 100,
            i * 13 % 1000,
            i % 10,
            i % 13
        )
    };
    (0..600).map(sentence).collect()
}

fn spec(digits: Digits, vocab_size: usize) -> TokenizerSpec {
    TokenizerSpec { vocab_size, digits, ..TokenizerSpec::default() }
}

#[test]
fn training_is_deterministic_whatever_the_order_and_the_hash_seeds() {
    let texts = corpus();
    let first = Tokenizer::train(texts.iter(), &spec(Digits::Learned, 600)).unwrap().to_json().unwrap();
    for round in 0..12 {
        let mut shuffled = texts.clone();
        shuffled.rotate_left(round * 37);
        let again = Tokenizer::train(shuffled.iter(), &spec(Digits::Learned, 600)).unwrap().to_json().unwrap();
        assert_eq!(first, again, "round {round}");
    }
}

#[test]
fn any_text_survives_a_round_trip_with_exact_offsets() {
    let tokenizer = Tokenizer::train(corpus().iter(), &spec(Digits::Single, 400)).unwrap();
    let text = "naïve 漢字 🙂 \t 12345 <think>\nwait</think><|im_end|>\n  end ";
    let encoded = tokenizer.encode_offsets(text).unwrap();
    assert_eq!(tokenizer.decode(&encoded.ids, false).unwrap(), text);
    assert_eq!(tokenizer.encode(text).unwrap(), encoded.ids);
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    let at = encoded.ids.iter().position(|&id| id == end).unwrap();
    let (start, stop) = encoded.offsets[at];
    assert_eq!(&text[start..stop], "<|im_end|>");
    assert_eq!(encoded.offsets.last().unwrap().1, text.len());
}

#[test]
fn special_tokens_come_first_and_only_think_tags_survive_skipping() {
    let tokenizer = Tokenizer::train(corpus().iter(), &spec(Digits::Single, 300)).unwrap();
    for (id, token) in DEFAULT_SPECIAL_TOKENS.iter().enumerate() {
        assert_eq!(tokenizer.token_id(token), Some(id as u32));
    }
    let ids = tokenizer.encode("<|bos|><think>a</think><|im_end|>").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "<think>a</think>");
    assert!(tokenizer.encode_ordinary("<|im_end|>").unwrap().len() > 1);
    assert!(tokenizer.vocab_size() <= 300);
}

#[test]
fn digits_are_cut_as_asked() {
    let pieces = |tokenizer: &Tokenizer, text: &str| -> Vec<String> {
        tokenizer.encode(text).unwrap().iter().map(|&id| tokenizer.decode(&[id], false).unwrap()).collect()
    };
    let single = Tokenizer::train(corpus().iter(), &spec(Digits::Single, 400)).unwrap();
    assert_eq!(pieces(&single, "4071"), ["4", "0", "7", "1"]);
    let two = Tokenizer::train(corpus().iter(), &spec(Digits::UpToTwo, 500)).unwrap();
    assert_eq!(pieces(&two, "4071 5"), ["40", "71", " ", "5"]);
    let three = Tokenizer::train(corpus().iter(), &spec(Digits::UpToThree, 1500)).unwrap();
    assert_eq!(pieces(&three, "40715 007"), ["407", "15", " ", "007"]);
    assert_eq!(three.vocab_size(), three.encode("999").unwrap()[0] as usize + 1);
}

#[test]
fn a_vocabulary_that_is_too_small_is_refused_with_the_numbers() {
    let error = Tokenizer::train(corpus().iter(), &spec(Digits::UpToThree, 1000)).unwrap_err().to_string();
    assert_eq!(error, "tokenizer: vocab_size must be at least 1362 for 256 bytes, 6 special tokens and 1100 groups of digits, found 1000");
}

#[test]
fn crafted_files_are_errors() {
    let good: serde_json::Value =
        serde_json::from_str(&Tokenizer::train(corpus().iter(), &spec(Digits::Single, 300)).unwrap().to_json().unwrap()).unwrap();
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit); 9] = [
        ("merge", |file| file["model"]["merges"] = serde_json::json!([["a", "zzzzzzzzzzzzzzzzzzzzzzz"]])),
        ("merge", |file| file["model"]["merges"] = serde_json::json!(["ab"])),
        ("id", |file| file["model"]["vocab"]["a"] = serde_json::json!(4_000_000_000u32)),
        ("id", |file| file["model"]["vocab"]["a"] = serde_json::json!(-3)),
        ("added token", |file| file["added_tokens"][0]["id"] = serde_json::json!(u32::MAX)),
        (
            "special token",
            |file| file["post_processor"] = serde_json::json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": [], "special_tokens": {}}),
        ),
        ("length 0", |file| file["pre_tokenizer"] = serde_json::json!({"type": "FixedLength", "length": 0})),
        ("tokenizer", |file| file["normalizer"] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("tokenizer", |file| file["decoder"] = serde_json::json!({"type": "Strip", "content": "e", "start": 9, "stop": 900_000})),
    ];
    for (expected, edit) in edits {
        let mut file = good.clone();
        edit(&mut file);
        match Tokenizer::from_json(file.to_string().as_bytes()) {
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
            // Harmless when loading; must stay so when used.
            Ok(tokenizer) => assert!(tokenizer.decode(&[7, 8, 9], false).is_ok() || expected == "tokenizer"),
        }
    }
    for text in ["", "{}", "[]", "{\"model\":{}}", "{\"model\":{\"vocab\":{\"a\":1}}}", "\u{0}"] {
        assert!(Tokenizer::from_json(text.as_bytes()).is_err(), "{text:?}");
    }
}
