//! What the dataset card tells, gathered from the manifests of everything that led to the dataset.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use potstill_curate::card::{Card, CardSource, CardSplit, CardStage};
use potstill_data::parts::BatchReader;
use potstill_pipeline::{Artifact, Fingerprint, Port, StageError};
use serde_json::Value;

use super::{About, Part};
use crate::stages::data_error;

/// Rows of the dataset by kind and by source.
#[derive(Default)]
pub(super) struct Counts {
    kinds: BTreeMap<String, u64>,
    sources: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn add(&mut self, kind: &str, source: &str) {
        for (counts, name) in [(&mut self.kinds, kind), (&mut self.sources, source)] {
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.to_owned(), 1)),
            }
        }
    }
}

/// The card of a dataset made of `parts`.
///
/// # Errors
/// An artifact of the lineage cannot be read.
pub(super) fn card(layout: &str, splits: Vec<CardSplit>, counts: Counts, parts: &[Part], about: &About<'_>) -> Result<Card, StageError> {
    let artifacts = lineage(parts, about)?;
    let datasets = datasets(&artifacts);
    let source = |(name, rows): (String, u64)| {
        let [licence, note, url] = datasets.get(&name).cloned().unwrap_or_default();
        CardSource { name, licence, note, url, rows }
    };
    let stage = |artifact: &Artifact| {
        let manifest = &artifact.manifest;
        let (name, kind) = (manifest.stage.clone(), manifest.kind.clone());
        CardStage { name, kind, rows: manifest.rows().unwrap_or(0), dropped: manifest.dropped.clone() }
    };
    let (decontaminated, uncompared) = decontamination(&artifacts, parts);
    Ok(Card {
        name: about.name.to_owned(),
        splits,
        kinds: counts.kinds,
        layout: layout.to_owned(),
        teachers: teachers(&artifacts)?,
        sources: counts.sources.into_iter().map(source).collect(),
        stages: artifacts.iter().map(stage).collect(),
        decontaminated,
        uncompared,
        pipeline: about.pipeline.to_owned(),
        tool: about.tool.to_owned(),
    })
}

/// Every artifact that led to the dataset, each after what it was made from.
fn lineage(parts: &[Part], about: &About<'_>) -> Result<Vec<Artifact>, StageError> {
    let mut artifacts: Vec<Artifact> = Vec::new();
    for part in parts {
        for ancestor in &part.artifact.manifest.lineage {
            if artifacts.iter().all(|a| a.manifest.fingerprint != ancestor.fingerprint) {
                artifacts.extend((about.find)(&ancestor.fingerprint)?);
            }
        }
        if artifacts.iter().all(|a| a.manifest.fingerprint != part.artifact.manifest.fingerprint) {
            artifacts.push(part.artifact.clone());
        }
    }
    Ok(artifacts)
}

/// Licence, its note and the page of every dataset that sources name: what `source` stages say of their manifests.
fn datasets(artifacts: &[Artifact]) -> BTreeMap<String, [Option<String>; 3]> {
    let mut found = BTreeMap::new();
    for artifact in artifacts {
        let dataset = &artifact.manifest.stats["dataset"];
        let text = |key: &str| dataset[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(name) = text("name") {
            found.insert(name, ["licence", "licence_note", "url"].map(text));
        }
    }
    found
}

/// The teachers of the attempts that came in: those of sources, and those that were asked.
fn teachers(artifacts: &[Artifact]) -> Result<Vec<String>, StageError> {
    let mut teachers: BTreeSet<String> = BTreeSet::new();
    for artifact in artifacts {
        let manifest = &artifact.manifest;
        let brings = matches!(manifest.kind.as_str(), "source" | "generate");
        if !brings || manifest.outputs.first().map(|output| output.port) != Some(Port::Attempts) {
            continue;
        }
        for located in BatchReader::open(&artifact.files(None)).map_err(data_error)?.with_columns(&["teacher"]) {
            let batch = located.map_err(data_error)?.batch;
            let names = batch.column_by_name("teacher").and_then(|column| column.as_string_opt::<i32>());
            for name in names.iter().flat_map(|names| names.iter()).flatten().filter(|name| !name.is_empty()) {
                if !teachers.contains(name) {
                    teachers.insert(name.to_owned());
                }
            }
        }
    }
    Ok(teachers.into_iter().collect())
}

/// What was removed for each benchmark, and the sources whose rows came here past every `decontaminate` stage.
fn decontamination(artifacts: &[Artifact], parts: &[Part]) -> (Option<BTreeMap<String, u64>>, Vec<String>) {
    let by_address: BTreeMap<&Fingerprint, &Artifact> = artifacts.iter().map(|a| (&a.manifest.fingerprint, a)).collect();
    let mut removed: Option<BTreeMap<String, u64>> = None;
    let (mut uncompared, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut rest: Vec<&Fingerprint> = parts.iter().map(|part| &part.artifact.manifest.fingerprint).collect();
    while let Some(artifact) = rest.pop().and_then(|address| by_address.get(address)) {
        let manifest = &artifact.manifest;
        if !seen.insert(&manifest.fingerprint) {
            continue;
        }
        if manifest.kind == "decontaminate" {
            let counts = removed.get_or_insert_default();
            for (benchmark, problems) in manifest.stats["problems_removed"].as_object().into_iter().flatten() {
                *counts.entry(benchmark.clone()).or_default() += Value::as_u64(problems).unwrap_or(0);
            }
        } else if manifest.inputs.is_empty() {
            uncompared.insert(manifest.stage.clone());
        } else {
            rest.extend(manifest.inputs.iter().map(|input| &input.fingerprint));
        }
    }
    (removed, uncompared.into_iter().collect())
}
