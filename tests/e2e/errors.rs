//! Bad input: each a clear error with its place and a hint, the documented exit code, nothing committed half.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Bench, Ran};

fn source(path: &str, more: &str) -> String {
    format!(
        "version = 1\n[stage.problems]\nkind = \"source\"\npath = \"{path}\"\ncolumns = {{ id = \"id\", prompt = \"question\", gold = \"gold\" }}\nverifier = \"number\"\n{more}\n"
    )
}

/// What the program says, without the parts that differ between machines and runs.
fn said(bench: &Bench, ran: &Ran) -> String {
    let text = format!("exit {}\n{}", ran.code, ran.stderr);
    let folder = bench.path("").display().to_string();
    text.replace(folder.trim_end_matches('/'), "[FOLDER]")
}

fn attempt(bench: &Bench, pipeline: &str) -> Ran {
    bench.write("pipeline.toml", pipeline);
    let ran = bench.run(&["run", "pipeline.toml", "--store", "store", "--quiet"]);
    let artifacts = bench.store().join("artifacts");
    let committed = artifacts.read_dir().map_or(0, |entries| entries.flatten().filter(|e| e.path().join("manifest.json").exists()).count());
    assert_eq!(committed, 0, "nothing may be committed: {}", ran.stderr);
    ran
}

#[test]
fn a_missing_file_names_its_neighbours() {
    let bench = Bench::new();
    bench.write("problems.jsonl", "{\"id\":\"a\",\"question\":\"1+1\",\"gold\":\"2\"}\n");
    let ran = attempt(&bench, &source("problem.jsonl", ""));
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!("missing_file", said(&bench, &ran));
}

#[test]
fn a_wrong_column_lists_the_columns() {
    let bench = Bench::new();
    bench.write("problems.jsonl", "{\"id\":\"a\",\"qestion\":\"1+1\",\"gold\":\"2\"}\n");
    let ran = attempt(&bench, &source("problems.jsonl", ""));
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("question") && ran.stderr.contains("qestion"), "{}", ran.stderr);
}

#[test]
fn rows_that_cannot_be_read_are_named_by_their_place() {
    let good = "{\"id\":\"a\",\"question\":\"1+1\",\"gold\":\"2\"}\n";
    let cases: [(&str, Vec<u8>, &[&str]); 4] = [
        ("empty", Vec::new(), &["no"]),
        ("duplicate_ids", format!("{good}{good}").into_bytes(), &["`a`", "1", "2"]),
        ("invalid_utf8", [good.as_bytes(), b"{\"id\":\"b\",\"question\":\"\xff\",\"gold\":\"2\"}\n"].concat(), &["line 2", "UTF-8"]),
        ("bad_json", format!("{good}{{\"id\": \n").into_bytes(), &["line 2"]),
    ];
    for (name, content, words) in cases {
        let bench = Bench::new();
        bench.write("problems.jsonl", content);
        let ran = attempt(&bench, &source("problems.jsonl", ""));
        assert!(ran.code == 1 || ran.code == 2, "{name}: {}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "{name} does not say {word}: {}", ran.stderr);
        }
        insta::assert_snapshot!(format!("source_{name}"), said(&bench, &ran));
    }
}

#[test]
fn a_row_of_ten_megabytes_goes_through() {
    let bench = Bench::new();
    let long = "x".repeat(10 << 20);
    bench.write("problems.jsonl", format!("{{\"id\":\"a\",\"question\":\"{long}\",\"gold\":\"2\"}}\n"));
    let file = bench.write("pipeline.toml", source("problems.jsonl", ""));
    assert_eq!(bench.run_pipeline(&file, &[]).rows("problems"), 1);
}

#[test]
fn a_truncated_parquet_file_is_called_so() {
    let bench = Bench::new();
    let file = bench
        .write("pipeline.toml", "version = 1\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"countdown\", count = 50 }\n");
    bench.run_pipeline(&file, &[]);
    let parquet = std::fs::read(&bench.files("problems", "rows")[0]).expect("a part");
    let bench = Bench::new();
    bench.write("problems.parquet", &parquet[..parquet.len() / 2]);
    let ran = attempt(&bench, &source("problems.parquet", ""));
    assert!(ran.stderr.contains("problems.parquet"), "{}", ran.stderr);
    insta::assert_snapshot!("truncated_parquet", said(&bench, &ran));
}

#[test]
fn an_endpoint_that_refuses_is_temporary() {
    let bench = Bench::new();
    bench.write("problems.jsonl", "{\"id\":\"a\",\"question\":\"1+1\",\"gold\":\"2\"}\n");
    // Nothing listens on port 1 of the loopback.
    let teacher = "[teacher.t]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\nretries = 0\npatience_seconds = 0.5\n[stage.a]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"t\"\n";
    bench.write("pipeline.toml", source("problems.jsonl", teacher));
    let ran = bench.run(&["run", "pipeline.toml", "--store", "store", "--quiet"]);
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    assert!(ran.stderr.contains("stage `a` failed"), "{}", ran.stderr);
}

#[test]
fn missing_keys_are_told_before_any_work() {
    let bench = Bench::new();
    bench.write("problems.jsonl", "{\"id\":\"a\",\"question\":\"1+1\",\"gold\":\"2\"}\n");
    let teacher = |name: &str| {
        format!(
            "[teacher.{name}]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\napi_key_env = \"POTSTILL_TEST_{}\"\n[stage.from_{name}]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"{name}\"\n",
            name.to_uppercase()
        )
    };
    let ran = attempt(&bench, &source("problems.jsonl", &format!("{}{}", teacher("one"), teacher("two"))));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("POTSTILL_TEST_ONE") && ran.stderr.contains("POTSTILL_TEST_TWO"), "{}", ran.stderr);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    bench.write("store", "a file, not a folder");
    bench.write("pipeline.toml", "version = 1\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"countdown\", count = 5 }\n");
    let ran = bench.run(&["run", "pipeline.toml", "--store", "store", "--quiet"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    insta::assert_snapshot!("unwritable_store", said(&bench, &ran));
}

#[test]
fn a_corrupt_manifest_is_named_and_nothing_is_taken_from_it() {
    let bench = Bench::new();
    let file = bench
        .write("pipeline.toml", "version = 1\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"countdown\", count = 5 }\n");
    bench.run_pipeline(&file, &[]);
    let artifact = std::fs::read_dir(bench.store().join("artifacts")).expect("artifacts").next().expect("one").expect("an entry").path();
    let manifest = artifact.join("manifest.json");
    std::fs::set_permissions(&manifest, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    std::fs::write(&manifest, &text[..text.len() / 2]).expect("writes");
    let ran = bench.run(&["run", "pipeline.toml", "--store", "store", "--quiet"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("manifest.json"), "{}", ran.stderr);
}

#[test]
fn problems_that_were_trained_on_are_no_evaluation() {
    let bench = Bench::new();
    let pipeline = "version = 1\n[teacher.t]\nkind = \"procedural\"\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"countdown\", count = 30 }\n[stage.traces]\nkind = \"generate\"\ninputs = [\"problems\"]\nteacher = \"t\"\n[stage.student]\nkind = \"train\"\ninputs = [\"traces\"]\nfrom_scratch = { layers = 1, hidden_size = 32, heads = 2, kv_heads = 1, intermediate_size = 64, vocab_size = 300, max_positions = 512 }\nmax_steps = 2\n[stage.eval]\nkind = \"eval\"\ninputs = [\"student\", \"problems\"]\n";
    bench.write("pipeline.toml", pipeline);
    let ran = bench.run(&["run", "pipeline.toml", "--store", "store", "--quiet"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("30 of 30 problems were trained on"), "{}", ran.stderr);
}

#[test]
fn all_mistakes_of_a_file_come_in_one_run() {
    let bench = Bench::new();
    let pipeline = "version = 1\n[stage.problems]\nkind = \"source\"\nprocedural = { task = \"countdwn\", count = 5 }\n[stage.graded]\nkind = \"verify\"\ninputs = [\"problms\"]\nverifer = \"math\"\n[stage.kept]\nkind = \"filter\"\ninputs = [\"problems\"]\nwhere = \"verdct = 'correct'\"\n";
    bench.write("pipeline.toml", pipeline);
    let ran = bench.run(&["check", "pipeline.toml"]);
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!("many_mistakes", said(&bench, &ran));
}

#[test]
fn models_that_cannot_be_used_are_refused_with_what_helps() {
    let bench = Bench::new();
    let config = r#"{"model_type": "llama", "vocab_size": 300, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "longrope"}}"#;
    std::fs::create_dir(bench.path("empty")).unwrap();
    std::fs::create_dir(bench.path("foreign")).unwrap();
    bench.write("foreign/config.json", config);
    let cases = [
        ("empty", "config.json", "a model is a folder with config.json"),
        ("foreign", "found longrope", "docs/models.md"),
        ("nowhere", "there is no model at `nowhere`", "ORGANISATION/NAME"),
    ];
    for (model, told, help) in cases {
        let ran = bench.run(&["generate", model, "--prompt", "1+1"]);
        assert_ne!(ran.code, 0);
        let (problem, hint) = ran.stderr.split_once("\n  help: ").unwrap_or_else(|| panic!("{model}: no hint in {}", ran.stderr));
        assert!(problem.contains(told) && hint.contains(help), "{model}: {}", ran.stderr);
    }
}
