//! Where the problems of a set lie among clusters: two or three passes over their prompts or vectors, in bounded memory
//! but for a few bytes per problem.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use arrow::array::{Array, AsArray};
use potstill_curate::select::ClusterConfig;
use potstill_curate::select::cluster::{Centres, Drawn, Lexicon, Placed};
use potstill_curate::text::text_key;
use potstill_data::Vectors;
use potstill_data::parts::BatchReader;
use potstill_pipeline::{StageContext, StageError};

use super::super::data_error;
use crate::app::App;

/// What was found.
pub(super) struct Places {
    /// By the key of the problem's id.
    pub(super) problems: HashMap<u128, Placed>,
    /// Problems in each cluster, the largest first.
    pub(super) clusters: Vec<u64>,
}

/// Groups the problems of the attempts in `files`.
///
/// # Errors
/// A damaged part; a problem without a vector; a vector that is none.
pub(super) fn place(
    cx: &StageContext<'_, App>,
    files: &[PathBuf],
    config: &ClusterConfig,
    vectors: Option<&Vectors>,
    seed: u64,
) -> Result<Places, StageError> {
    let count = config.count as usize;
    let problems = match vectors {
        Some(vectors) => by_vectors(files, vectors, count, seed)?,
        None => by_words(files, count, seed)?,
    };
    cx.check_cancelled()?;
    let mut clusters = vec![0; count];
    problems.values().for_each(|placed| clusters[placed.cluster as usize] += 1);
    clusters.retain(|n| *n > 0);
    clusters.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Places { problems, clusters })
}

fn by_words(files: &[PathBuf], count: usize, seed: u64) -> Result<HashMap<u128, Placed>, StageError> {
    let (mut lexicon, mut drawn) = (Lexicon::default(), Drawn::new(seed, Lexicon::numbers()));
    each_problem(files, |id, prompt| {
        lexicon.observe(prompt);
        drawn.offer(id, || prompt.to_owned());
    })?;
    let centres = Centres::fit(drawn.items().map(|prompt| lexicon.vector(&prompt)), count, seed);
    let mut placed = HashMap::new();
    each_problem(files, |id, prompt| {
        placed.insert(text_key(id), centres.place(&lexicon.vector(prompt)));
    })?;
    Ok(placed)
}

fn by_vectors(files: &[PathBuf], vectors: &Vectors, count: usize, seed: u64) -> Result<HashMap<u128, Placed>, StageError> {
    let mut wanted: HashMap<u128, Option<Placed>> = HashMap::new();
    each_problem(files, |id, _| {
        wanted.insert(text_key(id), None);
    })?;
    let mut drawn: Option<Drawn<Vec<f32>>> = None;
    let visit = |id: &str, vector: &[f32]| {
        if wanted.contains_key(&text_key(id)) {
            drawn.get_or_insert_with(|| Drawn::new(seed, vector.len())).offer(id, || vector.to_vec());
        }
    };
    vectors.each(visit).map_err(data_error)?;
    let centres = Centres::fit(drawn.into_iter().flat_map(Drawn::items), count, seed);
    let visit = |id: &str, vector: &[f32]| {
        if let Some(place) = wanted.get_mut(&text_key(id)) {
            place.get_or_insert_with(|| centres.place(vector));
        }
    };
    vectors.each(visit).map_err(data_error)?;
    let without = wanted.values().filter(|place| place.is_none()).count();
    if without > 0 {
        return Err(without_vector(files, vectors, &wanted, without));
    }
    Ok(wanted.into_iter().filter_map(|(key, place)| Some((key, place?))).collect())
}

fn without_vector(files: &[PathBuf], vectors: &Vectors, wanted: &HashMap<u128, Option<Placed>>, without: usize) -> StageError {
    let mut first = None;
    let missing = |id: &str| wanted.get(&text_key(id)).is_some_and(Option::is_none);
    let _ = each_problem(files, |id, _| {
        if first.is_none() && missing(id) {
            first = Some(id.to_owned());
        }
    });
    let file = vectors.files().first().map(|file| file.display().to_string()).unwrap_or_default();
    let what = format!("{without} of {} problems have no vector in `{file}`, the first is `{}`", wanted.len(), first.unwrap_or_default());
    StageError::config(what).hint("its `id` column must hold the ids of the problems; map `columns.id` in the source to give them yours")
}

/// Every problem's id and prompt, once.
fn each_problem(files: &[PathBuf], mut visit: impl FnMut(&str, &str)) -> Result<(), StageError> {
    let mut seen: HashSet<u128> = HashSet::new();
    for located in BatchReader::open(files).map_err(data_error)?.with_columns(&["problem_id", "prompt"]) {
        let located = located.map_err(data_error)?;
        let column = |name: &str| {
            let column = located.batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>().cloned());
            column.ok_or_else(|| StageError::failed(format!("`{}` has no text column `{name}`", located.path.display())))
        };
        let (ids, prompts) = (column("problem_id")?, column("prompt")?);
        for row in 0..ids.len() {
            if seen.insert(text_key(ids.value(row))) {
                visit(ids.value(row), prompts.value(row));
            }
        }
    }
    Ok(())
}
