//! The fuzzers' corpus, mutated: no bytes from a server make the readers panic.

use std::path::Path;

use proptest::prelude::*;

use super::fuzz;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// What a mutation does: a place in the input, and what is put there.
#[derive(Debug, Clone)]
enum Change {
    Byte(u8),
    Cut,
    /// A piece of another input.
    Splice(prop::sample::Index, prop::sample::Index),
    Word(&'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let words = [
        "null",
        "1e999",
        "-1",
        "18446744073709551616",
        "\"\\ud800\"",
        "[[[[",
        "{\"index\":4294967295}",
        "</think>",
        "\n\n",
        "data:",
        "\u{feff}",
    ];
    prop_oneof![
        any::<u8>().prop_map(Change::Byte),
        Just(Change::Cut),
        any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(a, b)| Change::Splice(a, b)),
        prop::sample::select(words.to_vec()).prop_map(Change::Word),
    ]
}

fn mutated(inputs: &[Vec<u8>], which: &prop::sample::Index, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    let mut bytes = which.get(inputs).clone();
    for (place, change) in changes {
        let at = place.index(bytes.len() + 1);
        match change {
            Change::Byte(byte) if at < bytes.len() => bytes[at] = *byte,
            Change::Byte(byte) => bytes.push(*byte),
            Change::Cut => bytes.truncate(at),
            Change::Splice(other, from) => {
                let other = other.get(inputs);
                let piece = other[from.index(other.len())..].iter().take(64).copied();
                bytes.splice(at..at, piece);
            }
            Change::Word(word) => drop(bytes.splice(at..at, word.bytes())),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_body_makes_the_reader_panic(which: prop::sample::Index, changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 0..6)) {
        fuzz::reply(&mutated(&corpus("reply"), &which, &changes));
    }

    #[test]
    fn no_stream_makes_the_reader_panic(
        which: prop::sample::Index, size in 1usize..80,
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 0..6),
    ) {
        fuzz::stream(&mutated(&corpus("stream"), &which, &changes), size);
    }
}
