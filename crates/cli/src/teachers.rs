//! `[teacher.NAME]` tables: settings that a generator is built from, and where its key is found.

use std::path::Path;
use std::sync::Arc;

use potstill_generate::local::LocalConfig;
use potstill_generate::openai::OpenAiConfig;
use potstill_generate::procedural::ProceduralConfig;
use potstill_generate::{GENERATORS, GenerateError, Generator, GeneratorKind, Price, SecretKey, TokenCounter, Tools, tokens};
use potstill_model::Tokenizer;
use potstill_pipeline::{DefKind, Mistake, StageError, Table};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::app::App;

/// The kinds of teachers, one for each generator.
pub(crate) static TEACHER_KINDS: &[DefKind<Teacher>] = &[
    DefKind {
        name: "procedural",
        about: "solves Countdown and arithmetic by writing its search out as text; no language model, network or key",
        parse: |table| teacher::<ProceduralConfig>("procedural", table, Key::none, |_| Ok(())),
        schema: ProceduralConfig::json_schema,
    },
    DefKind {
        name: "openai",
        about: "any OpenAI-compatible endpoint: a hosted service, vLLM, SGLang, llama.cpp",
        parse: |table| {
            let key =
                |c: &OpenAiConfig| Key { variable: c.api_key_env.clone(), file: c.api_key_file.as_ref().map(|f| f.display().to_string()) };
            teacher::<OpenAiConfig>("openai", table, key, OpenAiConfig::check)
        },
        schema: OpenAiConfig::json_schema,
    },
    DefKind {
        name: "local",
        about: "a model folder or GGUF file, run in this process",
        parse: |table| teacher::<LocalConfig>("local", table, Key::none, |_| Ok(())),
        schema: LocalConfig::json_schema,
    },
];

/// Where a store keeps the notes of batches under way.
const BATCHES: &str = "shared/batches";

/// Where a teacher's key is found; the key itself never stands in a pipeline file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key {
    variable: Option<String>,
    file: Option<String>,
}

impl Key {
    fn none<P>(_: &P) -> Self {
        Self::default()
    }
}

/// One teacher of the file.
#[derive(Debug, Clone)]
pub(crate) struct Teacher {
    kind: &'static str,
    settings: Value,
    key: Key,
}

fn teacher<P: DeserializeOwned + JsonSchema + Serialize>(
    kind: &'static str,
    table: &mut Table<'_>,
    key: fn(&P) -> Key,
    check: fn(&P) -> Result<(), GenerateError>,
) -> Option<Teacher> {
    let params: P = table.params()?;
    if let Err(error) = check(&params) {
        table.mistake(match error {
            GenerateError::Config { field, message } => Mistake::at(field, message),
            other => Mistake::at("", other.to_string()),
        });
    }
    let settings = serde_json::to_value(&params).ok()?;
    Some(Teacher { kind, settings, key: key(&params) })
}

impl Teacher {
    fn entry(&self) -> Result<&'static GeneratorKind, StageError> {
        GENERATORS.iter().find(|g| g.name == self.kind).ok_or_else(|| StageError::config(format!("no generator of kind `{}`", self.kind)))
    }

    fn build(&self, app: &App, tools: Tools, store: Option<&Path>) -> Result<Arc<dyn Generator>, StageError> {
        let mut settings = self.settings.clone();
        if self.kind == "local"
            && let Some(model) = self.settings["model"].as_str()
        {
            settings["model"] = json!(app.model_folder(model)?);
        }
        // A batch outlives the run that handed it in: its note lies where the next run looks.
        if let (Some(Value::Object(batch)), Some(store)) = (settings.get_mut("batch"), store) {
            batch.entry("dir").or_insert_with(|| store.join(BATCHES).display().to_string().into());
        }
        (self.entry()?.build)(settings, tools).map_err(crate::stages::generate_error)
    }

    /// What decides its answers, for fingerprints: needs no key.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub(crate) fn identity(&self, app: &App) -> Result<Value, StageError> {
        Ok(self.build(app, Tools::default(), None)?.identity())
    }

    /// What its tokens cost, where the file says so; by its batch API, if it is asked through that.
    pub(crate) fn price(&self) -> Option<Price> {
        let price: Price = serde_json::from_value(self.settings.get("price")?.clone()).ok()?;
        Some(if self.settings.get("batch").is_some() { price.batch() } else { price })
    }

    /// The most that may be spent on it in a run, in USD.
    pub(crate) fn max_cost_usd(&self) -> Option<f64> {
        self.settings.get("max_cost_usd")?.as_f64()
    }

    /// Ready to answer.
    ///
    /// # Errors
    /// A missing key, or settings that cannot work.
    pub(crate) fn generator(&self, app: &App) -> Result<Arc<dyn Generator>, StageError> {
        let counter = self.tokenizer(app)?.map(|tokenizer| -> TokenCounter { Arc::new(move |text: &str| count(&tokenizer, text)) });
        self.build(app, Tools { key: self.secret(app)?, counter }, app.store())
    }

    /// The model's tokenizer, where the file names it.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn tokenizer(&self, app: &App) -> Result<Option<Tokenizer>, StageError> {
        let Some(written) = self.settings.get("tokenizer").and_then(Value::as_str) else { return Ok(None) };
        let path = app.path(written);
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path };
        let wrong =
            |e: potstill_model::Error| StageError::config(format!("the tokenizer `{}` cannot be used", file.display())).caused_by(e);
        Tokenizer::load(&file).map(Some).map_err(wrong)
    }

    /// The settings and the key of the endpoint behind it, for the doctor; `None` for a teacher without one.
    ///
    /// # Errors
    /// A missing key.
    pub(crate) fn endpoint(&self, app: &App) -> Result<Option<(OpenAiConfig, Option<SecretKey>)>, StageError> {
        let Ok(config) = serde_json::from_value::<OpenAiConfig>(self.settings.clone()) else { return Ok(None) };
        Ok(Some((config, self.secret(app)?)))
    }

    /// The key, from the environment or a file that only its owner may read.
    fn secret(&self, app: &App) -> Result<Option<SecretKey>, StageError> {
        let wrong = |place: String| move |why: &'static str| StageError::config(format!("the key in {place} cannot be used: {why}"));
        if let Some(name) = &self.key.variable {
            let Some(text) = App::variable(name) else {
                return Err(StageError::config(format!("the environment variable `{name}` is not set"))
                    .hint(format!("export {name}=… before the run; the key never stands in a file of the project")));
            };
            return SecretKey::new(&text).map(Some).map_err(wrong(format!("the variable `{name}`")));
        }
        let Some(file) = &self.key.file else { return Ok(None) };
        let path = app.path(file);
        let place = format!("the file `{}`", path.display());
        let unreadable = |e: std::io::Error| StageError::config(format!("{place} with the key cannot be read")).caused_by(e);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).map_err(unreadable)?.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(
                StageError::config(format!("{place} has mode {mode:o}; a key file may be read by its owner only")).hint("chmod 600")
            );
        }
        SecretKey::new(&std::fs::read_to_string(&path).map_err(unreadable)?).map(Some).map_err(wrong(place.clone()))
    }
}

/// A text's tokens; a text that the tokenizer cannot take is guessed at.
pub(crate) fn count(tokenizer: &Tokenizer, text: &str) -> u32 {
    let exact = tokenizer.encode_ordinary(text).ok().and_then(|ids| u32::try_from(ids.len()).ok());
    exact.unwrap_or_else(|| tokens::about(text))
}
