//! Dense layers one after the other, forward and backward.

use super::kernel::{End, Left, Right, Size, Start, grown, product, product_transposed};
use super::{Layout, padded};
use crate::Result;
use crate::nn::fused::exp::{tanh, vectorized};
use serde::{Deserialize, Serialize};

/// Outputs up to which the gradient of a layer's weights is computed transposed: its rows are padded to
/// [`super::LANES`], and most of the work would go into the padding.
const NARROW: usize = 4;

/// What is applied to every output of a layer. All of them can be differentiated knowing the output alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    Identity,
    /// tanh x.
    #[default]
    Tanh,
    /// max(x, 0); derivative 0 at 0.
    Relu,
}

/// One layer: `act(x·W + b)`. `W` is the parameter `<name>.weight`, `[inputs, outputs]`, `b` is `<name>.bias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    name: String,
    inputs: usize,
    outputs: usize,
    act: Activation,
    weight: usize,
    bias: usize,
}

/// Layers one after the other, as places in a flat array of parameters. It owns no numbers, so that the same stack
/// serves online parameters, target copies and parameters with noise on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    layers: Vec<Dense>,
}

/// Memory of one forward and backward pass; grows to the largest batch it has seen and is then reused.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    rows: usize,
    /// Output of each layer, rows padded.
    outputs: Vec<Vec<f32>>,
    /// Gradient with respect to the output of the layer that is being differentiated, rows padded; as many values of it
    /// as `grad_len` says.
    grad: Vec<f32>,
    grad_len: usize,
    /// The same for the layer before.
    grad_before: Vec<f32>,
    /// Gradient of the weights of a narrow layer, transposed.
    narrow: Vec<f32>,
    pack: Vec<f32>,
}

impl Stack {
    /// Names and shapes of the parameters of layers `prefix0, prefix1, …` with these widths: `sizes[0]` inputs, then
    /// the outputs of each layer. To be part of the [`Layout`] that [`Stack::new`] is given.
    #[must_use]
    pub fn shapes(prefix: &str, sizes: &[usize]) -> Vec<(String, usize, usize)> {
        let layers = sizes.windows(2).enumerate();
        layers
            .flat_map(|(i, w)| [(format!("{prefix}{i}.weight"), w[0], w[1]), (format!("{prefix}{i}.bias"), 1, w[1])])
            .collect()
    }

    /// The layers of [`Stack::shapes`] with `hidden` after all but the last of them and `last` after that.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the layout lacks one of the parameters.
    pub fn new(layout: &Layout, prefix: &str, sizes: &[usize], hidden: Activation, last: Activation) -> Result<Self> {
        let count = sizes.len().saturating_sub(1);
        let layers = (0..count).map(|i| {
            let name = format!("{prefix}{i}");
            let weight = layout.block(&format!("{name}.weight"))?.offset;
            let bias = layout.block(&format!("{name}.bias"))?.offset;
            let act = if i + 1 == count { last } else { hidden };
            Ok(Dense { name, inputs: sizes[i], outputs: sizes[i + 1], act, weight, bias })
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    /// These layers, then those of `other`.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.layers.extend(other.layers);
        self
    }

    /// Width of the input; 0 without layers.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.inputs)
    }

    /// Width of the output; 0 without layers.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |l| l.outputs)
    }

    /// Names of the layers, first to last; parameters are `<name>.weight` and `<name>.bias`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|l| l.name.as_str())
    }

    /// Computes the outputs of all layers for `rows` inputs, `stride` apart; [`Trace::output`] then shows the last.
    ///
    /// # Panics
    /// If `params` or `input` is too short.
    pub fn forward(&self, params: &[f32], input: &[f32], stride: usize, rows: usize, trace: &mut Trace) {
        trace.rows = rows;
        trace.outputs.resize_with(self.layers.len(), Vec::new);
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = trace.outputs.split_at_mut(i);
            let a = match before.last() {
                None => Left { data: input, row: stride, col: 1 },
                Some(data) => Left { data, row: padded(layer.inputs), col: 1 },
            };
            let width = padded(layer.outputs);
            let out = &mut after[0];
            out.resize(rows * width, 0.0);
            let weight = Right { data: layer.weight(params), stride: width };
            let size = Size { m: rows, k: layer.inputs, n: width };
            let end = if layer.act == Activation::Relu { End::Relu } else { End::Keep };
            product(out, (Start::Rows(layer.bias(params)), end), a, weight, size, &mut trace.pack);
            if layer.act == Activation::Tanh {
                tanh_all(out);
            }
        }
    }

    /// Adds to `grads` the gradient of a loss with respect to all parameters, and leaves that with respect to the input
    /// in [`Trace::grad_input`] if `want_input`.
    ///
    /// Before, `trace` must hold the forward pass of the same `params` and `input`, and [`Trace::grad_output`] the
    /// gradient of the loss with respect to the output.
    ///
    /// # Panics
    /// If `trace` holds no forward pass of this stack, or an array is too short.
    pub fn backward(
        &self,
        params: &[f32],
        grads: &mut [f32],
        input: &[f32],
        stride: usize,
        trace: &mut Trace,
        want_input: bool,
    ) {
        assert_eq!(trace.outputs.len(), self.layers.len(), "a forward pass of this stack comes first");
        let rows = trace.rows;
        // Below the last layer, the product that makes a gradient takes the slope of a rectifier as well.
        if let Some(last) = self.layers.last().filter(|last| last.act == Activation::Relu) {
            let len = rows * padded(last.outputs);
            relu_slope(&mut trace.grad[..len], &trace.outputs[self.layers.len() - 1][..len]);
        }
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let width = padded(layer.outputs);
            let grad = &mut trace.grad[..rows * width];
            if layer.act == Activation::Tanh {
                tanh_slope(grad, &trace.outputs[i][..rows * width]);
            }
            let x = match i.checked_sub(1) {
                None => Left { data: input, row: 1, col: stride },
                Some(before) => Left { data: &trace.outputs[before], row: 1, col: padded(layer.inputs) },
            };
            match i.checked_sub(1) {
                Some(before) if layer.outputs <= NARROW => {
                    let x = &trace.outputs[before];
                    layer.add_narrow_gradient(grads, x, grad, rows, (&mut trace.narrow, &mut trace.pack));
                }
                _ => {
                    let size = Size { m: layer.inputs, k: rows, n: width };
                    let right = Right { data: grad, stride: width };
                    product(layer.weight_mut(grads), (Start::Output, End::Keep), x, right, size, &mut trace.pack);
                }
            }
            add_rows(&mut grads[layer.bias..][..width], grad);
            if i > 0 || want_input {
                let before = padded(layer.inputs);
                let grad_before = grown(&mut trace.grad_before, rows * before);
                let left = Left { data: grad, row: width, col: 1 };
                let weight = Right { data: layer.weight(params), stride: width };
                let size = Size { m: rows, k: layer.outputs, n: before };
                let end = match i.checked_sub(1) {
                    Some(i) if self.layers[i].act == Activation::Relu => End::ReluSlope(&trace.outputs[i]),
                    _ => End::Keep,
                };
                product_transposed(grad_before, end, left, (weight, layer.inputs), size, &mut trace.pack);
                std::mem::swap(&mut trace.grad, &mut trace.grad_before);
                trace.grad_len = rows * before;
            }
        }
    }
}

impl Dense {
    fn weight<'a>(&self, params: &'a [f32]) -> &'a [f32] {
        &params[self.weight..self.weight + self.inputs * padded(self.outputs)]
    }

    fn weight_mut<'a>(&self, params: &'a mut [f32]) -> &'a mut [f32] {
        &mut params[self.weight..self.weight + self.inputs * padded(self.outputs)]
    }

    /// Adds to `grads` the gradient of the weights from inputs `x` and the gradient of the outputs, as `xᵀ·grad` but
    /// transposed: rows of as many values as there are inputs instead of outputs. Each value is the same chain of
    /// multiply-adds.
    fn add_narrow_gradient(
        &self,
        grads: &mut [f32],
        x: &[f32],
        grad: &[f32],
        rows: usize,
        (memory, pack): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        let (inputs, width) = (padded(self.inputs), padded(self.outputs));
        let weight = self.weight_mut(grads);
        let transposed = grown(memory, self.outputs * inputs);
        transposed.fill(0.0);
        for (output, row) in transposed.chunks_exact_mut(inputs).enumerate() {
            row.iter_mut().zip(weight.iter().skip(output).step_by(width)).for_each(|(to, from)| *to = *from);
        }
        let left = Left { data: grad, row: 1, col: width };
        let size = Size { m: self.outputs, k: rows, n: inputs };
        product(transposed, (Start::Output, End::Keep), left, Right { data: x, stride: inputs }, size, pack);
        for (output, row) in transposed.chunks_exact(inputs).enumerate() {
            weight.iter_mut().skip(output).step_by(width).zip(row).for_each(|(to, from)| *to = *from);
        }
    }

    fn bias<'a>(&self, params: &'a [f32]) -> &'a [f32] {
        &params[self.bias..self.bias + padded(self.outputs)]
    }
}

impl Trace {
    /// Output of the last layer, rows [`padded`].
    #[must_use]
    pub fn output(&self) -> &[f32] {
        self.outputs.last().map_or(&[], Vec::as_slice)
    }

    /// Adds to the output of the last layer, which must have no activation: its slope is told from its output.
    ///
    /// # Shapes
    /// `other` has the rows of [`Trace::output`].
    pub fn add_output(&mut self, other: &[f32]) {
        if let Some(output) = self.outputs.last_mut() {
            add(output, other);
        }
    }

    /// Adds to the gradient with respect to the output, which [`Trace::grad_output`] has set to zero.
    ///
    /// # Shapes
    /// `grad` has the rows of [`Trace::output`].
    pub fn add_grad_output(&mut self, grad: &[f32]) {
        add(&mut self.grad[..self.grad_len], grad);
    }

    /// Where the gradient with respect to the output belongs: `rows` rows of `padded(outputs)`, all zero.
    pub fn grad_output(&mut self) -> &mut [f32] {
        self.grad_len = self.outputs.last().map_or(0, Vec::len);
        let grad = grown(&mut self.grad, self.grad_len);
        grad.fill(0.0);
        grad
    }

    /// Whether the gradient with respect to the output is zero everywhere, so that a backward pass would add nothing.
    #[must_use]
    pub fn grad_output_is_zero(&self) -> bool {
        self.grad_input().iter().all(|&g| g == 0.0)
    }

    /// Gradient that is at hand: with respect to the output once it was set, with respect to the input after a backward
    /// pass that was asked for it; rows [`padded`].
    #[must_use]
    pub fn grad_input(&self) -> &[f32] {
        &self.grad[..self.grad_len]
    }
}

vectorized! {
    fn tanh_all<'a>(out: &'a mut [f32]) {
        for x in out.iter_mut() {
            *x = tanh(*x);
        }
    }
}

vectorized! {
    /// Multiplies `grad` by the derivative of tanh, whose outputs are `y`.
    fn tanh_slope<'a>(grad: &'a mut [f32], y: &'a [f32]) {
        for (g, &y) in grad.iter_mut().zip(y) {
            *g *= 1.0 - y * y;
        }
    }
}

vectorized! {
    /// Multiplies `grad` by the derivative of a rectifier, whose outputs are `y`.
    fn relu_slope<'a>(grad: &'a mut [f32], y: &'a [f32]) {
        for (g, &y) in grad.iter_mut().zip(y) {
            *g = if y > 0.0 { *g } else { 0.0 };
        }
    }
}

vectorized! {
    fn add<'a>(a: &'a mut [f32], b: &'a [f32]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}

vectorized! {
    /// Adds all rows to `sum`, in order.
    fn add_rows<'a>(sum: &'a mut [f32], rows: &'a [f32]) {
        for row in rows.chunks_exact(sum.len()) {
            for (s, &x) in sum.iter_mut().zip(row) {
                *s += x;
            }
        }
    }
}
