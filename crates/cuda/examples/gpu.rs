//! What `tests/gpu/native.py` measures. Folders hold `shape.txt`, `parameters.bin`, `angles.bin` (f32), made by it.
//!
//! `gpu train FOLDER STEPS ROWS LEN MICRO_ROWS`: `tokens.bin` (i32, `[steps, rows, len + 1]`) and `rates.bin` (f32 learning
//! rates); writes `curve.txt` (loss, gradient norm, seconds, GPU memory per step) and `trained.bin`.
//!
//! `gpu lora FOLDER STEPS ROWS LEN MICRO_ROWS`: the same with adapters of rank 16 and scale 2 from `adapters.bin`.
//!
//! `gpu generate FOLDER PROMPTS PROMPT_TOKENS NEW_TOKENS BATCH`: `prompts.bin` (i32); writes `generated.bin`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test, bench or example may fail and print"
)]

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use potstill_cuda::{AdamW, Adapters, Batch, Decoder, Fed, Shape, Trainer};

fn floats(path: &Path) -> Vec<f32> {
    std::fs::read(path).unwrap().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn ints(path: &Path) -> Vec<i32> {
    std::fs::read(path).unwrap().chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn shape(folder: &Path) -> Shape {
    let text = std::fs::read_to_string(folder.join("shape.txt")).unwrap();
    let number = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name)).expect(name);
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let size = |name: &str| number(name) as usize;
    Shape {
        vocab: size("vocab"),
        hidden: size("hidden"),
        inner: size("inner"),
        layers: size("layers"),
        heads: size("heads"),
        groups: size("groups"),
        dim: size("dim"),
        bias: size("bias") == 1,
        tied: size("tied") == 1,
        eps: number("eps") as f32,
        scale: 1.0 / number("dim").sqrt() as f32,
        angles: floats(&folder.join("angles.bin")),
    }
}

/// The parameters of a file, one after the other.
fn parameters(file: &Path, sizes: Vec<usize>) -> impl Iterator<Item = Vec<f32>> + use<> {
    use std::io::Read;
    let mut file = std::io::BufReader::with_capacity(1 << 22, std::fs::File::open(file).unwrap());
    sizes.into_iter().map(move |size| {
        let mut bytes = vec![0; size * 4];
        file.read_exact(&mut bytes).unwrap();
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, folder, numbers @ ..] = &arguments[..] else { panic!("train|lora|generate FOLDER NUMBERS…") };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let numbers: [usize; 4] = numbers.try_into().expect("four numbers");
    match mode.as_str() {
        "train" => train(Path::new(folder), numbers, None),
        "lora" => train(Path::new(folder), numbers, Some(Adapters { rank: 16, scale: 2.0, targets: [true; 7] })),
        "generate" => generate(Path::new(folder), numbers),
        other => panic!("{other} is none of train, lora and generate"),
    }
}

fn train(folder: &Path, [steps, rows, len, micro]: [usize; 4], adapters: Option<Adapters>) {
    let began = Instant::now();
    let shape = shape(folder);
    let values: Vec<Vec<f32>> = parameters(&folder.join("parameters.bin"), shape.sizes()).collect();
    let (tokens, rates) = (ints(&folder.join("tokens.bin")), floats(&folder.join("rates.bin")));
    // Matrices other than the embedding.
    let of_adapters =
        adapters.as_ref().map(|adapters| parameters(&folder.join("adapters.bin"), adapters.sizes(&shape)).collect::<Vec<_>>());
    let decays: Vec<bool> = match &of_adapters {
        Some(values) => vec![true; values.len()],
        None => shape.sizes().iter().enumerate().map(|(index, &size)| index > 0 && size > 4 * shape.hidden.max(shape.inner)).collect(),
    };
    let mut trainer = Trainer::new(0, shape, &values, adapters.zip(of_adapters.as_deref()), None).unwrap();
    println!("model on the GPU after {:.2} s", began.elapsed().as_secs_f64());
    let starts = vec![0i32; micro * len];
    let selected: Vec<i32> = (0..(micro * len) as i32).collect();
    let weights = vec![1.0f32; micro * len];
    let mut curve = String::new();
    for (step, (tokens, &rate)) in tokens.chunks_exact(rows * (len + 1)).zip(&rates).take(steps).enumerate() {
        let began = Instant::now();
        let inputs: Vec<i32> = tokens.chunks_exact(len + 1).flat_map(|row| row[..len].to_vec()).collect();
        let targets: Vec<u32> = tokens.chunks_exact(len + 1).flat_map(|row| row[1..].to_vec()).map(|id| id as u32).collect();
        let batches: Vec<Batch<'_>> = inputs
            .chunks_exact(micro * len)
            .zip(targets.chunks_exact(micro * len))
            .map(|(tokens, targets)| Batch { rows: micro, len, tokens, starts: &starts, selected: &selected, targets, weights: &weights })
            .collect();
        let (loss, norm) = trainer.gradient(&batches).unwrap();
        let time = step as f64 + 1.0;
        let step_size = f64::from(rate) / (1.0 - 0.9f64.powf(time));
        let coefficients = AdamW {
            scale: (1.0 / (norm + 1e-6)).min(1.0) as f32,
            keep: 1.0 - rate * 0.1,
            step_size: step_size as f32,
            root_correction: (1.0 - 0.95f64.powf(time)).sqrt() as f32,
            betas: [0.9, 0.95],
            eps: 1e-8,
        };
        trainer.update(&coefficients, &decays).unwrap();
        let (used, _) = trainer.memory().unwrap();
        let seconds = began.elapsed().as_secs_f64();
        let loss = loss / (rows * len) as f64;
        writeln!(curve, "{loss} {norm} {seconds} {used}").unwrap();
        if step < 3 || step % 20 == 19 {
            println!(
                "step {}: loss {loss:.5}, gradient norm {norm:.4}, {seconds:.4} s, {:.2} GiB",
                step + 1,
                used as f64 / 1024f64.powi(3)
            );
        }
    }
    std::fs::write(folder.join("curve.txt"), curve).unwrap();
    let trained: Vec<u8> = trainer.values().unwrap().iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.join("trained.bin"), trained).unwrap();
}

fn generate(folder: &Path, [count, length, new, batch]: [usize; 4]) {
    let began = Instant::now();
    let shape = shape(folder);
    let capacity = length + new;
    let source = parameters(&folder.join("parameters.bin"), shape.sizes());
    let mut decoder = Decoder::new(0, shape, source, batch * capacity).unwrap();
    println!("load_seconds {:.3}", began.elapsed().as_secs_f64());
    let prompts = ints(&folder.join("prompts.bin"));
    let mut run = |prompts: &[i32], new: usize| -> Vec<i32> {
        let batch = prompts.len() / length;
        let mut out = vec![0; batch * new];
        let mut next = vec![0; batch];
        // Prompts first, a few at a time.
        for from in (0..batch).step_by(64) {
            let rows = 64.min(batch - from);
            let positions: Vec<i32> = (0..rows * length).map(|at| (at % length) as i32).collect();
            let places: Vec<i32> = (0..rows * length).map(|at| ((from + at / length) * capacity + at % length) as i32).collect();
            let last: Vec<i32> = (0..rows).map(|row| ((row + 1) * length - 1) as i32).collect();
            let tokens = &prompts[from * length..(from + rows) * length];
            next[from..from + rows]
                .copy_from_slice(&decoder.best(&Fed { tokens, positions: &positions, places: &places, last: &last }).unwrap());
        }
        let last: Vec<i32> = (0..batch as i32).collect();
        for step in 0..new {
            for (row, &token) in next.iter().enumerate() {
                out[row * new + step] = token;
            }
            if step + 1 == new {
                break;
            }
            let position = length + step;
            let positions = vec![position as i32; batch];
            let places: Vec<i32> = (0..batch).map(|row| (row * capacity + position) as i32).collect();
            next = decoder.best(&Fed { tokens: &next, positions: &positions, places: &places, last: &last }).unwrap();
        }
        out
    };
    run(&prompts[..batch * length], 4);
    let began = Instant::now();
    let mut all = Vec::new();
    for part in prompts[..count * length].chunks_exact(batch * length) {
        all.extend(run(part, new));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("seconds {seconds:.3}\ntokens_per_second {:.0}", (count * new) as f64 / seconds);
    let bytes: Vec<u8> = all.iter().flat_map(|token| token.to_le_bytes()).collect();
    std::fs::write(folder.join("generated.bin"), bytes).unwrap();
}
