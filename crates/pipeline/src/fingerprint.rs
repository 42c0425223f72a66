//! Content addresses of artifacts: what decides a stage's output, hashed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The blake3 hash of everything that decides an artifact: kind, revision, identity, seed, and the fingerprints and outputs of its
/// inputs. The stage's name is not in it. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; blake3::OUT_LEN]);

impl Fingerprint {
    /// Hashes a JSON value in canonical form: keys sorted, no spaces.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(*blake3::hash(canonical(value).to_string().as_bytes()).as_bytes())
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match blake3::Hash::from_hex(text) {
            Ok(hash) if hash.to_hex().as_str() == text => Ok(Self(*hash.as_bytes())),
            _ => Err(format!("a fingerprint is 64 lowercase hexadecimal digits, found `{text}`")),
        }
    }
}

/// An edge as fingerprints see it.
pub(crate) struct Upstream<'a> {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) output: &'a str,
}

/// The fingerprint of a stage.
pub(crate) fn stage(
    kind: &str,
    revision: u32,
    identity: &Value,
    seed: u64,
    inputs: &[Upstream<'_>],
    init_from: Option<&Upstream<'_>>,
) -> Fingerprint {
    let edge = |up: &Upstream<'_>| json!([up.fingerprint.to_string(), up.output]);
    Fingerprint::of(&json!({
        "kind": kind,
        "revision": revision,
        "identity": identity,
        "seed": seed,
        "inputs": inputs.iter().map(edge).collect::<Vec<_>>(),
        "init_from": init_from.map(edge),
    }))
}

/// The value with the keys of all its objects sorted.
#[must_use]
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort_unstable();
            Value::Object(keys.into_iter().map(|key| (key.clone(), canonical(&object[key]))).collect::<Map<_, _>>())
        }
        Value::Array(array) => Value::Array(array.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fingerprint, Upstream, stage};

    #[test]
    fn the_order_of_keys_does_not_matter_but_that_of_inputs_does() {
        let a = Fingerprint::of(&json!({"a": 1, "b": {"c": 2, "d": 3}}));
        let b = Fingerprint::of(&json!({"b": {"d": 3, "c": 2}, "a": 1}));
        assert_eq!(a, b);
        let ups = |x, y| [Upstream { fingerprint: x, output: "out" }, Upstream { fingerprint: y, output: "out" }];
        let c = Fingerprint::of(&json!(3));
        assert_ne!(stage("k", 1, &json!({}), 0, &ups(a, c), None), stage("k", 1, &json!({}), 0, &ups(c, a), None));
    }

    #[test]
    fn everything_that_decides_is_in_it() {
        let base = |kind, revision, identity, seed, output: &str| {
            let up = Upstream { fingerprint: Fingerprint::of(&json!(1)), output };
            stage(kind, revision, &identity, seed, &[up], None)
        };
        let first = base("k", 1, json!({"p": 1}), 1, "out");
        let others = [
            base("l", 1, json!({"p": 1}), 1, "out"),
            base("k", 2, json!({"p": 1}), 1, "out"),
            base("k", 1, json!({"p": 2}), 1, "out"),
            base("k", 1, json!({"p": 1}), 2, "out"),
            base("k", 1, json!({"p": 1}), 1, "dropped"),
        ];
        assert!(others.iter().all(|other| *other != first));
        assert_eq!(first, base("k", 1, json!({"p": 1}), 1, "out"));
    }

    #[test]
    fn it_reads_back_what_it_writes_and_nothing_else() {
        let fingerprint = Fingerprint::of(&json!("x"));
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        for wrong in ["", "abc", "../../etc/passwd", &fingerprint.to_string().to_uppercase()] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
