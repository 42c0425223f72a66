//! Fetching and pushing against a fake hub: cache, resumption, checks, pinning, work without a network, what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod fake;

use std::path::Path;

use fake::{Fake, Faults, MULTIPART, sha256};
use potstill_hub::{Fetch, Fetched, HeaderValue, Hub, HubConfig, HubError, Push, Pushed, Repo, RepoKind};
use tempfile::TempDir;

const TOKEN: &str = "hf_canary_5d1f0c7e_never_to_be_seen";

struct Place {
    fake: Fake,
    cache: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { fake: Fake::start(Some(TOKEN)), cache: tempfile::tempdir().unwrap() }
    }

    fn hub(&self, token: Option<&str>, offline: bool) -> Hub {
        let authorization = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        Hub::new(HubConfig { endpoint: self.fake.endpoint.clone(), cache: self.cache.path().to_owned(), authorization, offline }).unwrap()
    }

    fn fetch(&self, hub: &Hub, repo: &str, revision: &str, files: &[&str]) -> Result<Fetched, HubError> {
        let repo = Repo::new(RepoKind::Dataset, repo)?;
        let required = files.iter().map(|file| (*file).to_owned()).collect();
        let fetch = Fetch { repo, revision: revision.into(), required, optional: vec!["README.md".into()] };
        self.fake.block_on(hub.fetch(&fetch, &|_| {}))
    }

    fn push(&self, hub: &Hub, folder: &Path) -> Result<Pushed, HubError> {
        let repo = Repo::new(RepoKind::Dataset, "me/mine")?;
        let push = Push { repo, folder: folder.to_owned(), branch: "main".into(), message: "traces".into(), private: true };
        self.fake.block_on(hub.push(&push, &|_| {}))
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 31 % 251) as u8).collect()
}

const SET: &str = "datasets/a/set";

#[test]
fn files_come_once_and_then_from_the_cache() {
    let place = Place::new();
    let large = bytes(300_000);
    place.fake.put(SET, "data/train-00000-of-00002.parquet", large.clone());
    place.fake.put(SET, "data/train-00001-of-00002.parquet", bytes(5000));
    place.fake.put(SET, "README.md", "small");
    place.fake.put(SET, "data/test.parquet", bytes(2000));
    place.fake.put(SET, "empty.txt", "");
    let hub = place.hub(Some(TOKEN), false);
    let fetched = place.fetch(&hub, "a/set", "main", &["data/train-*.parquet", "empty.txt"]).unwrap();
    assert_eq!(fetched.files.len(), 4);
    assert_eq!(fetched.downloaded, 305_005);
    assert_eq!(std::fs::read(fetched.folder.join("data/train-00000-of-00002.parquet")).unwrap(), large);
    assert!(!fetched.folder.join("data/test.parquet").exists());
    // The layout that Python's client shares.
    let repo = place.cache.path().join("datasets--a--set");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), format!("{:040x}", 1));
    assert_eq!(std::fs::read(repo.join("blobs").join(sha256(&large))).unwrap(), large);
    let again = place.fetch(&hub, "a/set", "main", &["data/train-*.parquet"]).unwrap();
    // An empty file needs no request.
    assert_eq!((again.downloaded, place.fake.requests("/resolve/")), (0, 3));
    // The storage behind the hub never sees the token, the hub does.
    place.fake.with(|hub| {
        assert!(hub.log.iter().filter(|(line, _)| line.contains("/cdn/")).all(|(_, token)| !token));
        assert!(hub.log.iter().any(|(line, token)| line.contains("/resolve/") && *token));
    });
}

#[test]
fn a_broken_transfer_goes_on_from_where_it_was() {
    let place = Place::new();
    place.fake.put(SET, "big.bin", bytes(500_000));
    place.fake.with(|hub| hub.faults = Faults { cut: Some((3, 100_000)), busy: 2, ..Faults::default() });
    let fetched = place.fetch(&place.hub(None, false), "a/set", "main", &["big.bin"]).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("big.bin")).unwrap(), bytes(500_000));
    let ranges = place.fake.with(|hub| hub.ranges.clone());
    assert!(!ranges.is_empty() && ranges.iter().all(|range| range != "bytes=0-"), "{ranges:?}");
    assert!(fetched.downloaded <= 500_000, "nothing came twice: {}", fetched.downloaded);
}

#[test]
fn a_partial_file_of_a_killed_run_is_gone_on_with_unless_it_is_another_content() {
    let place = Place::new();
    place.fake.put(SET, "big.bin", bytes(50_000));
    let blobs = place.cache.path().join("datasets--a--set/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", sha256(&bytes(50_000))));
    std::fs::write(&partial, &bytes(50_000)[..20_000]).unwrap();
    let hub = place.hub(None, false);
    assert_eq!(place.fetch(&hub, "a/set", "main", &["big.bin"]).unwrap().downloaded, 30_000);
    assert_eq!(place.fake.with(|hub| hub.ranges.clone()), ["bytes=20000-"]);
    // A partial file of other bytes makes a content whose hash is wrong: it is removed, and the next try is whole.
    place.fake.put(SET, "other.bin", bytes(40_000).into_iter().rev().collect::<Vec<_>>());
    place.fake.with(|hub| hub.repos.get_mut(SET).unwrap().commits = 2);
    let content: Vec<u8> = bytes(40_000).into_iter().rev().collect();
    let partial = blobs.join(format!("{}.incomplete", sha256(&content)));
    std::fs::write(&partial, [7; 1000]).unwrap();
    let error = place.fetch(&hub, "a/set", "main", &["other.bin"]).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(!partial.exists());
    assert_eq!(place.fetch(&hub, "a/set", "main", &["other.bin"]).unwrap().downloaded, 40_000);
}

#[test]
fn a_server_that_ignores_ranges_starts_over() {
    let place = Place::new();
    place.fake.put(SET, "big.bin", bytes(60_000));
    place.fake.with(|hub| hub.faults = Faults { cut: Some((1, 10_000)), no_ranges: true, ..Faults::default() });
    let fetched = place.fetch(&place.hub(None, false), "a/set", "main", &["big.bin"]).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("big.bin")).unwrap(), bytes(60_000));
}

#[test]
fn a_damaged_content_is_refused_whether_small_or_large() {
    let place = Place::new();
    place.fake.put(SET, "big.bin", bytes(60_000));
    place.fake.put(SET, "small.txt", "small");
    place.fake.with(|hub| hub.faults.corrupt = true);
    for file in ["big.bin", "small.txt"] {
        let error = place.fetch(&place.hub(None, false), "a/set", "main", &[file]).unwrap_err();
        assert!(matches!(&error, HubError::Damaged { what, .. } if what.contains("hash")), "{error}");
    }
    let blobs: Vec<_> = place.cache.path().join("datasets--a--set/blobs").read_dir().unwrap().flatten().collect();
    assert!(blobs.is_empty(), "{blobs:?}");
}

#[test]
fn a_pinned_commit_is_asked_once_and_a_branch_each_time() {
    let place = Place::new();
    place.fake.put(SET, "a.txt", "one");
    let hub = place.hub(None, false);
    let first = place.fetch(&hub, "a/set", "main", &["a.txt"]).unwrap();
    place.fake.put(SET, "a.txt", "two");
    place.fake.with(|hub| hub.repos.get_mut(SET).unwrap().commits = 2);
    let pinned = place.fetch(&hub, "a/set", &first.commit, &["a.txt"]).unwrap();
    assert_eq!(std::fs::read_to_string(pinned.folder.join("a.txt")).unwrap(), "one");
    assert_eq!(place.fake.requests(&first.commit), 1, "the content alone was asked of the commit");
    let moved = place.fetch(&hub, "a/set", "main", &["a.txt"]).unwrap();
    assert_eq!(std::fs::read_to_string(moved.folder.join("a.txt")).unwrap(), "two");
}

#[test]
fn without_a_network_the_cache_serves_or_the_error_says_what_to_do() {
    let place = Place::new();
    place.fake.put(SET, "a.txt", "one");
    place.fake.put(SET, "b.txt", "two");
    let offline = place.hub(None, true);
    let error = place.fetch(&offline, "a/set", "main", &["a.txt"]).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }) && error.hint().unwrap().contains("hf download"), "{error}");
    place.fetch(&place.hub(None, false), "a/set", "main", &["a.txt"]).unwrap();
    let before = place.fake.with(|hub| hub.log.len());
    assert_eq!(place.fetch(&offline, "a/set", "main", &["a.txt"]).unwrap().files, ["a.txt"]);
    let error = place.fetch(&offline, "a/set", "main", &["*.txt"]).unwrap_err();
    assert!(error.to_string().contains("1 of 2 files are missing, the first is `b.txt`"), "{error}");
    assert_eq!(place.fake.with(|hub| hub.log.len()), before, "nothing was asked");
    // What another program put into the cache has no list beside it.
    std::fs::remove_dir_all(place.cache.path().join("datasets--a--set/listings")).unwrap();
    assert_eq!(place.fetch(&offline, "a/set", "main", &["*.txt"]).unwrap().files, ["a.txt"]);
    // A hub that cannot be reached is no reason to fail for what is there.
    let gone = Hub::new(HubConfig {
        endpoint: "http://127.0.0.1:9".into(),
        cache: place.cache.path().to_owned(),
        authorization: None,
        offline: false,
    });
    let error = place.fetch(&gone.unwrap(), "other/set", "main", &["a.txt"]).unwrap_err();
    assert!(error.is_temporary() && error.hint().unwrap().contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    place.fake.put(SET, "a.txt", "one");
    let hub = place.hub(None, false);
    for name in ["../../etc", "a/../b", "a--b/c", "/a/b"] {
        assert!(matches!(place.fetch(&hub, name, "main", &["a.txt"]), Err(HubError::Name { .. })), "{name}");
    }
    for file in ["../a.txt", "/etc/passwd", "x/../../y"] {
        assert!(matches!(place.fetch(&hub, "a/set", "main", &[file]), Err(HubError::Setting { .. })), "{file}");
    }
    assert!(matches!(place.fetch(&hub, "a/set", "../../x", &["a.txt"]), Err(HubError::Setting { .. })));
    place.fake.with(|hub| hub.faults.listed = vec!["x/../../evil.txt".into(), "x\\..\\evil.txt".into()]);
    let error = place.fetch(&hub, "a/set", "main", &["x/*/*/*.txt"]).unwrap_err();
    assert!(matches!(error, HubError::NoFile { .. }), "no pattern matches `..`: {error}");
    let error = place.fetch(&hub, "a/set", "main", &["x*.txt"]).unwrap_err();
    assert!(matches!(error, HubError::Escape { .. }), "{error}");
    assert!(!place.cache.path().parent().unwrap().join("evil.txt").exists());
    assert_eq!(place.fetch(&hub, "a/set", "main", &["a.txt"]).unwrap().files, ["a.txt"], "other files are not harmed by a strange one");
}

#[test]
fn what_is_missing_or_forbidden_is_told_apart() {
    let place = Place::new();
    place.fake.put(SET, "a.txt", "one");
    place.fake.put("datasets/a/secret", "a.txt", "one");
    place.fake.with(|hub| hub.repos.get_mut("datasets/a/secret").unwrap().private = true);
    let error = place.fetch(&place.hub(Some(TOKEN), false), "a/none", "main", &["a.txt"]).unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error}");
    let error = place.fetch(&place.hub(None, false), "a/secret", "main", &["a.txt"]).unwrap_err();
    assert!(matches!(error, HubError::Refused { with_token: false, .. }) && error.hint().unwrap().contains("HF_TOKEN"), "{error}");
    assert!(place.fetch(&place.hub(Some(TOKEN), false), "a/secret", "main", &["a.txt"]).is_ok());
    let error = place.fetch(&place.hub(None, false), "a/set", "main", &["b.txt"]).unwrap_err();
    assert!(matches!(error, HubError::NoFile { .. }) && error.hint().unwrap().contains("a.txt"), "{error}");
}

#[test]
fn a_folder_is_pushed_as_one_commit_and_only_what_changed() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("README.md", b"---\nlicense: mit\n---\n");
    write("data/train.parquet", &bytes(5000));
    write("data/large.parquet", &bytes(MULTIPART + 70_000));
    write(".cache/secret", b"not for others");
    let hub = place.hub(Some(TOKEN), false);
    let pushed = place.push(&hub, folder.path()).unwrap();
    assert_eq!((pushed.sent, pushed.unchanged), (3, 0));
    assert_eq!(pushed.page, format!("{}/datasets/me/mine", place.fake.endpoint));
    place.fake.with(|hub| {
        let repo = &hub.repos["datasets/me/mine"];
        assert!(repo.private);
        assert_eq!(repo.files.keys().collect::<Vec<_>>(), ["README.md", "data/large.parquet", "data/train.parquet"]);
        assert_eq!(repo.files["data/large.parquet"], bytes(MULTIPART + 70_000));
        assert_eq!(pushed.commit, Some(format!("{:040x}", repo.commits)));
        assert!(hub.log.iter().filter(|(line, _)| line.contains("/storage/")).all(|(_, token)| !token), "storage sees no token");
    });
    let again = place.push(&hub, folder.path()).unwrap();
    assert_eq!((again.commit, again.sent, again.unchanged), (None, 0, 3));
    write("README.md", b"changed");
    let changed = place.push(&hub, folder.path()).unwrap();
    assert_eq!((changed.sent, changed.unchanged), (1, 2));
    // What was pushed can be fetched.
    let fetched = place.fetch(&hub, "me/mine", "main", &["data/*.parquet"]).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("data/train.parquet")).unwrap(), bytes(5000));
}

#[test]
fn a_push_that_may_not_be_is_refused_without_showing_the_token() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let empty = place.push(&place.hub(Some(TOKEN), false), folder.path()).unwrap_err();
    assert!(empty.to_string().contains("holds no files"), "{empty}");
    std::fs::write(folder.path().join("a.txt"), "one").unwrap();
    // The fake echoes the credentials that it refuses.
    let wrong = "hf_canary_wrong_9b2e";
    let error = place.push(&place.hub(Some(wrong), false), folder.path()).unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(matches!(error, HubError::Refused { with_token: true, .. }) && !told.contains(wrong), "{told}");
    let error = place.push(&place.hub(None, false), folder.path()).unwrap_err();
    assert!(error.hint().unwrap().contains("HF_TOKEN"), "{error}");
    assert!(place.push(&place.hub(Some(TOKEN), true), folder.path()).is_err(), "offline");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    let error = place.push(&place.hub(Some(TOKEN), false), folder.path()).unwrap_err();
    assert!(error.to_string().contains("is a link"), "{error}");
}
