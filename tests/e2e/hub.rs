//! The hub through the binary: datasets fetched by a run, models by their id, folders pushed; the token shows nowhere.

use std::process::Command;

use crate::fake::Fake;
use crate::support::{Bench, Ran};

/// A token that must appear nowhere.
const TOKEN: &str = "hf_canary-2c9e41d7-never-to-be-seen";

struct Hubbed {
    bench: Bench,
    fake: Fake,
}

impl Hubbed {
    fn new() -> Self {
        Self { bench: Bench::new(), fake: Fake::start(Some(TOKEN)) }
    }

    fn command(&self, args: &[&str], token: bool) -> Command {
        let mut command = self.bench.potstill(args);
        command.env("HF_ENDPOINT", &self.fake.endpoint).env("HF_HUB_CACHE", self.bench.path("cache")).env_remove("HF_HUB_OFFLINE");
        if token {
            command.env("HF_TOKEN", TOKEN)
        } else {
            command.env_remove("HF_TOKEN")
        };
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.ran(self.command(args, true))
    }

    fn ran(&self, mut command: Command) -> Ran {
        let ran = Ran::of(command.output().expect("the binary runs"));
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "the token is shown: {}{}", ran.stdout, ran.stderr);
        ran
    }
}

const MANIFEST: &str = r#"
version = 1
name = "sums"
about = "Sums."
homepage = "https://example.org"
rows = 80
[licence]
name = "CC0-1.0"
[hub]
repo = "me/sums"
files = ["data/train-*.jsonl"]
[source]
path = "downloads/sums/data/train-*.jsonl"
columns = { id = "id", prompt = "q", gold = "a" }
verifier = "number"
"#;

const PIPELINE: &str = "version = 1\n[stage.problems]\nkind = \"source\"\ndataset = \"sums.toml\"\n";

#[test]
fn a_run_fetches_the_dataset_that_a_manifest_names() {
    let hubbed = Hubbed::new();
    let lines =
        |from: u32| (from..from + 40).map(|n| format!("{{\"id\":\"s{n}\",\"q\":\"{n}+1\",\"a\":\"{}\"}}\n", n + 1)).collect::<String>();
    hubbed.fake.put("datasets/me/sums", "data/train-00000-of-00002.jsonl", lines(0));
    hubbed.fake.put("datasets/me/sums", "data/train-00001-of-00002.jsonl", lines(40));
    hubbed.fake.with(|hub| hub.repos.get_mut("datasets/me/sums").expect("the repo").private = true);
    hubbed.bench.write("sums.toml", MANIFEST);
    hubbed.bench.write("p.toml", PIPELINE);
    // Looking at a pipeline fetches nothing: `check` is content, `plan` counts as the manifest does and says what is missing.
    assert_eq!(hubbed.run(&["check", "p.toml"]).code, 0);
    let plan = hubbed.run(&["plan", "p.toml"]);
    assert!(plan.code == 0 && plan.stderr.contains("not here yet: sums") && plan.stderr.contains("potstill fetch"), "{}", plan.stderr);
    assert!(plan.stdout.contains("80"), "{}", plan.stdout);
    assert_eq!(hubbed.fake.with(|hub| hub.log.len()), 0);
    let run = ["run", "p.toml", "--store", "store", "--json", "out.json"];
    let refused = hubbed.ran(hubbed.command(&run, false));
    assert!(refused.code == 2 && refused.stderr.contains("HF_TOKEN"), "{}", refused.stderr);
    let ran = hubbed.run(&run);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("fetched me/sums at 000000000000"), "{}", ran.stderr);
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(hubbed.bench.path("out.json")).expect("a summary")).expect("JSON");
    assert_eq!(summary["stages"][0]["rows"], 80);
    // The files are there now: neither a plan nor a run asks the hub again, with a network or without.
    let before = hubbed.fake.with(|hub| hub.log.len());
    assert_eq!(hubbed.run(&["plan", "p.toml", "--store", "store"]).code, 0);
    assert_eq!(hubbed.run(&run).code, 0);
    assert_eq!(hubbed.fake.with(|hub| hub.log.len()), before);
}

#[test]
fn without_a_network_the_error_says_what_to_do() {
    let hubbed = Hubbed::new();
    hubbed.bench.write("sums.toml", MANIFEST);
    hubbed.bench.write("p.toml", PIPELINE);
    let mut offline = hubbed.command(&["run", "p.toml", "--store", "store"], false);
    offline.env("HF_HUB_OFFLINE", "1");
    let ran = hubbed.ran(offline);
    assert!(ran.code == 2 && ran.stderr.contains("hf download"), "{} {}", ran.code, ran.stderr);
    let missing = hubbed.run(&["fetch", "sums.toml"]);
    assert!(missing.code == 2 && missing.stderr.contains("has no datasets/me/sums"), "{}", missing.stderr);
    let wrong = hubbed.run(&["fetch", "what is this"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("ORGANISATION/NAME"), "{}", wrong.stderr);
}

#[test]
fn a_model_is_fetched_by_its_id() {
    let hubbed = Hubbed::new();
    for (name, content) in
        [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "weights"), ("pytorch_model.bin", "pickle")]
    {
        hubbed.fake.put("models/me/tiny", name, content);
    }
    let ran = hubbed.run(&["fetch", "me/tiny"]);
    assert!(ran.code == 0 && ran.stdout.contains("3 files"), "{}{}", ran.stdout, ran.stderr);
    let snapshot = hubbed.bench.path("cache/models--me--tiny/snapshots").join(format!("{:040x}", 1));
    assert_eq!(std::fs::read_to_string(snapshot.join("model.safetensors")).expect("the weights"), "weights");
    assert!(!snapshot.join("pytorch_model.bin").exists(), "pickles stay where they are");
    let pinned = hubbed.run(&["fetch", &format!("me/tiny@{:040x}", 1)]);
    assert_eq!(pinned.code, 0, "{}", pinned.stderr);
}

#[test]
fn a_folder_or_a_stages_output_is_pushed_and_the_token_needed() {
    let hubbed = Hubbed::new();
    std::fs::create_dir(hubbed.bench.path("set")).expect("a folder");
    hubbed.bench.write("set/train.jsonl", "{\"a\":1}\n".repeat(500));
    hubbed.bench.write("set/README.md", "---\nlicense: mit\n---\n");
    let push = ["push", "set", "--repo", "me/made", "--private"];
    let refused = hubbed.ran(hubbed.command(&push, false));
    assert!(refused.code == 2 && refused.stderr.contains("HF_TOKEN"), "{}", refused.stderr);
    let ran = hubbed.run(&push);
    assert!(ran.code == 0 && ran.stdout.contains("datasets/me/made: 2 files in commit"), "{}{}", ran.stdout, ran.stderr);
    hubbed.fake.with(|hub| {
        let repo = &hub.repos["datasets/me/made"];
        assert!(repo.private && repo.files["train.jsonl"].len() == 4000);
    });
    assert!(hubbed.run(&push).stdout.contains("nothing to push, all 2 files are there"));
    // A stage's output straight from the store.
    hubbed.bench.write("p.toml", "version = 1\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"arithmetic\", count = 5 }\n");
    assert_eq!(hubbed.run(&["run", "p.toml", "--store", "store"]).code, 0);
    let ran = hubbed.run(&["push", "p.toml:problems", "--repo", "me/problems", "--store", "store"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(hubbed.fake.with(|hub| hub.repos["datasets/me/problems"].files.keys().any(|name| name.ends_with(".parquet"))));
    let ran = hubbed.run(&["push", "set", "--repo", "../../etc"]);
    assert!(ran.code == 2 && ran.stderr.contains("no repository's name"), "{}", ran.stderr);
}
