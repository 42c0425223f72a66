//! Supervised fine-tuning: render and mask, batches, the training loop, checkpoints.
