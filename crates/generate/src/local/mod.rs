//! Local weights as a teacher: a model folder or a GGUF file, run in this process.
//!
//! The model is loaded with the first request. Requests are decoded together as they come, and on the CPU a reply does not
//! depend on what else is in flight: same seed, same weights, same text.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use potstill_model::generate::{Batching, Decoder, Decoding, Engine, Finish, Generated, Request, ThinkingBudget, Update};
use potstill_model::{ChatMessage, RenderOptions, Storage, device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::unbounded_channel;

use crate::error::GenerateError;
use crate::request::{ChatRequest, Completion, Generator, GeneratorKind, TokenLogprob, Tools, Usage};
use crate::think;

/// Settings of `kind = "local"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// A Hugging Face folder or a GGUF file; a relative path is relative to the pipeline file.
    pub model: PathBuf,
    /// How weights are kept on the CPU: bf16 and int8 decode faster.
    #[serde(default)]
    pub storage: Storage,
    /// `cpu` or `cuda:N`. A GPU keeps weights in bf16.
    #[serde(default = "defaults::device", skip_serializing_if = "is_cpu")]
    pub device: String,
    /// Sequences decoded together.
    #[serde(default = "defaults::batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Threads; all cores when 0.
    #[serde(default)]
    pub threads: usize,
    /// Samples of a problem that are asked for together and share their prompt. With `stop_when` a problem gets at least so
    /// many.
    #[serde(default = "defaults::choices_per_request")]
    #[schemars(range(min = 1))]
    pub choices_per_request: u32,
    /// Sample from this many most probable tokens. 0 is off.
    #[serde(default)]
    pub top_k: usize,
    /// Drop tokens less probable than this fraction of the most probable one. 0 is off.
    #[serde(default)]
    pub min_p: f32,
    /// Logits of tokens that already occurred are divided (positive) or multiplied (negative) by this. 1 is off.
    #[serde(default = "defaults::repetition_penalty")]
    pub repetition_penalty: f32,
    /// Bounds on the thinking before the answer.
    #[serde(default)]
    pub thinking: Option<ThinkingBudget>,
    /// `YYYY-MM-DD`, for chat templates that print a date; they refuse without one, because the day would change the rows.
    #[serde(default)]
    pub date: Option<String>,
    /// Further variables of the chat template, such as `enable_thinking`.
    #[serde(default)]
    pub chat_template_kwargs: serde_json::Map<String, serde_json::Value>,
}

fn is_cpu(device: &String) -> bool {
    device == "cpu"
}

mod defaults {
    pub(super) fn device() -> String {
        "cpu".into()
    }
    pub(super) fn batch_size() -> usize {
        16
    }
    pub(super) fn choices_per_request() -> u32 {
        1
    }
    pub(super) fn repetition_penalty() -> f32 {
        1.0
    }
}

/// The teacher of `kind = "local"`.
pub struct Local {
    config: LocalConfig,
    name: String,
    /// Over the content of the model's files.
    hash: String,
    engine: OnceCell<Arc<Engine>>,
}

fn wrong(field: &str, message: impl std::fmt::Display) -> GenerateError {
    GenerateError::Config { field: field.to_owned(), message: message.to_string() }
}

impl Local {
    /// Checks the settings and hashes the model's files; the weights are loaded with the first request.
    ///
    /// # Errors
    /// A setting out of its range, or a model that cannot be read.
    pub fn new(config: LocalConfig) -> Result<Self, GenerateError> {
        if config.batch_size == 0 || config.choices_per_request == 0 {
            return Err(wrong("batch_size", "batch_size and choices_per_request must be at least 1, found 0"));
        }
        device::parse(&config.device).map_err(|error| wrong("device", error))?;
        decoding(&config, None).validate().map_err(|error| wrong("local", error))?;
        let unreadable = |error: std::io::Error| wrong("model", format!("`{}` cannot be read: {error}", config.model.display()));
        let hash = content_hash(&config.model).map_err(unreadable)?;
        let path = config.model.canonicalize().map_err(unreadable)?;
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = stem.map_or_else(|| "local".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { config, name, hash, engine: OnceCell::new() })
    }

    async fn engine(&self) -> Result<Arc<Engine>, GenerateError> {
        let config = self.config.clone();
        let load = || async move {
            let start = move || {
                let decoder = Decoder::load(&config.model, &device::parse(&config.device)?, config.storage)?;
                let threads =
                    if config.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { config.threads };
                Engine::start(decoder, Batching { size: config.batch_size, threads })
            };
            let started = tokio::task::spawn_blocking(start).await.map_err(|error| wrong("model", error))?;
            started.map(Arc::new).map_err(|error| wrong("model", error))
        };
        self.engine.get_or_try_init(load).await.map(Arc::clone)
    }

    /// The prompt's tokens, and whether it ends inside of thinking.
    fn prompt(&self, decoder: &Decoder, request: &ChatRequest) -> Result<(Vec<u32>, bool), GenerateError> {
        let turn = |message: &potstill_data::Message| ChatMessage {
            role: message.role.clone(),
            content: message.content.clone(),
            reasoning: message.reasoning.clone(),
        };
        let messages: Vec<ChatMessage> = request.messages.iter().map(turn).collect();
        let extra = self.config.chat_template_kwargs.clone().into_iter().collect();
        let options = RenderOptions { add_generation_prompt: true, date: self.config.date.clone(), extra };
        let refused = |error: potstill_model::Error| match error.hint() {
            Some(hint) => GenerateError::Other(format!("{error} ({hint})")),
            None => GenerateError::Other(error.to_string()),
        };
        let text = decoder.template().and_then(|template| template.render(&messages, &options)).map_err(refused)?;
        let ids = decoder.tokenizer.encode(&text).map_err(refused)?;
        Ok((ids, text.trim_end().ends_with("<think>")))
    }

    async fn ask(&self, first: &ChatRequest, seeds: Vec<u64>) -> Result<Vec<Completion>, GenerateError> {
        let started = Instant::now();
        let engine = self.engine().await?;
        let decoder = engine.decoder();
        let (ids, thinking) = self.prompt(decoder, first)?;
        let mut decoding = decoding(&self.config, Some(first));
        decoding.special_tokens = decoder.marks_thinking_specially();
        let (prompt_tokens, mut left) = (ids.len(), seeds.len());
        let mut samples: Vec<Option<Generated>> = vec![None; left];
        let (sender, mut updates) = unbounded_channel();
        let submitted = engine.submit(Request { ids, seeds, decoding, stream: false }, move |update| sender.send(update).is_ok());
        submitted.map_err(|error| GenerateError::Other(error.to_string()))?;
        while left > 0 {
            match updates.recv().await {
                Some(Update::Ended { sample, generated }) => {
                    samples[sample] = Some(generated);
                    left -= 1;
                }
                Some(Update::Grew { .. }) => {}
                Some(Update::Failed(problem)) => return Err(GenerateError::Other(problem)),
                None => return Err(GenerateError::Other("the engine has stopped".into())),
            }
        }
        let completion = |sample| completion(decoder, sample, prompt_tokens, thinking, started.elapsed());
        Ok(samples.into_iter().flatten().map(completion).collect())
    }
}

fn decoding(config: &LocalConfig, request: Option<&ChatRequest>) -> Decoding {
    let own = Decoding {
        top_k: config.top_k,
        min_p: config.min_p,
        repetition_penalty: config.repetition_penalty,
        thinking: config.thinking.clone(),
        ..Decoding::default()
    };
    let Some(request) = request else { return own };
    let sampling = &request.sampling;
    Decoding {
        max_new_tokens: sampling.max_tokens as usize,
        temperature: sampling.temperature.map_or(1.0, |temperature| temperature as f32),
        top_p: sampling.top_p.map_or(1.0, |top_p| top_p as f32),
        stop_strings: sampling.stop.clone(),
        logprobs: sampling.top_logprobs.map(usize::from),
        ..own
    }
}

fn completion(decoder: &Decoder, sample: Generated, prompt_tokens: usize, thinking: bool, latency: Duration) -> Completion {
    let text = if thinking { format!("<think>{}", sample.text) } else { sample.text };
    let (reasoning, response) = think::split(&text);
    let count = |tokens: usize| u32::try_from(tokens).ok();
    let word = |id: u32| decoder.tokenizer.decode(&[id], false).unwrap_or_default();
    let logprobs: Vec<TokenLogprob> = sample
        .logprobs
        .iter()
        .map(|place| TokenLogprob {
            token: word(place.id),
            logprob: place.logprob.into(),
            top: place.top.iter().map(|&(id, logprob)| (word(id), logprob.into())).collect(),
        })
        .collect();
    let reasoning_tokens = reasoning.as_deref().and_then(|text| count(decoder.tokenizer.encode(text).ok()?.len()));
    Completion {
        usage: Usage {
            prompt_tokens: count(prompt_tokens),
            completion_tokens: count(sample.ids.len()),
            reasoning_tokens,
            ..Usage::default()
        },
        reasoning,
        response,
        finish_reason: if sample.finish == Finish::Length { "length" } else { "stop" }.to_owned(),
        latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
        tries: 1,
        logprobs: (!logprobs.is_empty()).then_some(logprobs),
        ..Completion::default()
    }
}

/// A seed of its own for each sample, so that neither order nor other problems change it.
fn seed(request: &ChatRequest) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&request.sampling.seed.unwrap_or(0).to_le_bytes());
    hasher.update(&request.sample_index.to_le_bytes());
    hasher.update(request.problem.problem_id.as_bytes());
    u64::from_le_bytes(<[u8; 8]>::try_from(&hasher.finalize().as_bytes()[..8]).unwrap_or_default())
}

#[async_trait]
impl Generator for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> serde_json::Value {
        let mut settings = serde_json::json!(self.config);
        if let Some(fields) = settings.as_object_mut() {
            ["model", "batch_size", "threads", "choices_per_request"].iter().for_each(|key| drop(fields.remove(*key)));
            // Which GPU it was makes no difference.
            fields.entry("device").and_modify(|device| *device = "cuda".into());
        }
        serde_json::json!({ "kind": "local", "model": self.hash, "settings": settings })
    }

    async fn complete(&self, request: &ChatRequest) -> Result<Completion, GenerateError> {
        let mut completions = self.ask(request, vec![seed(request)]).await?;
        Ok(completions.swap_remove(0))
    }

    async fn complete_group(&self, requests: &[ChatRequest]) -> Vec<Result<Completion, GenerateError>> {
        let Some(first) = requests.first() else { return Vec::new() };
        match self.ask(first, requests.iter().map(seed).collect()).await {
            Ok(completions) => completions.into_iter().map(Ok).collect(),
            Err(error) => {
                let message = error.to_string();
                let others = requests.iter().skip(1).map(|_| Err(GenerateError::Other(message.clone())));
                let others: Vec<_> = others.collect();
                std::iter::once(Err(error)).chain(others).collect()
            }
        }
    }

    fn group_size(&self) -> u32 {
        self.config.choices_per_request
    }

    /// Twice what is decoded together, so that a sequence that ends is followed at once.
    fn max_concurrency(&self) -> usize {
        2 * self.config.batch_size
    }
}

/// A file's place, length and time of change, and then its hash.
type Known = std::collections::BTreeMap<(PathBuf, u64, SystemTime), String>;

/// One hash over the model's files by name and content. A file that has not changed is read once per process.
fn content_hash(path: &Path) -> std::io::Result<String> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        files = path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|file| file.is_file());
        files.sort();
    }
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        let metadata = file.metadata()?;
        let place = (file.canonicalize()?, metadata.len(), metadata.modified()?);
        let known = KNOWN.get_or_init(Mutex::default);
        let found = known.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        let hash = match found {
            Some(hash) => hash,
            None => {
                let mut one = blake3::Hasher::new();
                one.update_reader(std::fs::File::open(file)?)?;
                let hash = one.finalize().to_hex().to_string();
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(place, hash.clone());
                hash
            }
        };
        if path.is_dir() {
            hasher.update(file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default());
        }
        hasher.update(hash.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The entry of [`crate::GENERATORS`].
pub(crate) const KIND: GeneratorKind = GeneratorKind {
    name: "local",
    about: "a model folder or GGUF file, run in this process",
    schema: || schemars::schema_for!(LocalConfig),
    build,
};

fn build(settings: serde_json::Value, _tools: Tools) -> Result<Arc<dyn Generator>, GenerateError> {
    let config: LocalConfig = serde_json::from_value(settings).map_err(|error| wrong("local", error))?;
    Ok(Arc::new(Local::new(config)?))
}
