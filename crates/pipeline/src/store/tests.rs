//! Races, kills between any two steps of a commit, and everything that can be wrong with what is on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;

use serde_json::json;

use super::commit::Step;
use super::{Attempt, Commit, FORMAT, Manifest, OutputInfo, Store, StoreError, Tokens};
use crate::fingerprint::Fingerprint;
use crate::kind::Port;

fn fingerprint() -> Fingerprint {
    Fingerprint::of(&json!("a stage"))
}

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        tool: "potstill 0.1.0".into(),
        fingerprint: fingerprint(),
        stage: "s".into(),
        kind: "k".into(),
        revision: 1,
        seed: 0,
        parameters: json!({ "x": 0.1 }),
        inputs: Vec::new(),
        lineage: Vec::new(),
        attempt: String::new(),
        outputs: Vec::new(),
        stats: json!(null),
        dropped: BTreeMap::new(),
        tokens: Tokens::default(),
        cost_usd: None,
        evals: Vec::new(),
        seconds: 0.5,
    }
}

fn named() -> Vec<(String, Port)> {
    vec![("rows".into(), Port::Problems), ("model".into(), Port::Model)]
}

fn infos() -> BTreeMap<String, OutputInfo> {
    let info = |rows, entry: Option<&str>| OutputInfo { rows, entry: entry.map(str::to_owned) };
    BTreeMap::from([("rows".into(), info(Some(2), None)), ("model".into(), info(None, Some(".")))])
}

fn write(store: &Store) -> Attempt {
    let attempt = store.begin().unwrap();
    fs::write(attempt.file("rows", "part-0").unwrap(), "some rows").unwrap();
    fs::write(attempt.file("model", "weights/w.bin").unwrap(), "weights").unwrap();
    attempt
}

fn commit(store: &Store, at: &mut dyn FnMut(Step)) -> Commit {
    store.commit_with(write(store), manifest(), &named(), &infos(), false, at).unwrap()
}

fn open(folder: &Path) -> Store {
    Store::open(folder).unwrap()
}

fn attempts(store: &Store) -> usize {
    fs::read_dir(store.root().join("attempts")).unwrap().count()
}

#[test]
fn a_commit_is_found_with_all_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(store.find(&fingerprint()).unwrap().is_none());
    store.scratch(&fingerprint()).unwrap();
    let mut steps = Vec::new();
    assert!(matches!(commit(&store, &mut |step| steps.push(step)), Commit::Won(_)));
    assert_eq!(steps, [Step::Written, Step::Flushed, Step::Prepared, Step::Linked, Step::Committed]);
    let artifact = store.find(&fingerprint()).unwrap().unwrap();
    artifact.verify().unwrap();
    assert_eq!(artifact.manifest.rows(), Some(2));
    assert_eq!(fs::read_to_string(&artifact.files(Some("rows"))[0]).unwrap(), "some rows");
    assert!(artifact.entry(Some("model")).unwrap().join("weights/w.bin").is_file());
    assert!(artifact.files(Some("nothing")).is_empty());
    assert_eq!(fs::read_dir(folder.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn of_sixteen_racers_one_wins_and_all_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let barrier = Barrier::new(16);
    let results: Vec<Commit> = std::thread::scope(|scope| {
        let race = || {
            let attempt = write(&store);
            barrier.wait();
            store.commit(attempt, manifest(), &named(), &infos(), false).unwrap()
        };
        let racers: Vec<_> = (0..16).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let won = results.iter().filter(|result| matches!(result, Commit::Won(_))).count();
    assert_eq!(won, 1);
    let ids = results.iter().map(|result| match result {
        Commit::Won(artifact) | Commit::Lost(artifact) => artifact.manifest.attempt.clone(),
    });
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert_eq!(attempts(&store), 1, "the losers' folders are gone");
}

/// A commit in a process of its own, in the store that is its working folder. The file `abort` there names the step to die at.
#[test]
#[ignore = "the other tests start it in processes of their own"]
fn child() {
    let Ok(abort) = fs::read_to_string("abort") else {
        return;
    };
    let store = open(Path::new("store"));
    let result = commit(&store, &mut |step| {
        if format!("{step:?}") == abort {
            std::process::abort();
        }
    });
    fs::write(format!("won-{}", std::process::id()), matches!(result, Commit::Won(_)).to_string()).unwrap();
}

fn spawn(folder: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::tests::child", "--ignored"]).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn of_racing_processes_one_wins() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("abort"), "never").unwrap();
        let racers: Vec<_> = (0..2).map(|_| spawn(folder.path())).collect();
        for mut racer in racers {
            assert!(racer.wait().unwrap().success());
        }
        let results = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let results: Vec<PathBuf> = results.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("won-")).collect();
        let won = results.iter().filter(|path| fs::read_to_string(path).unwrap() == "true").count();
        assert_eq!((results.len(), won), (2, 1));
        let store = open(&folder.path().join("store"));
        store.find(&fingerprint()).unwrap().unwrap().verify().unwrap();
        assert_eq!(attempts(&store), 1);
    }
}

#[test]
fn a_kill_between_any_two_steps_leaves_all_or_nothing() {
    for step in [Step::Written, Step::Flushed, Step::Prepared, Step::Linked, Step::Committed] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("abort"), format!("{step:?}")).unwrap();
        assert!(!spawn(folder.path()).wait().unwrap().success(), "it dies at {step:?}");
        let root = folder.path().join("store");
        assert_eq!(fs::read_dir(root.join("attempts")).unwrap().count(), 1, "the dead left its attempt");

        let store = open(&root);
        let committed = matches!(step, Step::Linked | Step::Committed);
        let found = store.find(&fingerprint()).unwrap();
        assert_eq!(found.is_some(), committed, "at {step:?}");
        assert_eq!(attempts(&store), usize::from(committed), "garbage is gone after {step:?}");
        match commit(&store, &mut |_| ()) {
            Commit::Won(artifact) => assert!(!committed && artifact.verify().is_ok()),
            Commit::Lost(artifact) => assert!(committed && artifact.verify().is_ok()),
        }
    }
}

#[test]
fn garbage_of_the_living_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let attempt = write(&first);
    let second = open(folder.path());
    assert_eq!(attempts(&second), 1);
    drop(second);
    assert!(matches!(first.commit(attempt, manifest(), &named(), &infos(), false).unwrap(), Commit::Won(_)));
}

#[test]
fn a_manifest_that_cannot_be_read_protects_all_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, &mut |_| ());
    fs::write(store.manifest_path(&fingerprint()), "").unwrap();
    drop(store);
    assert_eq!(attempts(&open(folder.path())), 1);
}

#[test]
fn a_replaced_artifact_is_the_new_one_and_the_old_data_is_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, &mut |_| ());
    let old = store.find(&fingerprint()).unwrap().unwrap();
    let Commit::Won(new) = store.commit(write(&store), manifest(), &named(), &infos(), true).unwrap() else { panic!("it replaces") };
    assert_ne!(old.manifest.attempt, new.manifest.attempt);
    assert_eq!(store.find(&fingerprint()).unwrap().unwrap(), new);
    old.verify().unwrap();
    drop(store);
    let store = open(folder.path());
    assert!(old.verify().is_err());
    assert_eq!(attempts(&store), 1);
}

/// The error for a manifest whose text is changed in some way.
fn broken(change: impl Fn(String) -> Vec<u8>) -> StoreError {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, &mut |_| ());
    let path = store.manifest_path(&fingerprint());
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    let error = store.find(&fingerprint()).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.hint().unwrap().contains(path.parent().unwrap().to_str().unwrap()));
    error
}

/// A manifest's text sealed again after a change, as an attacker would do it.
fn resealed(change: impl Fn(&mut Manifest)) -> StoreError {
    broken(|text| {
        let mut manifest = Manifest::unseal(&text, &fingerprint(), Path::new("m")).unwrap();
        change(&mut manifest);
        manifest.seal().unwrap().into_bytes()
    })
}

#[test]
fn manifests_that_are_not_whole_are_refused() {
    let problem = |error: StoreError| match error {
        StoreError::Manifest { problem, .. } => problem,
        other => panic!("{other}"),
    };
    assert!(problem(broken(|text| text[..text.len() / 2].into())).contains("it is no manifest"));
    assert!(problem(broken(|_| Vec::new())).contains("it is no manifest"));
    assert!(problem(broken(|_| b"{}".to_vec())).contains("it is no manifest"));
    assert!(problem(broken(|_| vec![0xff, 0xfe, 0])).contains("it is no manifest"));
    assert!(problem(broken(|text| text.replacen("\"seed\": 0", "\"seed\": 1", 1).into())).contains("hash"));
    assert!(problem(broken(|text| text.replacen("\"format\": 1", "\"format\": 2", 1).into())).contains("its format is 2"));
    assert!(problem(resealed(|manifest| manifest.fingerprint = Fingerprint::of(&json!(0)))).contains("belongs to the artifact"));
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../b", "", "a\0b"] {
        let found = problem(resealed(|manifest| {
            manifest.outputs[0].files[0].path = path.into();
        }));
        assert!(found.contains("outside its folder"), "{path}: {found}");
    }
    assert!(problem(resealed(|manifest| manifest.attempt = "../x".into())).contains("no UUID"));
}

#[test]
fn files_that_are_missing_or_altered_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let Commit::Won(artifact) = commit(&store, &mut |_| ()) else { panic!("alone it wins") };
    let file = &artifact.files(None)[0];

    fs::write(file, "other row").unwrap();
    store.find(&fingerprint()).unwrap();
    let error = artifact.verify().unwrap_err();
    assert!(matches!(&error, StoreError::Altered { what: "hash", path, .. } if path == file), "{error}");

    fs::write(file, "more than was written").unwrap();
    let error = store.find(&fingerprint()).unwrap_err();
    assert!(error.to_string().contains("its size is 21 bytes") && error.to_string().contains("says 9 bytes"), "{error}");

    fs::remove_file(file).unwrap();
    let error = store.find(&fingerprint()).unwrap_err();
    assert!(matches!(&error, StoreError::Missing { path, .. } if path == file), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn outputs_stay_in_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let attempt = store.begin().unwrap();
    for (output, name) in [("..", "x"), ("rows", "../x"), ("rows", "/x"), ("rows", ""), ("a/../..", "x"), ("rows", "a\\b")] {
        assert!(matches!(attempt.file(output, name), Err(StoreError::BadName { .. })), "{output} {name}");
    }
    assert!(matches!(store.shared("../x"), Err(StoreError::BadName { .. })));
    #[cfg(unix)]
    {
        let path = attempt.file("rows", "link").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let error = store.commit(attempt, manifest(), &named(), &infos(), false).unwrap_err();
        assert!(matches!(&error, StoreError::NotAFile { path: found } if *found == path), "{error}");
        assert_eq!(attempts(&store), 0);
        assert!(store.find(&fingerprint()).unwrap().is_none());
    }
}

#[test]
fn the_second_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = store.exclusive(&fingerprint(), || panic!("nobody holds it")).unwrap().unwrap();
    let mut asked = 0;
    let second = store.exclusive(&fingerprint(), || {
        asked += 1;
        asked < 2
    });
    assert!(second.unwrap().is_none());
    assert_eq!(asked, 2);
    drop(first);
    assert!(store.exclusive(&fingerprint(), || false).unwrap().is_some());
}

#[test]
fn a_store_can_be_looked_at_without_writing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, &mut |_| ());
    let _garbage = fs::create_dir(folder.path().join("attempts").join(uuid::Uuid::new_v4().to_string()));
    drop(store);
    let store = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(store.fingerprints().unwrap(), [fingerprint()]);
    assert_eq!(attempts(&store), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_with_its_path_and_what_is_safe() {
    let error = super::write_flushed(Path::new("/dev/full"), b"a manifest").unwrap_err();
    assert_eq!(error.to_string(), "cannot write `/dev/full`");
    assert!(error.hint().unwrap().contains("what was committed is kept"));
    let error = crate::StageError::from(error);
    assert!(error.causes()[0].contains("No space left"), "{:?}", error.causes());
}
