//! Training a byte-level BPE.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{Tokenizer, guarded};
use crate::{Error, Result};

/// What a student of conversations needs; ids follow this order from 0. The think tags survive decoding without special
/// tokens, so that reasoning can be told from the answer.
pub const DEFAULT_SPECIAL_TOKENS: [&str; 6] = ["<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"];

/// How runs of digits are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Digits {
    /// Every digit is a token.
    #[default]
    Single,
    /// Groups of up to three digits from the left, as far as they are frequent enough to become tokens.
    Learned,
    /// Groups of up to two digits from the left, each a token: 0–99 are whole.
    UpToTwo,
    /// Groups of up to three digits from the left, each a token: 0–999 are whole. Costs 1,100 tokens.
    UpToThree,
}

impl Digits {
    /// The longest group and whether every group is a token by construction.
    fn grouping(self) -> (usize, bool) {
        match self {
            Self::Single => (1, true),
            Self::Learned => (3, false),
            Self::UpToTwo => (2, true),
            Self::UpToThree => (3, true),
        }
    }
}

/// What to train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerSpec {
    /// Tokens in all, special ones included; fewer when the texts do not yield as many.
    pub vocab_size: usize,
    /// Special tokens; their ids follow this order from 0.
    pub special_tokens: Vec<String>,
    /// How runs of digits are cut.
    pub digits: Digits,
    /// A pair must occur this often to become a token.
    pub min_frequency: u64,
}

impl Default for TokenizerSpec {
    fn default() -> Self {
        Self {
            vocab_size: 4096,
            special_tokens: DEFAULT_SPECIAL_TOKENS.map(String::from).to_vec(),
            digits: Digits::Single,
            min_frequency: 2,
        }
    }
}

type Trainable = TokenizerImpl<BPE, tokenizers::NormalizerWrapper, PreTokenizerWrapper, ByteLevel, ByteLevel>;

impl Tokenizer {
    /// Trains a byte-level BPE: every text can be encoded, and the same texts in any order give the same tokenizer.
    ///
    /// # Errors
    /// When `vocab_size` is too small for the 256 bytes, the special tokens and the groups of digits.
    pub fn train<S: AsRef<str> + Send>(texts: impl Iterator<Item = S> + Send, spec: &TokenizerSpec) -> Result<Self> {
        let (longest, whole) = spec.digits.grouping();
        let groups = if whole { (2..=longest).map(|length| 10usize.pow(length as u32)).sum() } else { 0 };
        let least = 256 + spec.special_tokens.len() + groups;
        if spec.vocab_size < least {
            let parts = format!("256 bytes, {} special tokens and {groups} groups of digits", spec.special_tokens.len());
            return Err(Error::Tokenizer(format!("vocab_size must be at least {least} for {parts}, found {}", spec.vocab_size)));
        }
        let special: Vec<AddedToken> = spec.special_tokens.iter().map(|token| special_token(token)).collect();
        // With whole groups no digit takes part in learned merges: the groups come afterwards.
        let mut tokenizer = untrained(if whole { 1 } else { longest })?;
        guarded("training", || tokenizer.add_special_tokens(special.clone()))?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(spec.vocab_size - groups)
            .min_frequency(spec.min_frequency)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        guarded("training", || tokenizer.train(&mut trainer, texts).map(|_| ()))?;
        let text = guarded("training", || tokenizer.to_string(false))?;
        let mut json: Value = serde_json::from_str(&text).map_err(|error| Error::Tokenizer(error.to_string()))?;
        if whole && longest > 1 {
            add_groups(&mut json, longest);
        }
        Self::from_json(json.to_string().as_bytes())
    }
}

fn special_token(content: &str) -> AddedToken {
    let think = matches!(content, "<think>" | "</think>");
    AddedToken { content: content.to_owned(), special: !think, normalized: false, ..AddedToken::default() }
}

/// Words, numbers, punctuation and white space apart, as Qwen2 and Llama 3 cut them.
pub(crate) fn pattern(digits: usize) -> String {
    let digits = if digits == 1 { r"\p{N}".to_owned() } else { format!(r"\p{{N}}{{1,{digits}}}") };
    format!(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
}

fn untrained(digits: usize) -> Result<Trainable> {
    let split = guarded("training", || Split::new(SplitPattern::Regex(pattern(digits)), SplitDelimiterBehavior::Isolated, false))?;
    let bytes = ByteLevel::new(false, false, false);
    let sequence = Sequence::new(vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)]);
    guarded("training", || {
        TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(sequence)))
            .with_post_processor(Some(bytes))
            .with_decoder(Some(bytes))
            .build()
    })
}

/// Adds a token for every group of two to `longest` digits and cuts numbers into such groups; a group that is a token is
/// taken whole, without merging.
fn add_groups(json: &mut Value, longest: usize) {
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"] = json!({ "Regex": pattern(longest) });
    json["model"]["ignore_merges"] = json!(true);
    let mut next = json["model"]["vocab"].as_object().map_or(0, serde_json::Map::len);
    for length in 2..=longest {
        for number in 0..10usize.pow(length as u32) {
            json["model"]["vocab"][format!("{number:0length$}")] = json!(next);
            next += 1;
        }
    }
}
