//! What stages share: the pipeline's folder, the teachers, the runtime; the only place that reads the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use potstill_data::source::Source as Table;
use potstill_data::{Manifest, SourceSpec};
use potstill_generate::journal::Journal;
use potstill_generate::{GenerateError, Generator};
use potstill_pipeline::{Mistake, StageError, Teachers, near};
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

use crate::hub::{self, ModelId};
use crate::stages::rows::content_hash;
use crate::stages::{data_error, generate_error};
use crate::teachers::Teacher;

/// The application's context, handed to every stage.
pub(crate) struct App {
    base: PathBuf,
    teachers: Teachers<Teacher>,
    runtime: Runtime,
    name: String,
    pipeline: String,
    /// The folder of the artifact store, where there is one.
    store: Option<PathBuf>,
    /// Teachers ready to answer, so that all stages share one's limits and money.
    generators: Mutex<BTreeMap<String, Arc<dyn Generator>>>,
    /// Journals that a stage has open, so that stages that run at once share one index.
    journals: Mutex<BTreeMap<PathBuf, Weak<Journal>>>,
    /// Datasets that a look at the pipeline met and that are not here yet.
    unfetched: Mutex<BTreeSet<String>>,
    /// Threads that one computing stage may use.
    pub(crate) threads: usize,
    /// Whether missing datasets and models are fetched: a run does, looking at a pipeline does not.
    pub(crate) fetches: bool,
}

impl App {
    /// For a pipeline file named `name` in the folder `base`, with the text `pipeline`.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn new(base: PathBuf, teachers: Teachers<Teacher>, name: String, pipeline: String) -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self {
            base,
            teachers,
            runtime,
            name,
            pipeline,
            store: None,
            generators: Mutex::default(),
            journals: Mutex::default(),
            unfetched: Mutex::default(),
            threads,
            fetches: false,
        })
    }

    /// With the artifact store in this folder.
    #[must_use]
    pub(crate) fn with_store(self, folder: PathBuf) -> Self {
        Self { store: Some(folder), ..self }
    }

    /// The folder of the artifact store, where there is one.
    pub(crate) fn store(&self) -> Option<&Path> {
        self.store.as_deref()
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
            _ => Err(StageError::config(format!("no teacher is named `{name}`")).hint(self.known_teachers(name))),
        }
    }

    /// The teacher ready to answer, with its key: the same one for everybody who asks for that name.
    ///
    /// # Errors
    /// No such teacher, a missing key, settings that cannot work.
    pub(crate) fn generator(&self, name: &str) -> Result<Arc<dyn Generator>, StageError> {
        let mut generators = self.generators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generator) = generators.get(name) {
            return Ok(Arc::clone(generator));
        }
        let generator = self.teacher(name)?.generator(self)?;
        generators.insert(name.to_owned(), Arc::clone(&generator));
        Ok(generator)
    }

    /// The journal of paid replies in a folder, shared by all who have it open.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn journal(&self, folder: &Path) -> Result<Arc<Journal>, StageError> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = journals.get(folder).and_then(Weak::upgrade) {
            return Ok(journal);
        }
        let journal = Arc::new(Journal::open(folder).map_err(|e| generate_error(GenerateError::from(e)))?);
        journals.insert(folder.to_owned(), Arc::downgrade(&journal));
        Ok(journal)
    }

    /// The mistake of naming a teacher that is not there, placed at `key`. A teacher whose own table is wrong is known.
    pub(crate) fn check_teacher(&self, key: &str, name: &str) -> Option<Mistake> {
        if self.teachers.contains_key(name) {
            return None;
        }
        Some(Mistake::at(key, format!("no teacher is named `{name}`")).hint(self.known_teachers(name)))
    }

    /// What may have been meant by a teacher's name that is not there.
    fn known_teachers(&self, name: &str) -> String {
        let known: Vec<&str> = self.teachers.keys().map(String::as_str).collect();
        match (near(name, known.iter().copied()), known.as_slice()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("add a `[teacher.{name}]` table"),
            (None, known) => format!("there are: {}", known.join(", ")),
        }
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

    /// The mistake of naming a model that is neither a folder nor one of a hub, placed at `key`.
    pub(crate) fn check_model(&self, key: &str, written: &str) -> Option<Mistake> {
        if ModelId::parse(written).is_some() {
            return None;
        }
        let mistake = self.check_file(key, written)?;
        Some(mistake.hint("name a folder, or a model of a hub as `organisation/name`"))
    }

    /// The folder of a model: a path, or `organisation/name` of a hub, which a run fetches and everybody else takes from the cache.
    ///
    /// # Errors
    /// There is no such folder, or the hub does not give it.
    pub(crate) fn model_folder(&self, written: &str) -> Result<PathBuf, StageError> {
        let path = self.path(written);
        match ModelId::parse(written) {
            Some(model) if !path.exists() => {
                let hub = if self.fetches { hub::open()? } else { hub::open()?.offline() };
                Ok(model.fetch(self.runtime(), &hub)?.folder)
            }
            _ => Ok(path),
        }
    }

    /// Whether the files of a dataset are missing here and a hub has them.
    pub(crate) fn fetchable(&self, spec: &SourceSpec) -> bool {
        let manifest = spec.dataset.as_ref().and_then(|file| Manifest::load(&self.base.join(file)).ok());
        spec.path.is_none() && manifest.is_some_and(|manifest| hub::is_missing(&manifest))
    }

    /// What decides the rows of a dataset: its settings and the content of its files, which a run fetches if they are not
    /// here. Nobody else fetches them: then what a stage makes of them counts as unknown, see [`App::unfetched`].
    ///
    /// # Errors
    /// The files cannot be fetched or read.
    pub(crate) fn dataset_identity(&self, spec: &SourceSpec) -> Result<Value, StageError> {
        if let Some(manifest) = self.unfetched_manifest(spec)? {
            if !self.fetches {
                let settings = json!({ "settings": spec, "unfetched": manifest.name });
                self.unfetched.lock().unwrap_or_else(PoisonError::into_inner).insert(manifest.name);
                return Ok(settings);
            }
            hub::dataset(self.runtime(), &hub::open()?, &manifest)?;
        }
        let resolved = spec.resolve(&self.base).map_err(data_error)?;
        let table = Table::open(spec, &self.base).map_err(data_error)?;
        let hashes = table.files().iter().map(|file| content_hash(file)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = table.files().iter().filter_map(|f| Some(f.file_stem()?.to_string_lossy().into_owned())).collect();
        // Without a name, rows carry the file's; otherwise only the content counts, not where it lies.
        let names = resolved.name.is_none().then_some(names);
        Ok(json!({ "settings": SourceSpec { path: None, ..resolved }, "files": hashes, "names": names }))
    }

    /// Sees to it that the files of a dataset are there.
    ///
    /// # Errors
    /// They are not and cannot be fetched.
    pub(crate) fn ensure_dataset(&self, spec: &SourceSpec) -> Result<(), StageError> {
        match self.unfetched_manifest(spec)? {
            Some(manifest) => hub::dataset(self.runtime(), &hub::open()?, &manifest).map(drop),
            None => Ok(()),
        }
    }

    /// The rows of a dataset that is not here yet, as its manifest tells.
    pub(crate) fn published_rows(&self, spec: &SourceSpec) -> Option<u64> {
        let rows = self.unfetched_manifest(spec).ok()??.rows?;
        Some(rows.saturating_sub(spec.skip.unwrap_or(0)).min(spec.limit.unwrap_or(rows)))
    }

    /// The datasets that were looked at and are not here yet, by name.
    pub(crate) fn unfetched(&self) -> Vec<String> {
        self.unfetched.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn unfetched_manifest(&self, spec: &SourceSpec) -> Result<Option<Manifest>, StageError> {
        let Some(written) = spec.dataset.as_ref().filter(|_| spec.path.is_none()) else { return Ok(None) };
        let manifest = Manifest::load(&self.base.join(written)).map_err(data_error)?;
        Ok(hub::is_missing(&manifest).then_some(manifest))
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

/// Whether the kernel may back memory by huge pages. Training and decoding are faster with them; everything else only
/// gets larger by a third.
pub(crate) fn huge_pages(allowed: bool) {
    // A kernel that does not know the switch does as it likes.
    let _ = nix::sys::prctl::set_thp_disable(!allowed);
}

/// Prompt files by the key that names them, for identities: the text decides the output, the path does not.
pub(crate) fn prompt_texts(app: &App, files: &[(&str, Option<&String>)]) -> Result<BTreeMap<String, String>, StageError> {
    let named = files.iter().filter_map(|(key, file)| Some((*key, (*file)?)));
    named.map(|(key, file)| Ok((key.to_owned(), app.prompt(file)?))).collect()
}
