//! Gradients layer by layer, so that only one layer's activations exist at a time (Chen et al. 2016, arXiv:1604.06174).
//!
//! The forward pass keeps what goes into each layer and nothing else. The backward pass goes from the last layer to the
//! first, computes each layer once more, this time with its graph, and hands the gradient of its input on. One forward
//! pass more in time, and activations of one layer instead of all.

use burn::module::Module;
use burn::tensor::Tensor;
use potstill_model::{CausalLm, Keep};

use crate::batch::MicroBatch;
use crate::engine::{Engine, LossSum, Pass};
use crate::error::Result;
use crate::params::GradientSum;

impl Engine {
    /// Adds a micro-batch's gradient to `sum`, and gives its loss.
    pub(crate) fn checkpointed_gradient(
        &self,
        model: &CausalLm,
        batch: &MicroBatch,
        pass: &Pass,
        sum: &mut GradientSum,
    ) -> Result<LossSum> {
        let plain = model.valid();
        let layers = plain.layers().len();
        let dropout = self.dropout(batch, pass);
        let mut x = self.embed(&plain, batch, pass)?;
        let mut inputs = Vec::with_capacity(layers);
        for index in 0..layers {
            inputs.push(x.clone());
            x = plain.layer(index, x, &batch.layout, dropout, Keep::More);
        }
        drop(plain);
        let top = leaf(x);
        let (loss, counted) = self.loss(model, model.finish(top.clone()), batch, pass)?;
        let mut gradients = loss.mul_scalar(pass.scale).backward();
        let mut slope = top.grad_remove(&mut gradients);
        sum.add_outside_layers(model, &mut gradients);
        drop(gradients);
        for index in (0..layers).rev() {
            let (Some(dy), Some(input)) = (slope.take(), inputs.pop()) else { break };
            let x = leaf(input);
            let y = model.layer(index, x.clone(), &batch.layout, dropout, Keep::More);
            let mut gradients = (y * Tensor::from_inner(dy)).sum().backward();
            slope = x.grad_remove(&mut gradients);
            sum.add_layer(model, index, &mut gradients);
        }
        if let (Some(dy), true) = (slope, sum.wants_embedding()) {
            let x = self.embed(model, batch, pass)?;
            let mut gradients = (x * Tensor::from_inner(dy)).sum().backward();
            sum.add_outside_layers(model, &mut gradients);
        }
        Ok(counted)
    }
}

fn leaf(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(x).require_grad()
}
