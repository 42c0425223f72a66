//! What commands on a model share: which one, where and how it is computed.

use std::path::{Path, PathBuf};

use potstill_model::Storage;
use potstill_model::generate::Decoder;
use potstill_train::device;

use super::fetch::runtime;
use crate::exit::{CONFIG, FAILED, Failure};
use crate::hub::{self, ModelId};

/// Which model, and how it is computed.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// A Hugging Face folder, a GGUF file, or a model of a hub as ORGANISATION/NAME, perhaps with @REVISION
    model: PathBuf,
    /// How weights are kept on the CPU: bf16 and int8 decode faster
    #[arg(long, value_enum, default_value_t = Kept::F32)]
    storage: Kept,
    /// Threads; all cores by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// `cpu` or `cuda:N`
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// [`Storage`] as an argument.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kept {
    F32,
    Bf16,
    Int8,
}

impl ModelArgs {
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |threads| threads as usize)
    }

    /// The folder's or file's name.
    pub(crate) fn name(&self) -> String {
        let path = self.model.canonicalize().unwrap_or_else(|_| self.model.clone());
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    pub(crate) fn load(&self) -> Result<Decoder, Failure> {
        let path = locate(&self.model)?;
        let device = device::parse(&self.device).map_err(Failure::config)?;
        let storage = match self.storage {
            Kept::F32 => Storage::F32,
            Kept::Bf16 => Storage::Bf16,
            Kept::Int8 => Storage::Int8,
        };
        Decoder::load(&path, &device, storage).map_err(model_failure)
    }
}

/// The model's place: as written, or in the cache, where it is fetched to from a hub.
pub(crate) fn locate(written: &Path) -> Result<PathBuf, Failure> {
    if written.exists() {
        return Ok(written.to_owned());
    }
    match written.to_str().and_then(ModelId::parse) {
        Some(model) => Ok(model.fetch(runtime()?.handle(), &hub::open()?)?.folder),
        None => Err(Failure::new(
            CONFIG,
            format!("there is no model at `{}`", written.display()),
            Some("a folder with config.json, a .gguf file, or a hub's ORGANISATION/NAME"),
        )),
    }
}

pub(crate) fn model_failure(error: potstill_model::Error) -> Failure {
    Failure::new(FAILED, &error, error.hint())
}
