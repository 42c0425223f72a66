//! The trained parameters of a model as a list of slices, in the order in which the model visits them.
//!
//! Of a model with adapters these are the adapters' parameters alone.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use potstill_model::CausalLm;

/// Name, shape and treatment of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// Path in the module, for instance `layers.0.attention.query`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// What it is to the optimizer.
    pub group: ParamGroup,
}

/// What a parameter is to weight decay and to Muon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamGroup {
    /// A matrix between hidden states.
    Matrix,
    /// The embedding, whether or not it is the output head too.
    Embedding,
    /// The output head of its own.
    Head,
    /// A norm's weight or a bias.
    Vector,
}

impl ParamInfo {
    /// Number of elements.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where a visitor is, and whether what it sees there is trained.
#[derive(Debug, Clone, Default)]
struct Place {
    path: Vec<String>,
    adapters_only: bool,
}

impl Place {
    fn new(model: &CausalLm) -> Self {
        Self { path: Vec::new(), adapters_only: model.has_lora() }
    }

    fn trained(&self) -> bool {
        !self.adapters_only || self.path.iter().any(|name| name == "lora")
    }
}

/// Every trained parameter of a model.
#[must_use]
pub fn describe(model: &CausalLm) -> Vec<ParamInfo> {
    let mut visitor = Describe { place: Place::new(model), found: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

struct Describe {
    place: Place,
    found: Vec<ParamInfo>,
}

impl ModuleVisitor for Describe {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.place.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.place.trained() {
            return;
        }
        let name = self.place.path.join(".");
        let group = match D {
            1 => ParamGroup::Vector,
            _ if name.contains("embed") => ParamGroup::Embedding,
            _ if name.contains("lm_head") => ParamGroup::Head,
            _ => ParamGroup::Matrix,
        };
        self.found.push(ParamInfo { name, shape: param.lazy_shape().to_vec(), group });
    }
}

/// A sum of gradients, one per trained parameter, which grows in place.
#[derive(Debug)]
pub struct GradientSum {
    sizes: Vec<usize>,
    /// Index of each layer's first parameter, and one after the last.
    layers: Vec<usize>,
    adapters_only: bool,
    values: Vec<Option<Vec<f32>>>,
}

impl GradientSum {
    /// Nothing yet, for the trained parameters of this model.
    #[must_use]
    pub fn new(model: &CausalLm) -> Self {
        let infos = describe(model);
        let first = infos.iter().position(|info| info.name.starts_with("layers.")).unwrap_or(infos.len());
        let mut layers = vec![first];
        for index in 0..model.layers().len() {
            let prefix = format!("layers.{index}.");
            let count = infos.iter().filter(|info| info.name.starts_with(&prefix)).count();
            layers.push(layers[index] + count);
        }
        let values = infos.iter().map(|_| None).collect();
        Self { sizes: infos.iter().map(ParamInfo::size).collect(), layers, adapters_only: model.has_lora(), values }
    }

    /// Adds the gradients of every trained parameter that took part.
    pub fn add(&mut self, model: &CausalLm, gradients: &mut Gradients) {
        self.visit(model, gradients, 0, |_| true);
    }

    /// Adds those of one layer.
    pub(crate) fn add_layer(&mut self, model: &CausalLm, index: usize, gradients: &mut Gradients) {
        if let Some(layer) = model.layers().get(index) {
            self.visit(layer, gradients, self.layers[index], |_| true);
        }
    }

    /// Adds those of the embedding, the final norm and the head.
    pub(crate) fn add_outside_layers(&mut self, model: &CausalLm, gradients: &mut Gradients) {
        let (from, to) = (self.layers[0], self.layers.last().copied().unwrap_or(0));
        self.visit(model, gradients, 0, |at| at < from || at >= to);
    }

    /// Whether the embedding is among the trained parameters.
    pub(crate) fn wants_embedding(&self) -> bool {
        !self.adapters_only
    }

    fn visit<M: Module>(&mut self, module: &M, gradients: &mut Gradients, first: usize, wanted: impl Fn(usize) -> bool) {
        let place = Place { path: Vec::new(), adapters_only: self.adapters_only };
        module.visit(&mut Add { place, gradients, index: first, wanted, sum: &mut self.values });
    }

    /// The gradients; zeros for a parameter that took no part.
    #[must_use]
    pub fn finish(self) -> Vec<Vec<f32>> {
        self.values.into_iter().zip(self.sizes).map(|(value, size)| value.unwrap_or_else(|| vec![0.0; size])).collect()
    }
}

struct Add<'a, W> {
    place: Place,
    gradients: &'a mut Gradients,
    index: usize,
    wanted: W,
    sum: &'a mut [Option<Vec<f32>>],
}

impl<W: Fn(usize) -> bool> ModuleVisitor for Add<'_, W> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.place.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.place.trained() {
            return;
        }
        let index = self.index;
        self.index += 1;
        if !(self.wanted)(index) {
            return;
        }
        // Reading a gradient costs no copy on the CPU.
        let Some(gradient) = param.val().grad_remove(self.gradients).map(to_vec) else { return };
        match &mut self.sum[index] {
            Some(total) => add(total, &gradient),
            empty => *empty = Some(gradient),
        }
    }
}

/// `total ← total + part`.
pub(crate) fn add(total: &mut [f32], part: &[f32]) {
    for (total, part) in total.iter_mut().zip(part) {
        *total += part;
    }
}

/// The values of a tensor as f32, row-major.
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data: TensorData = tensor.into_data_as::<f32>();
    match data.try_into_vec::<f32>() {
        Ok(values) => values,
        Err(error) => unreachable!("f32 data reads as f32: {error}"),
    }
}

/// Changes every trained parameter in place by `change(index, values)`, in the order of [`describe`].
///
/// The values are moved out of the tensors and back: no copy on the CPU if nothing else holds them.
pub fn update(model: CausalLm, change: &mut dyn FnMut(usize, &mut [f32])) -> CausalLm {
    let place = Place::new(&model);
    model.map(&mut Update { place, index: 0, change })
}

struct Update<'a> {
    place: Place,
    index: usize,
    change: &'a mut dyn FnMut(usize, &mut [f32]),
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.place.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.place.trained() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let device = tensor.device();
        let tracked = tensor.is_require_grad();
        let shape = tensor.shape();
        let mut values = to_vec(tensor.without_autodiff());
        (self.change)(self.index, &mut values);
        self.index += 1;
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device).set_require_grad(tracked);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// The model with every weight rounded to bf16, trained or not.
pub(crate) fn rounded_to_bf16(model: &CausalLm) -> CausalLm {
    model.clone().map(&mut Round)
}

struct Round;

impl ModuleMapper for Round {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (device, tracked, shape) = (tensor.device(), tensor.is_require_grad(), tensor.shape());
        let mut values = to_vec(tensor.without_autodiff());
        values.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device).set_require_grad(tracked);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Copies every trained parameter's values, in the order of [`describe`].
#[must_use]
pub fn copy_values(model: &CausalLm) -> Vec<Vec<f32>> {
    let mut values = Vec::new();
    read(model, Place::new(model), &mut |_, part| values.push(part));
    values
}

/// Hash over the weights that are not trained, which no checkpoint holds; none if all are.
#[must_use]
pub(crate) fn frozen_hash(model: &CausalLm) -> Option<String> {
    let place = Place::new(model);
    if !place.adapters_only {
        return None;
    }
    let mut hash = blake3::Hasher::new();
    let all = Place { adapters_only: false, ..place };
    read(model, all, &mut |name, part| {
        if !name.split('.').any(|part| part == "lora") {
            for value in part {
                hash.update(&value.to_le_bytes());
            }
        }
    });
    Some(hash.finalize().to_hex().to_string())
}

fn read(model: &CausalLm, place: Place, take: &mut dyn FnMut(&str, Vec<f32>)) {
    model.visit(&mut Read { place, take });
}

struct Read<'a> {
    place: Place,
    take: &'a mut dyn FnMut(&str, Vec<f32>),
}

impl ModuleVisitor for Read<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.place.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.place.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.place.trained() {
            (self.take)(&self.place.path.join("."), to_vec(param.val()));
        }
    }
}
