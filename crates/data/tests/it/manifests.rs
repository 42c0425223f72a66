//! Dataset manifests: the shipped ones are sound, and mistakes are reported together with their lines.

use std::path::{Path, PathBuf};

use potstill_data::{Manifest, Source, SourceKind, SourceSpec};

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    files
}

#[test]
fn shipped_manifests_are_sound_and_say_how_to_get_their_files() {
    let files = shipped();
    assert!(files.len() >= 11, "{files:?}");
    for file in files {
        let manifest = Manifest::load(&file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(manifest.name.as_str()), file.file_stem().unwrap().to_str());
        // Fetched files would make it an error of another kind, or none.
        if manifest.require_files().is_ok() {
            continue;
        }
        let spec = SourceSpec { dataset: Some(file.clone()), ..SourceSpec::default() };
        let Err(error) = Source::open(&spec, Path::new("")) else { panic!("{} is not there", file.display()) };
        let hint = error.hint().unwrap();
        assert!(hint.contains("hf download") && hint.contains("--local-dir"), "{hint}");
        assert!(!hint.contains("FOLDER"), "{hint}");
    }
}

#[test]
fn traces_and_problems_are_told_apart() {
    let kinds = |name: &str| {
        let file = shipped().into_iter().find(|file| file.file_stem().unwrap() == name).unwrap();
        Manifest::load(&file).unwrap().kind()
    };
    assert_eq!(kinds("gsm8k_train"), SourceKind::Problems);
    assert_eq!(kinds("openthoughts_114k"), SourceKind::Attempts);
}

const SOUND: &str = r#"
version = 1
name = "mine"
about = "Mine."
homepage = "https://example.org"
obtain = "ask me"

[licence]
name = "MIT"

[source]
path = "mine.jsonl"
columns = { prompt = "q", gold = "a", tests = { numbers = "n" } }
"#;

fn mistakes(text: &str) -> Vec<String> {
    match Manifest::parse(text, Path::new("")) {
        Ok(_) => panic!("accepted: {text}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn all_mistakes_are_reported_with_their_lines() {
    Manifest::parse(SOUND, Path::new("")).unwrap();
    let wrong = SOUND
        .replace("name = \"mine\"", "nam = \"mine\"")
        .replace("gold = \"a\"", "glod = \"a\", meta = \"level\"")
        .replace("name = \"MIT\"", "name = 3");
    let found = mistakes(&wrong);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found[0], "line 3: unknown field `nam`; did you mean `name`?");
    assert!(found[1].starts_with("line 9: invalid type: integer"), "{found:?}");
    assert!(found[2].starts_with("line 13: ") && found[3].starts_with("line 13: "), "{found:?}");
    assert!(found.iter().any(|mistake| mistake.contains("`glod`; did you mean `gold`?")), "{found:?}");
}

#[test]
fn what_is_missing_or_contradicts_is_reported_too() {
    let found = mistakes("version = 2\nname = \"x\"\n");
    for what in ["version is 2", "`about` is missing", "`licence.name` is missing", "`source.path` is missing"] {
        assert!(found.iter().any(|mistake| mistake.contains(what)), "{what}: {found:?}");
    }
    let found = mistakes(&SOUND.replace("[source]", "[source]\ngold_pattern = \"(\""));
    assert!(found[0].contains("gold_pattern `(`"), "{found:?}");
    assert!(mistakes("version = = 1\nname = \"x").len() > 1);
}

#[test]
fn a_pipeline_may_override_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("datasets")).unwrap();
    std::fs::write(folder.path().join("datasets/mine.toml"), SOUND).unwrap();
    std::fs::write(folder.path().join("datasets/mine.jsonl"), "{\"q\": \"x\", \"a\": 1, \"n\": [1]}\n".repeat(3)).unwrap();
    let spec = SourceSpec {
        dataset: Some("datasets/mine.toml".into()),
        duplicates: Some(potstill_data::source::Duplicates::Suffix),
        limit: Some(2),
        ..SourceSpec::default()
    };
    let rows: Vec<_> = Source::open(&spec, folder.path()).unwrap().map(|row| row.unwrap().problem).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&*rows[0].source, rows[0].tests.as_deref()), ("mine", Some(r#"{"numbers":[1]}"#)));
}
