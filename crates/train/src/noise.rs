//! NEFTune: noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914).

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::batch::MicroBatch;

/// Uniform noise within ±α/√(length·width) on every embedded token, `[tokens, width]`. A document's noise depends on
/// the seed, the step and the document alone: not on what else is in its micro-batch.
pub(crate) fn embedding_noise(batch: &MicroBatch, width: usize, alpha: f64, seed: u64, device: &Device) -> Tensor<2> {
    let mut noise = vec![0.0_f32; batch.layout.tokens() * width];
    for (range, &document) in batch.layout.documents().iter().zip(&batch.documents) {
        let bound = (alpha / ((range.len() * width) as f64).sqrt()) as f32;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(document as u64 + 1);
        noise[range.start * width..range.end * width].iter_mut().for_each(|x| *x = rng.random_range(-bound..=bound));
    }
    Tensor::from_data(TensorData::new(noise, [batch.layout.tokens(), width]), device)
}
