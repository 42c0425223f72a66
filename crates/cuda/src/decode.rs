//! Batched decoding over a cache of keys and values.

use crate::gpu::{Buffer, Gpu, Matrix, args};
use crate::shape::Shape;
use crate::{Error, Result};

const F: usize = size_of::<f32>();
const H: usize = size_of::<u16>();

/// A parameter: f32 for norms and biases, bf16 for matrices.
enum Parameter {
    Wide(Buffer),
    Half(Buffer),
}

impl Parameter {
    fn address(&self) -> u64 {
        match self {
            Self::Wide(buffer) | Self::Half(buffer) => buffer.at(0, 1),
        }
    }
}

/// Buffers of a forward pass, for so many tokens and so many rows of logits.
struct Room {
    tokens: usize,
    ids: Buffer,
    positions: Buffer,
    places: Buffer,
    x: Buffer,
    scales: Buffer,
    normed: Buffer,
    row: Buffer,
    attended: Buffer,
    gate_up: Buffer,
    fed: Buffer,
    chosen: Buffer,
    logits: Buffer,
    best: Buffer,
}

/// Tokens of one forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Fed<'a> {
    /// The tokens.
    pub tokens: &'a [i32],
    /// Each one's position in its sequence.
    pub positions: &'a [i32],
    /// The row of the cache that each one's key takes; a sequence's rows follow each other.
    pub places: &'a [i32],
    /// The tokens (by index) whose successors are asked for.
    pub last: &'a [i32],
}

/// How a token is drawn from its row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Softmax temperature; 0 takes the most probable token.
    pub temperature: f32,
    /// The most probable tokens that together reach this probability; 1 is off.
    pub top_p: f32,
    /// Tokens of at least this share of the best one's probability; 0 is off.
    pub min_p: f32,
    /// So many most probable tokens; 0 is off.
    pub top_k: i32,
    /// Where the token is taken in the sum of what is left, 0 to 1.
    pub at: f32,
}

/// A model for decoding, with the cache of its sequences, on one GPU.
pub struct Decoder {
    gpu: Gpu,
    shape: Shape,
    parameters: Vec<Parameter>,
    angles: Buffer,
    /// Per layer keys and values `[rows, groups·dim]`.
    cache: Vec<(Buffer, Buffer)>,
    rows: usize,
    room: Option<Room>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Takes a model to GPU `number`; `parameters` gives them in the order of [`Shape`], each once. The cache has `rows`
    /// rows, one per token of all sequences in flight.
    ///
    /// # Errors
    /// When the shape is not supported, a size is wrong, there is no such GPU, or it has too little memory.
    pub fn new(number: usize, shape: Shape, parameters: impl Iterator<Item = Vec<f32>>, rows: usize) -> Result<Self> {
        shape.check()?;
        let gpu = Gpu::new(number, shape.dim, shape.group())?;
        let sizes = shape.sizes();
        let mut kept = Vec::with_capacity(sizes.len());
        for (index, values) in parameters.enumerate() {
            if sizes.get(index) != Some(&values.len()) {
                return Err(Error::Input(format!("parameter {index} has {} elements, not {:?}", values.len(), sizes.get(index))));
            }
            let wide = gpu.upload(&values)?;
            kept.push(if Self::is_wide(&shape, index) {
                Parameter::Wide(wide)
            } else {
                let half = gpu.alloc(values.len() * H)?;
                gpu.each("cast", values.len().div_ceil(8), args![&wide, &half, values.len() as i64])?;
                gpu.wait()?;
                Parameter::Half(half)
            });
        }
        if kept.len() != sizes.len() {
            return Err(Error::Input(format!("the model has {} parameters, {} were given", sizes.len(), kept.len())));
        }
        let width = shape.groups * shape.dim * H;
        let cache = (0..shape.layers).map(|_| Ok((gpu.zeros(rows * width)?, gpu.zeros(rows * width)?))).collect::<Result<_>>()?;
        let angles = gpu.upload(&shape.angles)?;
        gpu.wait()?;
        Ok(Self { gpu, shape, parameters: kept, angles, cache, rows, room: None })
    }

    fn is_wide(shape: &Shape, index: usize) -> bool {
        let in_layer = |layer| {
            let at = shape.layer(layer);
            [Some(at.input_norm), Some(at.post_norm), at.bias].contains(&Some(index))
        };
        index == shape.final_norm() || (0..shape.layers).any(in_layer)
    }

    /// Gives each of `slots` sequences `to` rows of the cache instead of `from`; what they hold stays.
    ///
    /// # Errors
    /// When the GPU has too little memory; the cache is as it was.
    pub fn resize(&mut self, slots: usize, from: usize, to: usize) -> Result<()> {
        let width = self.shape.groups * self.shape.dim * H;
        if from == 0 {
            // Nothing is kept: the memory is free for what comes.
            self.rows = 0;
            self.cache = (0..self.shape.layers).map(|_| Ok((self.gpu.zeros(0)?, self.gpu.zeros(0)?))).collect::<Result<_>>()?;
        }
        let mut cache = Vec::with_capacity(self.cache.len());
        for (keys, values) in &self.cache {
            let grown = |old: &Buffer| -> Result<Buffer> {
                let new = self.gpu.zeros(slots * to * width)?;
                for slot in 0..slots {
                    self.gpu.copy_bytes(old.at(slot * from, width), new.at(slot * to, width), from.min(to) * width)?;
                }
                Ok(new)
            };
            cache.push((grown(keys)?, grown(values)?));
        }
        self.gpu.wait()?;
        (self.cache, self.rows) = (cache, slots * to);
        Ok(())
    }

    /// Copies `count` rows of the cache from row `from` on to row `to` on; they must not overlap.
    ///
    /// # Errors
    /// When rows are out of range, or the device fails.
    pub fn copy(&mut self, from: usize, to: usize, count: usize) -> Result<()> {
        if from.max(to) + count > self.rows {
            return Err(Error::Input(format!("rows {from} and {to} and {count} more exceed a cache of {} rows", self.rows)));
        }
        let width = self.shape.groups * self.shape.dim * H;
        for (keys, values) in &self.cache {
            for buffer in [keys, values] {
                self.gpu.copy_bytes(buffer.at(from, width), buffer.at(to, width), count * width)?;
            }
        }
        Ok(())
    }

    /// Feeds tokens and keeps their keys and values.
    ///
    /// # Errors
    /// When positions or rows are out of range, or the device fails.
    pub fn feed(&mut self, fed: &Fed<'_>) -> Result<()> {
        self.with_room(fed, |decoder, room| decoder.layers(room, fed))
    }

    /// Feeds tokens, keeps their keys and values, and returns the most probable successor of each of `fed.last`.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn best(&mut self, fed: &Fed<'_>) -> Result<Vec<i32>> {
        self.with_room(fed, |decoder, room| {
            decoder.successors(room, fed, false, |room, from, rows| {
                let arguments = args![&room.logits, room.best.at(from, F), decoder.shape.vocab];
                decoder.gpu.launch("argmax", (rows, 1), 512, 0, arguments)
            })?;
            decoder.gpu.read(&room.best, 0, fed.last.len())
        })
    }

    /// Feeds tokens, keeps their keys and values, and draws a successor of each of `fed.last`, one by each of `draws`.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and when there are not as many draws.
    pub fn draw(&mut self, fed: &Fed<'_>, draws: &[Draw]) -> Result<Vec<i32>> {
        if draws.len() != fed.last.len() {
            return Err(Error::Input(format!("{} draws for {} successors", draws.len(), fed.last.len())));
        }
        self.with_room(fed, |decoder, room| {
            let gpu = &decoder.gpu;
            let column = |of: fn(&Draw) -> f32| gpu.upload(&draws.iter().map(of).collect::<Vec<f32>>());
            let (temperatures, top_ps) = (column(|draw| draw.temperature)?, column(|draw| draw.top_p)?);
            let (min_ps, ats) = (column(|draw| draw.min_p)?, column(|draw| draw.at)?);
            let top_ks = gpu.upload(&draws.iter().map(|draw| draw.top_k).collect::<Vec<i32>>())?;
            decoder.successors(room, fed, true, |room, from, rows| {
                let of = |buffer: &Buffer| buffer.at(from, F);
                let arguments = args![
                    &room.logits,
                    of(&temperatures),
                    of(&top_ps),
                    of(&min_ps),
                    of(&top_ks),
                    of(&ats),
                    of(&room.best),
                    decoder.shape.vocab,
                ];
                gpu.launch("draw", (rows, 1), 1024, 0, arguments)
            })?;
            gpu.read(&room.best, 0, draws.len())
        })
    }

    /// Feeds tokens, keeps their keys and values, and returns the logits `[last, vocab]` of the successors of `fed.last`.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn logits(&mut self, fed: &Fed<'_>) -> Result<Vec<f32>> {
        self.with_room(fed, |decoder, room| {
            let mut logits = Vec::with_capacity(fed.last.len() * decoder.shape.vocab);
            decoder.successors(room, fed, true, |room, _, rows| {
                logits.extend(decoder.gpu.read::<f32>(&room.logits, 0, rows * decoder.shape.vocab)?);
                Ok(())
            })?;
            Ok(logits)
        })
    }

    /// Feeds tokens and computes the logits of the successors of `fed.last`, f32 if `wide`, as many rows at a time as there
    /// is room for; `each` takes them, the first of these rows and their number.
    fn successors(
        &self,
        room: &mut Room,
        fed: &Fed<'_>,
        wide: bool,
        mut each: impl FnMut(&Room, usize, usize) -> Result<()>,
    ) -> Result<()> {
        self.layers(room, fed)?;
        let states = self.chosen(room, fed)?;
        // There is room for so many rows in bf16.
        let most = if wide { (ROWS.min(room.tokens) / 2).max(1) } else { ROWS };
        for from in (0..fed.last.len()).step_by(most) {
            let rows = most.min(fed.last.len() - from);
            self.head(room, states + (from * self.shape.hidden * H) as u64, rows, wide)?;
            each(room, from, rows)?;
        }
        Ok(())
    }

    /// Runs `compute` with buffers that are large enough.
    fn with_room<R>(&mut self, fed: &Fed<'_>, compute: impl FnOnce(&Self, &mut Room) -> Result<R>) -> Result<R> {
        self.check(fed)?;
        let n = fed.tokens.len();
        if self.room.as_ref().is_none_or(|room| room.tokens < n) {
            self.room = None;
            self.gpu.wait()?;
            self.room = Some(self.make_room(n)?);
        }
        let Some(mut room) = self.room.take() else { return Err(Error::Input("no tokens".into())) };
        let done = compute(self, &mut room);
        self.room = Some(room);
        done
    }

    fn check(&self, fed: &Fed<'_>) -> Result<()> {
        let n = fed.tokens.len();
        let inside = |values: &[i32], limit: usize| values.iter().all(|&value| value >= 0 && (value as usize) < limit);
        let first = fed.places.iter().zip(fed.positions).all(|(place, position)| place >= position);
        let fits = fed.positions.len() == n && fed.places.len() == n && first;
        if fits
            && inside(fed.tokens, self.shape.vocab)
            && inside(fed.positions, self.shape.positions())
            && inside(fed.places, self.rows)
            && inside(fed.last, n)
        {
            return Ok(());
        }
        let limits = format!("a vocabulary of {}, {} positions, a cache of {} rows", self.shape.vocab, self.shape.positions(), self.rows);
        Err(Error::Input(format!("tokens, positions or rows of a forward pass of {n} tokens exceed {limits}")))
    }

    fn make_room(&self, n: usize) -> Result<Room> {
        let (gpu, shape) = (&self.gpu, &self.shape);
        Ok(Room {
            tokens: n,
            ids: gpu.alloc(n * F)?,
            positions: gpu.alloc(n * F)?,
            places: gpu.alloc(n * F)?,
            x: gpu.alloc(n * shape.hidden * F)?,
            scales: gpu.alloc(n * F)?,
            normed: gpu.alloc(n * shape.hidden * H)?,
            row: gpu.alloc(n * shape.row() * H)?,
            attended: gpu.alloc(n * shape.heads * shape.dim * H)?,
            gate_up: gpu.alloc(n * 2 * shape.inner * H)?,
            fed: gpu.alloc(n * shape.inner * H)?,
            chosen: gpu.alloc(n * shape.hidden * H)?,
            logits: gpu.alloc(ROWS.min(n).max(2) * shape.vocab * H)?,
            best: gpu.alloc(n * F)?,
        })
    }

    fn weight(&self, index: usize, columns: usize) -> Matrix {
        Matrix::new(self.parameters[index].address(), columns)
    }

    fn layers(&self, room: &mut Room, fed: &Fed<'_>) -> Result<()> {
        let (gpu, shape, n) = (&self.gpu, &self.shape, fed.tokens.len());
        let (d, inner, q, row) = (shape.hidden, shape.inner, shape.heads * shape.dim, shape.row());
        gpu.write(&mut room.ids, 0, fed.tokens)?;
        gpu.write(&mut room.positions, 0, fed.positions)?;
        gpu.write(&mut room.places, 0, fed.places)?;
        gpu.launch("embed", (n, 1), 128, 0, args![self.parameters[0].address(), &room.ids, &room.x, d, 1.0f32])?;
        let half = |buffer: &Buffer, columns: usize| Matrix::new(buffer.at(0, H), columns);
        let x = Matrix::new(room.x.at(0, F), d);
        for (index, (keys, values)) in self.cache.iter().enumerate() {
            let at = shape.layer(index);
            let bias = at.bias.map_or(0, |bias| self.parameters[bias].address());
            self.normed(room, at.input_norm, n)?;
            gpu.product(half(&room.normed, d), self.weight(at.qkv, row), half(&room.row, row), (n, row, d), false, false, 1)?;
            let threads = n * shape.groups * shape.dim / 2;
            gpu.each(
                "append",
                threads,
                args![
                    &room.row,
                    bias,
                    &self.angles,
                    &room.positions,
                    &room.places,
                    keys,
                    values,
                    shape.heads,
                    shape.groups,
                    threads as i64,
                ],
            )?;
            gpu.launch(
                "attend",
                (n, shape.groups),
                128,
                0,
                args![
                    &room.row,
                    bias,
                    &self.angles,
                    &room.positions,
                    &room.places,
                    keys,
                    values,
                    &room.attended,
                    shape.heads,
                    shape.groups,
                    shape.scale,
                ],
            )?;
            gpu.product(half(&room.attended, q), self.weight(at.o, d), x, (n, d, q), true, true, 1)?;
            self.normed(room, at.post_norm, n)?;
            gpu.product(
                half(&room.normed, d),
                self.weight(at.gate_up, 2 * inner),
                half(&room.gate_up, 2 * inner),
                (n, 2 * inner, d),
                false,
                false,
                1,
            )?;
            gpu.each("gated", n * inner, args![&room.gate_up, &room.fed, inner, (n * inner) as i64])?;
            gpu.product(half(&room.fed, inner), self.weight(at.down, d), x, (n, d, inner), true, true, 1)?;
        }
        self.normed(room, shape.final_norm(), n)
    }

    fn normed(&self, room: &Room, norm: usize, n: usize) -> Result<()> {
        let arguments = args![&room.x, self.parameters[norm].address(), &room.normed, &room.scales, self.shape.hidden, self.shape.eps];
        self.gpu.launch("rms", (n, 1), 128, 0, arguments)
    }

    /// The address of the final states of `fed.last`, one row each.
    fn chosen(&self, room: &mut Room, fed: &Fed<'_>) -> Result<u64> {
        let all = fed.last.len() == fed.tokens.len() && fed.last.iter().enumerate().all(|(index, &row)| row as usize == index);
        if all {
            return Ok(room.normed.at(0, H));
        }
        self.gpu.write(&mut room.ids, 0, fed.last)?;
        let arguments = args![&room.normed, &room.ids, &room.chosen, self.shape.hidden];
        self.gpu.launch("gather_rows", (fed.last.len(), 1), 128, 0, arguments)?;
        Ok(room.chosen.at(0, H))
    }

    /// The logits of `rows` states from this address on, f32 if `wide`.
    fn head(&self, room: &Room, states: u64, rows: usize, wide: bool) -> Result<()> {
        let (d, vocab) = (self.shape.hidden, self.shape.vocab);
        let logits = Matrix::new(room.logits.at(0, H), vocab);
        let head = self.weight(self.shape.head(), d).turned();
        self.gpu.product(Matrix::new(states, d), head, logits, (rows, vocab, d), wide, false, 1)
    }
}

/// Rows of logits held at a time.
const ROWS: usize = 1024;
