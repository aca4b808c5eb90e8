//! How fused kernels take part in candle's graph without paying for its sums.
//!
//! candle adds every gradient that an operation returns to a fresh tensor of zeros: three passes over memory and two
//! allocations for each activation of the model, about a fifth of a fine-tuning step. So a kernel enters the graph
//! as two nodes:
//!
//! - a *handle* of one value, whose backward pass runs the kernel's. Its parents are the handles of those inputs that
//!   kernels made, and the inputs themselves where they are parameters or came from candle;
//! - the *output*, a [`Bridge`] above the handle, which is what callers see.
//!
//! Kernels pass gradients from handle to handle through a [`Slot`], summed in place, and give candle a zero of one
//! value to add. Operations of candle use the output; the bridge moves their gradient into the slot. Either way the
//! graph is complete: plain `Tensor::backward` gives the right gradients, and nothing is cut.
//!
//! Which handle belongs to an input is looked up by tensor id in a table of this thread; what is not found (made on
//! another thread, reshaped by candle) goes through candle, which is right, only slower. Slots belong to the graph,
//! so one graph must not run two backward passes at the same time.

use super::threads::for_each_chunk;
use super::{exp::vectorized, vars};
use crate::nn::RowGradient;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, TensorId, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a kernel has to say about one of its inputs.
pub(super) enum Grad {
    /// Nobody wants it.
    None,
    /// The gradient, in the row-major order of the input.
    Own(Vec<f32>),
    /// The gradient of a table of which few rows were read.
    Rows(RowGradient),
    /// The same values as those of an earlier input.
    SameAs(usize),
}

/// The backward pass of a kernel.
pub(super) trait Backward: Send + Sync + 'static {
    /// Name in messages.
    fn name(&self) -> &'static str;

    /// Whether the backward pass looks at the values of an input, given which gradients are wanted. What it does not
    /// look at is not kept: the inputs of a frozen layer are most of the memory of an adapter's step.
    fn reads(&self, _input: usize, _wanted: &[bool]) -> bool {
        true
    }

    /// Gradients of the `inputs`, all contiguous unless they are not read, in their order, from the gradient of the
    /// output. There must be one where `wanted` says so.
    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>>;
}

/// The gradient of an output, as far as its consumers have run.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Vec<f32>>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<f32>>> {
        // The value is replaced as a whole, so it is sound even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, grad: Vec<f32>) {
        let mut sum = self.lock();
        match &mut *sum {
            Some(sum) => add(sum, &grad),
            None => *sum = Some(grad),
        }
    }

    fn add_copy(&self, grad: &[f32]) {
        let mut sum = self.lock();
        match &mut *sum {
            Some(sum) => add(sum, grad),
            None => *sum = Some(grad.to_vec()),
        }
    }
}

/// Adds `x` to `sum`.
pub(super) fn add(sum: &mut [f32], x: &[f32]) {
    const CHUNK: usize = 1 << 14;
    let work = sum.len();
    for_each_chunk(sum, CHUNK, work, |i, sum| add_here(sum, &x[i * CHUNK..][..sum.len()]));
}

vectorized! {
    /// Adds `x` to `sum` on this thread.
    pub(in crate::nn) fn add_here<'a>(sum: &'a mut [f32], x: &'a [f32]) {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

/// The handle of an output, owned by the output.
struct Link {
    handle: Tensor,
    slot: Slot,
}

/// Links by the id of their output. An entry does not keep the graph alive.
#[derive(Default)]
struct Links {
    by_output: HashMap<TensorId, Weak<Link>>,
    /// Size at which entries of dropped outputs are cleared away.
    limit: usize,
}

thread_local! {
    static LINKS: RefCell<Links> = RefCell::default();
}

impl Links {
    fn find(&self, output: &Tensor) -> Option<Arc<Link>> {
        self.by_output.get(&output.id()).and_then(Weak::upgrade)
    }

    fn insert(&mut self, output: &Tensor, link: &Arc<Link>) {
        if self.by_output.len() >= self.limit {
            self.by_output.retain(|_, link| link.strong_count() > 0);
            self.limit = 2 * self.by_output.len() + 64;
        }
        self.by_output.insert(output.id(), Arc::downgrade(link));
    }
}

/// How a gradient reaches an input.
enum Edge {
    /// It does not.
    Constant,
    /// A parameter, the end of the path.
    Parameter(Tensor),
    /// The output of another kernel.
    Linked(Slot),
    /// Anything else that is tracked; candle sums it.
    Candle,
}

impl Edge {
    fn is_wanted(&self) -> bool {
        !matches!(self, Self::Constant)
    }
}

/// The tensor `out` of this shape, as the result of `kernel` on contiguous `inputs` (one at least).
pub(super) fn record<K: Backward>(
    kernel: K,
    inputs: &[&Tensor],
    out: Vec<f32>,
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let shape = shape.into();
    let mut parents = Vec::new();
    let edges: Vec<Edge> = inputs.iter().map(|input| connect(input, &mut parents)).collect();
    let Some(first) = parents.first() else {
        return Tensor::from_vec(out, shape, inputs[0].device());
    };
    let slot = Slot::default();
    // Detached: the data is needed, the way back is in the edges.
    let wanted: Vec<bool> = edges.iter().map(Edge::is_wanted).collect();
    let keep = |(index, input): (usize, &&Tensor)| match kernel.reads(index, &wanted) {
        true => Ok(input.detach()),
        // Shape and device alone.
        false => Tensor::zeros((), input.dtype(), input.device())?.broadcast_as(input.shape()),
    };
    let inputs = inputs.iter().enumerate().map(keep).collect::<Result<_>>()?;
    let name = kernel.name();
    let saved = Mutex::new(Some((kernel, inputs)));
    let mut node = Node { name, saved, edges, slot: slot.clone(), tied: None };
    let handle = match &parents[1..] {
        [] => first.apply_op1(node)?,
        [second] => first.apply_op2(second, node)?,
        [second, third] => first.apply_op3(second, third, node)?,
        [second, others @ ..] => {
            // candle's operations have three inputs at most.
            let grads = Arc::new(Mutex::new(vec![None; others.len()]));
            node.tied = Some(grads.clone());
            first.apply_op3(second, &tie(others, &grads)?, node)?
        }
    };
    let link = Arc::new(Link { handle, slot });
    let bridge = Bridge { out: Mutex::new(Some((out, shape))), link: link.clone() };
    let output = link.handle.apply_op1(bridge)?;
    LINKS.with_borrow_mut(|links| links.insert(&output, &link));
    Ok(output)
}

/// The edge to `input`; what candle has to know as its parent is added to `parents`.
fn connect(input: &Tensor, parents: &mut Vec<Tensor>) -> Edge {
    if !input.track_op() {
        return Edge::Constant;
    }
    if input.is_variable() {
        parents.push(input.clone());
        return Edge::Parameter(input.clone());
    }
    match LINKS.with_borrow(|links| links.find(input)) {
        Some(link) => {
            parents.push(link.handle.clone());
            Edge::Linked(link.slot.clone())
        }
        None => {
            parents.push(input.clone());
            Edge::Candle
        }
    }
}

/// What stands for the value and the gradient of a handle.
fn nothing() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

type Tied = Arc<Mutex<Vec<Option<Tensor>>>>;

/// The operation of a handle.
struct Node<K> {
    name: &'static str,
    /// Kernel and inputs, which hold the activations; gone after [`vars::backward_once`] has been here.
    saved: Mutex<Option<(K, Vec<Tensor>)>>,
    edges: Vec<Edge>,
    slot: Slot,
    /// Where the gradients of the third parent and of those after it go if there are more than three.
    tied: Option<Tied>,
}

impl<K: Backward> Node<K> {
    /// Runs the backward pass of the kernel; what is left for candle to add to each parent.
    fn run(&self, zero: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let name = self.name;
        let Some(grad) = self.slot.lock().take() else { bail!("{name}: a backward pass without a gradient") };
        let wanted: Vec<bool> = self.edges.iter().map(Edge::is_wanted).collect();
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((kernel, inputs)) = &*saved else {
            bail!("{name}: an earlier backward pass has used up this graph; compute the loss again")
        };
        let mut grads = kernel.backward(inputs, &wanted, grad)?;
        let mut left = Vec::with_capacity(self.edges.len());
        // From the last input, so that those that share the values of an earlier one can still copy them.
        for index in (0..self.edges.len()).rev() {
            let own = match std::mem::replace(&mut grads[index], Grad::None) {
                Grad::Own(grad) => Some(grad),
                Grad::Rows(rows) => match &self.edges[index] {
                    Edge::Parameter(var) => {
                        left.push(vars::deliver_rows(var, rows)?);
                        continue;
                    }
                    _ => Some(rows.dense_values()),
                },
                Grad::SameAs(other) => match (&grads[other], &self.edges[index]) {
                    (Grad::Own(grad), Edge::Linked(slot)) => {
                        slot.add_copy(grad);
                        left.push(Some(zero.clone()));
                        continue;
                    }
                    (Grad::Own(grad), _) => Some(grad.clone()),
                    _ => None,
                },
                Grad::None => None,
            };
            let input = &inputs[index];
            match (&self.edges[index], own) {
                (Edge::Constant, _) => {}
                (_, None) => bail!("{name}: no gradient for input {index}"),
                (Edge::Parameter(var), Some(grad)) => left.push(vars::deliver(var, grad)?),
                (Edge::Linked(slot), Some(grad)) => {
                    slot.add(grad);
                    left.push(Some(zero.clone()));
                }
                (Edge::Candle, Some(grad)) => left.push(Some(Tensor::from_vec(grad, input.shape(), input.device())?)),
            }
        }
        if vars::once() {
            *saved = None;
        }
        left.reverse();
        if let Some(tied) = &self.tied {
            *tied.lock().unwrap_or_else(PoisonError::into_inner) = left.drain(2..).collect();
            left.push(Some(zero.clone()));
        }
        left.resize(3, None);
        let [first, second, third] = &mut left[..] else { bail!("{name}: more gradients than parents") };
        Ok([first.take(), second.take(), third.take()])
    }
}

impl<K: Backward> CustomOp1 for Node<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        nothing()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, zero: &Tensor) -> Result<Option<Tensor>> {
        let [first, _, _] = self.run(zero)?;
        Ok(first)
    }
}

impl<K: Backward> CustomOp2 for Node<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        nothing()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, zero: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [first, second, _] = self.run(zero)?;
        Ok((first, second))
    }
}

impl<K: Backward> CustomOp3 for Node<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        nothing()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        zero: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = self.run(zero)?;
        Ok((first, second, third))
    }
}

/// One tensor of one value that has all of `parents`, two at least, below it.
fn tie(parents: &[Tensor], grads: &Tied) -> Result<Tensor> {
    let Some((last, others)) = parents.split_last() else { bail!("nothing to tie") };
    let mut below = last.clone();
    for (index, parent) in others.iter().enumerate().rev() {
        let ends = index + 2 == parents.len();
        below = parent.apply_op2(&below, Tie { grads: grads.clone(), index, ends })?;
    }
    Ok(below)
}

/// Stands for a parent of a node that has more than three, and those after it.
struct Tie {
    grads: Tied,
    /// Of its first input.
    index: usize,
    /// Whether its second input is a parent too, the last one.
    ends: bool,
}

impl CustomOp2 for Tie {
    fn name(&self) -> &'static str {
        "fused-tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        nothing()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, zero: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.grads.lock().unwrap_or_else(PoisonError::into_inner);
        let own = grads.get_mut(self.index).and_then(Option::take);
        let below = match self.ends {
            true => grads.get_mut(self.index + 1).and_then(Option::take),
            false => Some(zero.clone()),
        };
        Ok((own, below))
    }
}

/// The operation of an output above its handle.
struct Bridge {
    /// The values and their shape, until candle takes them.
    out: Mutex<Option<(Vec<f32>, Shape)>>,
    link: Arc<Link>,
}

impl CustomOp1 for Bridge {
    fn name(&self) -> &'static str {
        "fused-output"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.out.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((values, shape)) => Ok((CpuStorage::F32(values), shape)),
            None => bail!("the output of a fused kernel was taken twice"),
        }
    }

    fn bwd(&self, handle: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.link.slot.add_copy(super::buffer::hold(&grad.contiguous()?).get()?);
        Ok(Some(handle.zeros_like()?))
    }
}
