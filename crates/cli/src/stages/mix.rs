//! `mix`: inputs joined by weights and quotas, in a seeded order.
//!
//! The order is drawn over ids alone. To write rows in it without holding them all, a set that is larger than the budget
//! is first dealt out to files by the place that each row will have, a file per stretch of the output; each of them then
//! fits in memory and is put in order by itself.

use std::path::PathBuf;

use potstill_curate::mix::{Mix as Drawn, repeated};
use potstill_curate::{Decisions, Keyed, MixConfig, Mixer};
use potstill_data::parts::unpacked_bytes;
use potstill_data::{Attempt, MetaFields, Problem, Row, RowWriter, Sample, read_all};
use potstill_pipeline::{CheckContext, Estimate, EstimateContext, Mistake, Port, PortError, Stage, StageContext, StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decided::{self, DROPPED};
use super::rows::{Ahead, ROWS, files, row_count, same_rows, writer};
use super::{curate_error, curate_mistake, data_error};
use crate::app::App;
use crate::estimate::{passed_on, rows};

/// Joins rows of several stages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Mix(MixConfig);

/// Unpacked bytes of rows that are put in order in memory, about.
const STRETCH_BYTES: u64 = 256 << 20;
/// Stretches at most: each has an open file with its buffers.
const MOST_STRETCHES: usize = 32;

impl Stage<App> for Mix {
    fn outputs(&self, inputs: &[Port]) -> Result<Vec<(String, Port)>, PortError> {
        let port = same_rows(inputs)?;
        if port != Port::Samples && self.0.max_repeats.is_some_and(|n| n > 1) {
            return Err(PortError::number(format!("repeats {port}, whose ids must stay unique"))
                .hint("only samples can be repeated; leave `max_repeats` out"));
        }
        Ok(decided::outputs(port))
    }

    fn check(&self, cx: &CheckContext<'_, App>) -> Vec<Mistake> {
        let inputs: Vec<(&str, &str)> = cx.inputs.iter().map(|input| input.split_once('.').unwrap_or((input, ""))).collect();
        let names = names(&inputs);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.0.check(&names).err().map(curate_mistake).into_iter().collect()
    }

    fn identity(&self, _app: &App) -> Result<Value, StageError> {
        Ok(json!(self.0))
    }

    fn estimate(&self, cx: &EstimateContext<'_, App>) -> Option<Estimate> {
        Some(Estimate { rows: self.0.rows.or_else(|| rows(cx)), ..passed_on(cx) })
    }

    fn run(&self, cx: &StageContext<'_, App>) -> Result<StageResult, StageError> {
        match cx.inputs.first().map(|input| input.port) {
            Some(Port::Problems) => self.mix::<Problem>(cx, |row, _| row.clone()),
            Some(Port::Samples) => self.mix::<Sample>(cx, repeated),
            _ => self.mix::<Attempt>(cx, |row, _| row.clone()),
        }
    }
}

impl Mix {
    fn mix<R: Row + Keyed>(&self, cx: &StageContext<'_, App>, copy: fn(&R, u32) -> R) -> Result<StageResult, StageError> {
        let drawn = self.draw::<R>(cx)?;
        let files = files(cx);
        let meta = MetaFields::of_parts(&files).map_err(data_error)?;
        let mut out = writer::<R>(cx, ROWS, &meta)?;
        let bytes = unpacked_bytes(&files).map_err(data_error)? * drawn.takes.len() as u64 / row_count(cx).unwrap_or(1).max(1);
        let stretches = usize::try_from(bytes / STRETCH_BYTES + 1).unwrap_or(MOST_STRETCHES).min(MOST_STRETCHES);
        let inputs: Vec<&[PathBuf]> = cx.inputs.iter().map(|input| input.files.as_slice()).collect();
        let order = match (self.0.keep_order, stretches) {
            (true, _) => Order::AsRead,
            (false, 1) => Order::InMemory,
            (false, _) => Order::InStretches { stretches, scratch: cx.scratch()?, meta },
        };
        let (mut rows, total) = (0, Some(drawn.takes.len() as u64));
        let check = || cx.check_cancelled();
        let dealer = Dealer { inputs, check: &check, copy };
        dealer.write(&drawn, &order, |row| {
            rows += 1;
            cx.progress(rows, total, "rows", &[]);
            out.push(row).map_err(data_error)
        })?;
        let parts: Vec<(&[PathBuf], &Decisions)> = cx.inputs.iter().map(|input| input.files.as_slice()).zip(&drawn.decisions).collect();
        let mut result = StageResult::default().rows(ROWS, out.finish().map_err(data_error)?.rows);
        result = result.rows(DROPPED, decided::write_dropped::<R>(cx, &parts)?);
        for decisions in &drawn.decisions {
            for (reason, count) in decisions.dropped() {
                *result.dropped.entry(reason).or_default() += count;
            }
        }
        Ok(result)
    }

    fn draw<R: Row + Keyed>(&self, cx: &StageContext<'_, App>) -> Result<Drawn, StageError> {
        let inputs: Vec<(&str, &str)> = cx.inputs.iter().map(|input| (input.stage.as_str(), input.output.as_str())).collect();
        let names = names(&inputs);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut mixer = Mixer::new::<R>(&self.0, &names, cx.rng_seed("mix")).map_err(curate_error)?;
        for (at, input) in cx.inputs.iter().enumerate() {
            for (n, row) in Ahead::<R>::open(&input.files).map_err(data_error)?.enumerate() {
                mixer.observe(at, &row.map_err(data_error)?);
                if n % 4096 == 0 {
                    cx.check_cancelled()?;
                }
            }
        }
        mixer.finish().map_err(curate_error)
    }
}

/// What `weights` calls the inputs: by their stage, and by `STAGE.OUTPUT` where several come from one.
fn names(inputs: &[(&str, &str)]) -> Vec<String> {
    let several = |stage: &str| inputs.iter().filter(|(other, _)| *other == stage).count() > 1;
    let name = |(stage, output): &(&str, &str)| match several(stage) && !output.is_empty() {
        true => format!("{stage}.{output}"),
        false => (*stage).to_owned(),
    };
    inputs.iter().map(name).collect()
}

/// How rows that are read in their inputs' order come to stand in the drawn one.
enum Order {
    /// The drawn order is that of the inputs.
    AsRead,
    /// All of them are held.
    InMemory,
    /// They are dealt out to a file per stretch of the output first.
    InStretches { stretches: usize, scratch: PathBuf, meta: MetaFields },
}

/// One copy of a row, and the place in the output that it goes to.
#[derive(Clone, Copy)]
struct Dealing {
    row: u32,
    copy: u32,
    place: usize,
}

/// Reads the inputs and hands out the rows that were drawn.
struct Dealer<'a, R> {
    inputs: Vec<&'a [PathBuf]>,
    check: &'a dyn Fn() -> Result<(), StageError>,
    copy: fn(&R, u32) -> R,
}

impl<R: Row> Dealer<'_, R> {
    /// Every copy of every row that was drawn, in the drawn order.
    fn write(&self, drawn: &Drawn, order: &Order, mut push: impl FnMut(&R) -> Result<(), StageError>) -> Result<(), StageError> {
        match order {
            Order::AsRead => self.deal(drawn, |row, _| push(&row)),
            Order::InMemory => {
                let mut held: Vec<(usize, R)> = Vec::with_capacity(drawn.takes.len());
                self.deal(drawn, |row, place| {
                    held.push((place, row));
                    Ok(())
                })?;
                held.sort_unstable_by_key(|(place, _)| *place);
                held.iter().try_for_each(|(_, row)| push(row))
            }
            Order::InStretches { stretches, scratch, meta } => {
                let paths: Vec<PathBuf> = (0..*stretches).map(|n| scratch.join(format!("stretch-{n:02}.parquet"))).collect();
                let places = self.scatter(drawn, &paths, meta)?;
                paths.iter().zip(places).try_for_each(|(path, places)| self.gather(path, places, &mut push))
            }
        }
    }

    /// Reads the inputs once and hands on every copy of every row taken, with its place.
    fn deal(&self, drawn: &Drawn, mut each: impl FnMut(R, usize) -> Result<(), StageError>) -> Result<(), StageError> {
        let mut dealt: Vec<Vec<Dealing>> = vec![Vec::new(); self.inputs.len()];
        for (place, take) in drawn.takes.iter().enumerate() {
            dealt[take.input as usize].push(Dealing { row: take.row, copy: take.copy, place });
        }
        for (files, mut takes) in self.inputs.iter().zip(dealt) {
            takes.sort_unstable_by_key(|take| (take.row, take.copy));
            let mut takes = takes.into_iter().peekable();
            for (at, row) in Ahead::<R>::open(files).map_err(data_error)?.enumerate() {
                let row = row.map_err(data_error)?;
                while let Some(take) = takes.next_if(|take| take.row as usize == at) {
                    each((self.copy)(&row, take.copy), take.place)?;
                }
                if at % 4096 == 0 {
                    (self.check)()?;
                }
                if takes.peek().is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Deals the rows out to a file per stretch; gives the places of each file's rows.
    fn scatter(&self, drawn: &Drawn, paths: &[PathBuf], meta: &MetaFields) -> Result<Vec<Vec<usize>>, StageError> {
        let stretch = drawn.takes.len().div_ceil(paths.len()).max(1);
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); paths.len()];
        let outs: Result<Vec<RowWriter<R>>, _> = paths.iter().map(|path| RowWriter::create(path, meta)).collect();
        let mut outs = outs.map_err(data_error)?;
        self.deal(drawn, |row, place| {
            places[place / stretch].push(place);
            outs[place / stretch].push(&row).map_err(data_error)
        })?;
        for out in outs {
            out.finish().map_err(data_error)?;
        }
        Ok(places)
    }

    /// Puts the rows of one stretch in order, and removes its file.
    fn gather(&self, path: &PathBuf, places: Vec<usize>, push: &mut impl FnMut(&R) -> Result<(), StageError>) -> Result<(), StageError> {
        (self.check)()?;
        let rows: Vec<R> = read_all(std::slice::from_ref(path)).map_err(data_error)?;
        let mut order: Vec<(usize, usize)> = places.into_iter().enumerate().map(|(at, place)| (place, at)).collect();
        order.sort_unstable();
        order.into_iter().try_for_each(|(_, at)| push(&rows[at]))?;
        std::fs::remove_file(path).map_err(|e| StageError::failed(format!("cannot remove `{}`", path.display())).caused_by(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potstill_data::{Message, SampleKind};

    fn samples(path: &std::path::Path, name: &str, rows: usize) {
        let mut out = RowWriter::<Sample>::create(path, &MetaFields::none()).unwrap();
        for n in 0..rows {
            let sample = Sample {
                sample_id: format!("{name}{n}"),
                problem_id: format!("{name}{n}"),
                source: name.to_owned(),
                messages: vec![Message::new("user", "Q")],
                kind: SampleKind::General,
                weight: 1.0,
                loss_spans: Vec::new(),
                lineage: Vec::new(),
                meta: potstill_data::Meta::new(),
            };
            out.push(&sample).unwrap();
        }
        out.finish().unwrap();
    }

    /// However many files the rows were dealt out to, they come out in the drawn order.
    #[test]
    fn stretches_do_not_show_in_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let files = [vec![folder.path().join("a.parquet")], vec![folder.path().join("b.parquet")]];
        samples(&files[0][0], "a", 40);
        samples(&files[1][0], "b", 7);
        let config = MixConfig { rows: Some(50), max_repeats: Some(9), ..MixConfig::default() };
        let config = MixConfig { weights: [("a".to_owned(), 1.0), ("b".to_owned(), 1.0)].into(), ..config };
        let mut mixer = Mixer::new::<Sample>(&config, &["a", "b"], 3).unwrap();
        for (at, files) in files.iter().enumerate() {
            read_all::<Sample, _>(files).unwrap().iter().for_each(|row| mixer.observe(at, row));
        }
        let drawn = mixer.finish().unwrap();
        let dealer = Dealer { inputs: files.iter().map(Vec::as_slice).collect(), check: &|| Ok(()), copy: repeated };
        let ids = |order: Order| {
            let mut ids = Vec::new();
            dealer
                .write(&drawn, &order, |row: &Sample| {
                    ids.push(row.sample_id.clone());
                    Ok(())
                })
                .unwrap();
            ids
        };
        let whole = ids(Order::InMemory);
        assert_eq!((whole.len(), whole.iter().filter(|id| id.starts_with('b')).count()), (50, 25));
        for stretches in [1, 3, 50] {
            let scratch = folder.path().to_owned();
            assert_eq!(ids(Order::InStretches { stretches, scratch, meta: MetaFields::none() }), whole, "{stretches}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "stretches are removed");
        let mut sorted = whole.clone();
        sorted.sort();
        let mut read = ids(Order::AsRead);
        read.sort();
        assert_eq!(read, sorted);
    }
}
