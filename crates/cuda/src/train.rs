//! A training step: forward and backward pass over micro-batches, gradients added up, AdamW.

mod adapters;
mod arena;
mod attention;
mod room;

pub use self::adapters::Adapters;
use self::{
    adapters::{DOWN, GATE_UP, OUTPUT, QKV, Side},
    arena::Arena,
    room::Room,
};
use crate::gpu::{Buffer, Gpu, Matrix, args};
use crate::shape::Shape;
use crate::{Error, Result};

/// Blocks that add up squares.
const PARTS: usize = 1024;

const F: usize = size_of::<f32>();
const H: usize = size_of::<u16>();

/// One forward and backward pass: rows of equal length, documents packed into them, what is left of a row is padding.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Rows.
    pub rows: usize,
    /// Tokens per row.
    pub len: usize,
    /// `[rows·len]` tokens.
    pub tokens: &'a [i32],
    /// `[rows·len]`: where in its row each token's document starts; `len` for padding.
    pub starts: &'a [i32],
    /// The tokens (flat index) whose next token is trained.
    pub selected: &'a [i32],
    /// The token to predict at each of them.
    pub targets: &'a [u32],
    /// The weight of each one's loss.
    pub weights: &'a [f32],
}

/// Coefficients of an AdamW step (Loshchilov and Hutter 2019), in the form of `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Factor on the gradients: of clipping.
    pub scale: f32,
    /// Factor on decayed values.
    pub keep: f32,
    /// Learning rate over the first moment's bias correction.
    pub step_size: f32,
    /// Root of the second moment's bias correction.
    pub root_correction: f32,
    /// Decay rates of the moments.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// A model in training, with its optimizer, on one GPU.
pub struct Trainer {
    gpu: Gpu,
    shape: Shape,
    base: Arena,
    /// With adapters they alone are trained.
    adapters: Option<(Adapters, Arena)>,
    /// One of each for every element that is trained.
    first: Buffer,
    second: Buffer,
    gradients: Buffer,
    angles: Buffer,
    parts: Buffer,
    /// Where the gradient of a frozen norm goes.
    unread: Buffer,
    room: Option<Room>,
}

/// First and second moments of every trained parameter.
pub type Moments<'a> = (&'a [Vec<f32>], &'a [Vec<f32>]);

impl Trainer {
    /// Takes a model's parameters, in the order of [`Shape`], to GPU `number`, and its moments if it goes on. With adapters
    /// and their parameters the model is frozen and they are trained.
    ///
    /// # Errors
    /// When the shape is not supported, a size is wrong, there is no such GPU, or it has too little memory.
    pub fn new(
        number: usize,
        shape: Shape,
        values: &[Vec<f32>],
        adapters: Option<(Adapters, &[Vec<f32>])>,
        moments: Option<Moments<'_>>,
    ) -> Result<Self> {
        shape.check()?;
        let gpu = Gpu::new(number, shape.dim, shape.group())?;
        let base = Arena::new(&gpu, &shape.sizes(), values)?;
        let of_adapters = |(adapters, values): (Adapters, &[Vec<f32>])| {
            adapters.check()?;
            let arena = Arena::new(&gpu, &adapters.sizes(&shape), values)?;
            Ok::<_, Error>((adapters, arena))
        };
        let adapters = adapters.map(of_adapters).transpose()?;
        let trained = adapters.as_ref().map_or(&base, |(_, arena)| arena);
        let (first, second) = moments.unwrap_or_default();
        let (first, second, gradients) = (trained.beside(&gpu, first)?, trained.beside(&gpu, second)?, trained.beside(&gpu, &[])?);
        let (angles, parts, unread) = (gpu.upload(&shape.angles)?, gpu.zeros(PARTS * F)?, gpu.zeros(shape.hidden * F)?);
        Ok(Self { gpu, shape, base, adapters, first, second, gradients, angles, parts, unread, room: None })
    }

    /// What is trained.
    fn trained(&self) -> &Arena {
        self.adapters.as_ref().map_or(&self.base, |(_, arena)| arena)
    }

    /// Address of the gradient of a parameter of what is trained.
    fn slope_of(&self, trained: &Arena, parameter: usize) -> u64 {
        self.gradients.at(trained.places[parameter].0, F)
    }

    /// Address of the gradient of a parameter of the model, unless it is frozen.
    fn gradient_of(&self, parameter: usize) -> Option<u64> {
        self.adapters.is_none().then(|| self.slope_of(&self.base, parameter))
    }

    fn weight(&self, parameter: usize, columns: usize) -> Matrix {
        Matrix::new(self.base.half(parameter), columns)
    }

    /// Adds `xᵀ·dy` to the gradient of a matrix of the model, unless it is frozen; sizes are its rows and columns and the tokens.
    fn weigh(&self, x: Matrix, dy: Matrix, parameter: usize, (rows, columns, n): (usize, usize, usize)) -> Result<()> {
        let Some(address) = self.gradient_of(parameter) else { return Ok(()) };
        self.gpu.product(x.turned(), dy, Matrix::new(address, columns), (rows, columns, n), true, true, 1)
    }

    /// Sum of weighted losses, and the norm of the gradient of (that sum ÷ trained tokens) over all parameters together.
    /// The gradient stays for [`update`](Self::update).
    ///
    /// # Errors
    /// When a batch does not fit together or memory is short.
    pub fn gradient(&mut self, batches: &[Batch<'_>]) -> Result<(f64, f64)> {
        let trained: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        self.gpu.clear(&mut self.gradients)?;
        let mut loss = 0.0;
        for batch in batches.iter().filter(|batch| !batch.targets.is_empty()) {
            let mut room = self.room_for(batch)?;
            let done = self.pass(&mut room, batch, 1.0 / trained as f32);
            self.room = Some(room);
            loss += done?;
        }
        let total = self.trained().total;
        let blocks = PARTS.min(total.div_ceil(256));
        self.gpu.launch("square_sums", (blocks, 1), 256, 0, args![&self.gradients, &self.parts, total as i64])?;
        let parts = self.gpu.read::<f32>(&self.parts, 0, blocks)?;
        Ok((loss, parts.into_iter().map(f64::from).sum::<f64>().sqrt()))
    }

    /// The sum of weighted losses, and how many targets are the most probable token; without a gradient.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub fn loss(&mut self, batch: &Batch<'_>) -> Result<(f64, u64)> {
        let mut room = self.room_for(batch)?;
        let done = self.forward(&mut room, batch).and_then(|()| self.head(&mut room, batch, None));
        self.room = Some(room);
        done
    }

    /// One step by the gradient; `decays` says of each parameter whether weight decay applies.
    ///
    /// # Errors
    /// When the device fails.
    pub fn update(&mut self, step: &AdamW, decays: &[bool]) -> Result<()> {
        let trained = self.trained();
        for (parameter, (&(at, size), &decay)) in trained.places.iter().zip(decays).enumerate() {
            let keep = if decay { step.keep } else { 1.0 };
            let [beta1, beta2] = step.betas;
            self.gpu.each(
                "adamw",
                size,
                args![
                    trained.float(parameter),
                    self.first.at(at, F),
                    self.second.at(at, F),
                    self.gradients.at(at, F),
                    trained.half(parameter),
                    size as i64,
                    step.scale,
                    keep,
                    step.step_size,
                    step.root_correction,
                    1.0 - beta1,
                    beta2,
                    1.0 - beta2,
                    step.eps,
                ],
            )?;
        }
        Ok(())
    }

    fn copied(&self, arena: &Buffer) -> Result<Vec<Vec<f32>>> {
        self.trained().places.iter().map(|&(at, size)| self.gpu.read(arena, at, size)).collect()
    }

    /// The trained parameters in f32.
    ///
    /// # Errors
    /// When the device fails.
    pub fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.copied(&self.trained().values)
    }

    /// First and second moments.
    ///
    /// # Errors
    /// When the device fails.
    pub fn moments(&self) -> Result<(Vec<Vec<f32>>, Vec<Vec<f32>>)> {
        Ok((self.copied(&self.first)?, self.copied(&self.second)?))
    }

    /// Bytes of GPU memory in use, by whomever, and in all.
    ///
    /// # Errors
    /// When the device fails.
    pub fn memory(&self) -> Result<(usize, usize)> {
        let (free, total) = self.gpu.memory()?;
        Ok((total - free, total))
    }

    /// Buffers for this micro-batch: those of the last one if its shape is the same.
    fn room_for(&mut self, batch: &Batch<'_>) -> Result<Room> {
        let (rows, len, n) = (batch.rows, batch.len, batch.rows * batch.len);
        let fits = batch.tokens.len() == n && batch.starts.len() == n;
        if !fits || batch.selected.len() != batch.targets.len() || batch.targets.len() != batch.weights.len() {
            return Err(Error::Input(format!("a batch of {rows}×{len} has {} tokens, {} starts", batch.tokens.len(), batch.starts.len())));
        }
        if len > self.shape.positions() {
            return Err(Error::Input(format!("rows of {len} tokens, but the model has {} positions", self.shape.positions())));
        }
        match self.room.take() {
            Some(room) if (room.rows, room.len) == (rows, len) => Ok(room),
            other => {
                drop(other);
                self.gpu.wait()?;
                self.make_room(rows, len)
            }
        }
    }

    fn pass(&self, room: &mut Room, batch: &Batch<'_>, factor: f32) -> Result<f64> {
        self.forward(room, batch)?;
        let (loss, _) = self.head(room, batch, Some(factor))?;
        self.backward(room)?;
        Ok(loss)
    }

    fn forward(&self, room: &mut Room, batch: &Batch<'_>) -> Result<()> {
        let (gpu, shape, n) = (&self.gpu, &self.shape, room.rows * room.len);
        let (d, inner, q) = (shape.hidden, shape.inner, shape.heads * shape.dim);
        let positions: Vec<i32> = batch.starts.iter().enumerate().map(|(at, &start)| ((at % room.len) as i32 - start).max(0)).collect();
        gpu.write(&mut room.scratch.ids, 0, batch.tokens)?;
        gpu.write(&mut room.scratch.positions, 0, &positions)?;
        gpu.write(&mut room.scratch.starts, 0, batch.starts)?;
        let first = room.layers.first().map_or(&room.scratch.last, |layer| &layer.input);
        gpu.launch("embed", (n, 1), 128, 0, args![self.base.half(0), &room.scratch.ids, first, d, 1.0f32])?;
        for index in 0..shape.layers {
            let at = shape.layer(index);
            let (layers, later) = room.layers.split_at_mut(index + 1);
            let saved = &mut layers[index];
            self.normed(&saved.input, at.input_norm, &saved.input_normed, &saved.input_scales, n)?;
            let row = Matrix::new(room.scratch.row.at(0, H), shape.row());
            let normed = Matrix::new(saved.input_normed.at(0, H), d);
            gpu.product(normed, self.weight(at.qkv, shape.row()), row, (n, shape.row(), d), false, false, 1)?;
            let low = &saved.low;
            self.adapt(&Side { layer: index, product: QKV, x: normed, y: row, low, n }, false)?;
            self.attention(saved, &room.scratch, at, room.rows, room.len)?;
            gpu.copy(&saved.input, &mut saved.middle, n * d * F)?;
            let middle = Matrix::new(saved.middle.at(0, F), d);
            let attended = Matrix::new(saved.attended.at(0, H), q);
            gpu.product(attended, self.weight(at.o, d), middle, (n, d, q), true, true, 1)?;
            let low = &saved.low;
            self.adapt(&Side { layer: index, product: OUTPUT, x: attended, y: middle, low, n }, true)?;
            self.normed(&saved.middle, at.post_norm, &saved.middle_normed, &saved.middle_scales, n)?;
            let gate_up = Matrix::new(saved.gate_up.at(0, H), 2 * inner);
            let normed = Matrix::new(saved.middle_normed.at(0, H), d);
            gpu.product(normed, self.weight(at.gate_up, 2 * inner), gate_up, (n, 2 * inner, d), false, false, 1)?;
            self.adapt(&Side { layer: index, product: GATE_UP, x: normed, y: gate_up, low, n }, false)?;
            gpu.each("gated", n * inner, args![&saved.gate_up, &saved.fed, inner, (n * inner) as i64])?;
            let next = later.first_mut().map_or(&mut room.scratch.last, |layer| &mut layer.input);
            gpu.copy(&saved.middle, next, n * d * F)?;
            let next = Matrix::new(next.at(0, F), d);
            let fed = Matrix::new(saved.fed.at(0, H), inner);
            gpu.product(fed, self.weight(at.down, d), next, (n, d, inner), true, true, 1)?;
            self.adapt(&Side { layer: index, product: DOWN, x: fed, y: next, low, n }, true)?;
        }
        self.normed(&room.scratch.last, shape.final_norm(), &room.scratch.hidden, &room.scratch.last_scales, n)
    }

    fn normed(&self, x: &Buffer, norm: usize, y: &Buffer, scales: &Buffer, n: usize) -> Result<()> {
        let (d, eps) = (self.shape.hidden, self.shape.eps);
        self.gpu.launch("rms", (n, 1), 128, 0, args![x, self.base.float(norm), y, scales, d, eps])
    }

    /// Losses of the selected tokens, and without `factor` how many are predicted right; with it also the gradients of
    /// hidden states (in `slope_half`) and head.
    fn head(&self, room: &mut Room, batch: &Batch<'_>, factor: Option<f32>) -> Result<(f64, u64)> {
        let (gpu, shape, scratch) = (&self.gpu, &self.shape, &mut room.scratch);
        let (d, vocab, count) = (shape.hidden, shape.vocab, batch.selected.len());
        let chunk = self.chunk(room.rows * room.len);
        let selected = gpu.upload(batch.selected)?;
        let targets = gpu.upload(batch.targets)?;
        let weights = gpu.upload(batch.weights)?;
        let (losses, best) = (gpu.alloc(count * F)?, gpu.zeros(count * F)?);
        if factor.is_some() {
            gpu.clear(&mut scratch.slope_half)?;
        }
        let table = self.weight(shape.head(), d);
        let logits = Matrix::new(scratch.logits.at(0, H), vocab);
        let (chosen, dchosen) = (Matrix::new(scratch.chosen.at(0, H), d), Matrix::new(scratch.dchosen.at(0, H), d));
        for from in (0..count).step_by(chunk) {
            let rows = chunk.min(count - from);
            gpu.launch("gather_rows", (rows, 1), 128, 0, args![&scratch.hidden, selected.at(from, F), &scratch.chosen, d])?;
            gpu.product(chosen, table.turned(), logits, (rows, vocab, d), false, false, 1)?;
            if factor.is_none() {
                gpu.launch("argmax", (rows, 1), 512, 0, args![&scratch.logits, best.at(from, F), vocab])?;
            }
            gpu.launch(
                "cross_entropy",
                (rows, 1),
                512,
                0,
                args![&scratch.logits, targets.at(from, F), weights.at(from, F), losses.at(from, F), vocab, factor.unwrap_or(0.0),],
            )?;
            if factor.is_some() {
                gpu.product(logits, table, dchosen, (rows, d, vocab), false, false, 1)?;
                self.weigh(logits, chosen, shape.head(), (vocab, d, rows))?;
                gpu.launch("scatter_rows", (rows, 1), 128, 0, args![&scratch.dchosen, selected.at(from, F), &scratch.slope_half, d])?;
            }
        }
        let loss = gpu.read::<f32>(&losses, 0, count)?.into_iter().map(f64::from).sum();
        let correct = match factor {
            Some(_) => 0,
            None => gpu.read::<u32>(&best, 0, count)?.iter().zip(batch.targets).filter(|(best, target)| best == target).count(),
        };
        Ok((loss, correct as u64))
    }

    fn backward(&self, room: &mut Room) -> Result<()> {
        let (gpu, shape, n, len) = (&self.gpu, &self.shape, room.rows * room.len, room.len);
        let (d, inner, q, row) = (shape.hidden, shape.inner, shape.heads * shape.dim, shape.row());
        let scratch = &mut room.scratch;
        gpu.clear(&mut scratch.slope)?;
        self.norm_backward(&scratch.last, shape.final_norm(), &scratch.last_scales, &scratch.slope_half, &scratch.slope, n)?;
        let half = |buffer: &Buffer, columns: usize| Matrix::new(buffer.at(0, H), columns);
        for index in (0..shape.layers).rev() {
            let (at, saved) = (shape.layer(index), &room.layers[index]);
            // The feed-forward block.
            gpu.each("cast", (n * d).div_ceil(4), args![&scratch.slope, &scratch.slope_half, (n * d) as i64])?;
            let slope = half(&scratch.slope_half, d);
            let side = |product, x, y| Side { layer: index, product, x, y, low: &saved.low, n };
            let (fed, dfed) = (half(&saved.fed, inner), half(&scratch.inner, inner));
            gpu.product(slope, self.weight(at.down, d).turned(), dfed, (n, inner, d), false, false, 1)?;
            self.weigh(fed, slope, at.down, (inner, d, n))?;
            self.adapt_backward(&side(DOWN, fed, slope), dfed, &scratch.low)?;
            gpu.each("gated_backward", n * inner, args![&saved.gate_up, &scratch.inner, &scratch.wide, inner, (n * inner) as i64])?;
            let wide = half(&scratch.wide, 2 * inner);
            let (normed, dnormed) = (half(&saved.middle_normed, d), half(&scratch.normed, d));
            gpu.product(wide, self.weight(at.gate_up, 2 * inner).turned(), dnormed, (n, d, 2 * inner), false, false, 1)?;
            self.weigh(normed, wide, at.gate_up, (d, 2 * inner, n))?;
            self.adapt_backward(&side(GATE_UP, normed, wide), dnormed, &scratch.low)?;
            self.norm_backward(&saved.middle, at.post_norm, &saved.middle_scales, &scratch.normed, &scratch.slope, n)?;
            // Attention.
            gpu.each("cast", (n * d).div_ceil(4), args![&scratch.slope, &scratch.slope_half, (n * d) as i64])?;
            let (attended, dheads) = (half(&saved.attended, q), half(&scratch.dheads, q));
            gpu.product(slope, self.weight(at.o, d).turned(), dheads, (n, q, d), false, false, 1)?;
            self.weigh(attended, slope, at.o, (q, d, n))?;
            self.adapt_backward(&side(OUTPUT, attended, slope), dheads, &scratch.low)?;
            self.attention_backward(saved, scratch, room.rows, len)?;
            let dqkv = half(&scratch.row, row);
            if let Some(dbias) = at.bias.and_then(|bias| self.gradient_of(bias)) {
                gpu.launch("column_sums", (row.div_ceil(128), 64), 128, 0, args![&scratch.row, dbias, row, n])?;
            }
            let normed = half(&saved.input_normed, d);
            gpu.product(dqkv, self.weight(at.qkv, row).turned(), dnormed, (n, d, row), false, false, 1)?;
            self.weigh(normed, dqkv, at.qkv, (d, row, n))?;
            self.adapt_backward(&side(QKV, normed, dqkv), dnormed, &scratch.low)?;
            self.norm_backward(&saved.input, at.input_norm, &saved.input_scales, &scratch.normed, &scratch.slope, n)?;
        }
        let Some(dtable) = self.gradient_of(0) else { return Ok(()) };
        gpu.launch("embed_backward", (n, 1), 128, 0, args![&scratch.ids, &scratch.slope, dtable, d, 1.0f32])
    }

    fn norm_backward(&self, x: &Buffer, norm: usize, scales: &Buffer, dy: &Buffer, slope: &Buffer, n: usize) -> Result<()> {
        let d = self.shape.hidden;
        let dnorm = self.gradient_of(norm).unwrap_or_else(|| self.unread.at(0, F));
        let arguments = args![x, self.base.float(norm), scales, dy, slope, dnorm, d, n];
        self.gpu.launch("rms_backward", (n.min(1024), 1), 128, d * F, arguments)
    }
}
