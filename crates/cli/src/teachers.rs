//! `[teacher.NAME]` tables: settings that a generator is built from, and where its key is found.

use std::path::Path;
use std::sync::Arc;

use potstill_generate::local::LocalConfig;
use potstill_generate::openai::OpenAiConfig;
use potstill_generate::procedural::ProceduralConfig;
use potstill_generate::{GENERATORS, Generator, GeneratorKind, Price, SecretKey};
use potstill_pipeline::{DefKind, StageError, Table};
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
        parse: |table| teacher::<ProceduralConfig>("procedural", table, Key::none),
        schema: ProceduralConfig::json_schema,
    },
    DefKind {
        name: "openai",
        about: "any OpenAI-compatible endpoint: a hosted service, vLLM, SGLang, llama.cpp",
        parse: |table| {
            teacher::<OpenAiConfig>("openai", table, |c| Key {
                variable: c.api_key_env.clone(),
                file: c.api_key_file.as_ref().map(|f| f.display().to_string()),
            })
        },
        schema: OpenAiConfig::json_schema,
    },
    DefKind {
        name: "local",
        about: "a model folder or GGUF file, run in this process",
        parse: |table| teacher::<LocalConfig>("local", table, Key::none),
        schema: LocalConfig::json_schema,
    },
];

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

fn teacher<P: DeserializeOwned + JsonSchema + Serialize>(kind: &'static str, table: &mut Table<'_>, key: fn(&P) -> Key) -> Option<Teacher> {
    let params: P = table.params()?;
    let settings = serde_json::to_value(&params).ok()?;
    Some(Teacher { kind, settings, key: key(&params) })
}

impl Teacher {
    /// Makes the path of a local model relative to the pipeline file's folder.
    pub(crate) fn resolve(&mut self, base: &Path) {
        if self.kind == "local"
            && let Some(model) = self.settings["model"].as_str()
        {
            self.settings["model"] = json!(base.join(model));
        }
    }

    fn entry(&self) -> Result<&'static GeneratorKind, StageError> {
        GENERATORS.iter().find(|g| g.name == self.kind).ok_or_else(|| StageError::config(format!("no generator of kind `{}`", self.kind)))
    }

    fn build(&self, key: Option<SecretKey>) -> Result<Arc<dyn Generator>, StageError> {
        (self.entry()?.build)(self.settings.clone(), key).map_err(crate::stages::generate_error)
    }

    /// What decides its answers, for fingerprints: needs no key.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub(crate) fn identity(&self) -> Result<Value, StageError> {
        Ok(self.build(None)?.identity())
    }

    /// What its tokens cost, where the file says so.
    pub(crate) fn price(&self) -> Option<Price> {
        serde_json::from_value(self.settings.get("price")?.clone()).ok()
    }

    /// Ready to answer.
    ///
    /// # Errors
    /// A missing key, or settings that cannot work.
    pub(crate) fn generator(&self, app: &App) -> Result<Arc<dyn Generator>, StageError> {
        self.build(self.secret(app)?)
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
