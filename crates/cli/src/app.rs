//! What stages share: the pipeline's folder, the teachers, the runtime; the only place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use potstill_generate::Generator;
use potstill_pipeline::{Mistake, StageError, Teachers, near};
use tokio::runtime::{Handle, Runtime};

use crate::teachers::Teacher;

/// The application's context, handed to every stage.
pub(crate) struct App {
    base: PathBuf,
    teachers: Teachers<Teacher>,
    runtime: Runtime,
    name: String,
    pipeline: String,
    /// Threads that one computing stage may use.
    pub(crate) threads: usize,
}

impl App {
    /// For a pipeline file named `name` in the folder `base`, with the text `pipeline`.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn new(base: PathBuf, mut teachers: Teachers<Teacher>, name: String, pipeline: String) -> std::io::Result<Self> {
        teachers.values_mut().flatten().for_each(|teacher| teacher.resolve(&base));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { base, teachers, runtime, name, pipeline, threads })
    }

    /// A path of the pipeline file, which is relative to the file's folder.
    pub(crate) fn path(&self, written: &str) -> PathBuf {
        self.base.join(written)
    }

    /// The pipeline file's folder.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// The pipeline's name: its file's, without the ending.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The text of the pipeline file.
    pub(crate) fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Where network requests run.
    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// A teacher's settings.
    ///
    /// # Errors
    /// No teacher of that name.
    pub(crate) fn teacher(&self, name: &str) -> Result<&Teacher, StageError> {
        match self.teachers.get(name) {
            Some(Some(teacher)) => Ok(teacher),
            _ => Err(StageError::config(format!("no teacher is named `{name}`"))),
        }
    }

    /// The teacher ready to answer, with its key.
    ///
    /// # Errors
    /// No such teacher, a missing key, settings that cannot work.
    pub(crate) fn generator(&self, name: &str) -> Result<Arc<dyn Generator>, StageError> {
        self.teacher(name)?.generator(self)
    }

    /// The mistake of naming a teacher that is not there, placed at `key`. A teacher whose own table is wrong is known.
    pub(crate) fn check_teacher(&self, key: &str, name: &str) -> Option<Mistake> {
        if self.teachers.contains_key(name) {
            return None;
        }
        let mistake = Mistake::at(key, format!("no teacher is named `{name}`"));
        let known: Vec<&str> = self.teachers.keys().map(String::as_str).collect();
        Some(match (near(name, known.iter().copied()), known.as_slice()) {
            (Some(near), _) => mistake.hint(format!("did you mean `{near}`?")),
            (None, []) => mistake.hint(format!("add a `[teacher.{name}]` table")),
            (None, known) => mistake.hint(format!("there are: {}", known.join(", "))),
        })
    }

    /// The mistake of naming a file that is not there, placed at `key`.
    pub(crate) fn check_file(&self, key: &str, written: &str) -> Option<Mistake> {
        let path = self.path(written);
        if path.exists() {
            return None;
        }
        let mistake = Mistake::at(key, format!("no file at `{}`", path.display()));
        let folder = path.parent()?.read_dir().ok();
        let Some(folder) = folder else {
            return Some(mistake.hint("paths are relative to the pipeline file's folder"));
        };
        let names: Vec<String> = folder.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(match near(&name, names.iter().map(String::as_str)) {
            Some(near) => mistake.hint(format!("did you mean `{near}`?")),
            None => mistake.hint("paths are relative to the pipeline file's folder"),
        })
    }

    /// The text of a prompt file.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub(crate) fn prompt(&self, written: &str) -> Result<String, StageError> {
        let path = self.path(written);
        std::fs::read_to_string(&path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|e| StageError::config(format!("the prompt file `{}` cannot be read", path.display())).caused_by(e))
    }

    /// A variable of the environment; `None` where it is not set or not text.
    #[expect(clippy::disallowed_methods, reason = "the command line's own seam to the environment")]
    pub(crate) fn variable(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Prompt files by the key that names them, for identities: the text decides the output, the path does not.
pub(crate) fn prompt_texts(app: &App, files: &[(&str, Option<&String>)]) -> Result<BTreeMap<String, String>, StageError> {
    let named = files.iter().filter_map(|(key, file)| Some((*key, (*file)?)));
    named.map(|(key, file)| Ok((key.to_owned(), app.prompt(file)?))).collect()
}
