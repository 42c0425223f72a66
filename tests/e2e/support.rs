//! Running the binary and looking at what it left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

/// The folder with real data beside the checkout; `None`, with a note, where there is none.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = root().join("../shared/data");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no ../shared/data beside the checkout");
    None
}

/// A place of its own for one test: pipeline files, inputs, a store.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The binary in this folder, without the caller's teacher keys.
    pub(crate) fn potstill(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_potstill"));
        command.args(args).current_dir(self.folder.path()).env_remove("TEACHER_API_KEY").env("NO_COLOR", "1");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.potstill(args).output().expect("the binary runs"))
    }

    /// `potstill run FILE --store … --json …` with overrides; must succeed.
    pub(crate) fn run_pipeline(&self, file: &Path, sets: &[&str]) -> Summary {
        let (store, json) = (self.store(), self.path("summary.json"));
        let mut command = self.potstill(&["run"]);
        command.arg(file).arg("--store").arg(&store).arg("--json").arg(&json);
        sets.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        let ran = Ran::of(command.output().expect("the binary runs"));
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        Summary(serde_json::from_str(&std::fs::read_to_string(&json).expect("a summary")).expect("JSON"))
    }

    /// The committed files of every artifact: (stage, path in the output) → blake3, from the manifests.
    pub(crate) fn committed(&self) -> BTreeMap<(String, String), String> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(self.store().join("artifacts")).expect("artifacts") {
            let text = std::fs::read_to_string(entry.expect("an entry").path().join("manifest.json")).expect("a manifest");
            let manifest: Value = serde_json::from_str(&text).expect("JSON");
            let manifest = &manifest["manifest"];
            let stage = manifest["stage"].as_str().expect("a stage").to_owned();
            for output in manifest["outputs"].as_array().expect("outputs") {
                for file in output["files"].as_array().expect("files") {
                    let (path, hash) = (file["path"].as_str().expect("a path"), file["blake3"].as_str().expect("a hash"));
                    files.insert((stage.clone(), path.to_owned()), hash.to_owned());
                }
            }
        }
        files
    }

    /// The files of one stage's output.
    pub(crate) fn files(&self, stage: &str, output: &str) -> Vec<PathBuf> {
        for entry in std::fs::read_dir(self.store().join("artifacts")).expect("artifacts") {
            let text = std::fs::read_to_string(entry.expect("an entry").path().join("manifest.json")).expect("a manifest");
            let manifest: Value = serde_json::from_str(&text).expect("JSON");
            let manifest = &manifest["manifest"];
            if manifest["stage"] != stage {
                continue;
            }
            let attempt = self.store().join("attempts").join(manifest["attempt"].as_str().expect("an attempt"));
            let outputs = manifest["outputs"].as_array().expect("outputs");
            let found = outputs.iter().find(|o| o["name"] == output).expect("the output");
            return found["files"].as_array().expect("files").iter().map(|f| attempt.join(f["path"].as_str().expect("a path"))).collect();
        }
        panic!("no artifact of the stage {stage}");
    }
}

/// What a command left on its streams.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 output");
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The JSON summary of a run.
pub(crate) struct Summary(pub(crate) Value);

impl Summary {
    pub(crate) fn stage(&self, name: &str) -> &Value {
        let stages = self.0["stages"].as_array().expect("stages");
        stages.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no stage {name} in the summary"))
    }

    pub(crate) fn rows(&self, name: &str) -> u64 {
        self.stage(name)["rows"].as_u64().expect("rows")
    }

    pub(crate) fn cached(&self) -> usize {
        self.0["stages"].as_array().expect("stages").iter().filter(|s| s["cached"] == true).count()
    }
}
