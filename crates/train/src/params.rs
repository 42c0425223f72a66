//! The parameters of a model as a list of slices, in the order in which the model visits them.

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
    /// Whether weight decay applies: to matrices other than embeddings.
    pub decay: bool,
}

impl ParamInfo {
    /// Number of elements.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every trainable parameter of a model.
#[must_use]
pub fn describe(model: &CausalLm) -> Vec<ParamInfo> {
    let mut visitor = Describe { path: Vec::new(), found: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

struct Describe {
    path: Vec<String>,
    found: Vec<ParamInfo>,
}

impl ModuleVisitor for Describe {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let decay = D >= 2 && !name.contains("embed");
        self.found.push(ParamInfo { name, shape: param.lazy_shape().to_vec(), decay });
    }
}

/// Gradients of every parameter, in the order of [`describe`]; zeros for a parameter that took no part.
///
/// Reading them costs no copy on the CPU.
#[must_use]
pub fn take_gradients(model: &CausalLm, mut gradients: Gradients) -> Vec<Vec<f32>> {
    let mut visitor = TakeGradients { gradients: &mut gradients, taken: Vec::new() };
    model.visit(&mut visitor);
    visitor.taken
}

struct TakeGradients<'a> {
    gradients: &'a mut Gradients,
    taken: Vec<Vec<f32>>,
}

impl ModuleVisitor for TakeGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let size = param.lazy_shape().num_elements();
        let gradient = param.val().grad_remove(self.gradients);
        self.taken.push(gradient.map_or_else(|| vec![0.0; size], to_vec));
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

/// Changes every parameter in place by `change(index, values)`, in the order of [`describe`].
///
/// The values are moved out of the tensors and back: no copy on the CPU if nothing else holds them.
pub fn update(model: CausalLm, change: &mut dyn FnMut(usize, &mut [f32])) -> CausalLm {
    model.map(&mut Update { index: 0, change })
}

struct Update<'a> {
    index: usize,
    change: &'a mut dyn FnMut(usize, &mut [f32]),
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
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

/// Copies every parameter's values, in the order of [`describe`].
#[must_use]
pub fn copy_values(model: &CausalLm) -> Vec<Vec<f32>> {
    let mut visitor = Copy { values: Vec::new() };
    model.visit(&mut visitor);
    visitor.values
}

struct Copy {
    values: Vec<Vec<f32>>,
}

impl ModuleVisitor for Copy {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.push(to_vec(param.val()));
    }
}
