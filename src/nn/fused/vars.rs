//! A short way for the gradients of parameters.
//!
//! candle adds every gradient that an operation returns to a fresh tensor of zeros: for the word table of a small
//! BERT that is two more passes over 47 MB a step. [`backward`] lets the fused kernels put the gradients of `Var`s
//! aside as they are, and hands them over at the end. Anywhere else the kernels return them to candle as usual.

use crate::nn::{Gradient, RowGradient};
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};
use std::cell::RefCell;
use std::collections::HashMap;

/// Parameters and their gradients so far, in the order of first delivery, which the graph alone decides.
#[derive(Default)]
struct Aside {
    grads: Vec<(Tensor, Sum)>,
    /// Whether kernels give up their activations as soon as they are through.
    once: bool,
}

/// A gradient as far as it has come.
enum Sum {
    Dense(Vec<f32>),
    Rows(RowGradient),
}

impl Sum {
    fn add(&mut self, new: Self) {
        match (&mut *self, new) {
            (Self::Rows(sum), Self::Rows(new)) => sum.add(&new),
            (Self::Dense(sum), Self::Rows(new)) => new.add_to(sum),
            (Self::Dense(sum), Self::Dense(new)) => sum.iter_mut().zip(new).for_each(|(sum, new)| *sum += new),
            (Self::Rows(sum), Self::Dense(mut new)) => {
                sum.add_to(&mut new);
                *self = Self::Dense(new);
            }
        }
    }

    fn into_values(self) -> Vec<f32> {
        match self {
            Self::Dense(values) => values,
            Self::Rows(rows) => rows.dense_values(),
        }
    }
}

thread_local! {
    /// Gradients put aside on this thread; `None` outside of [`backward`].
    static ASIDE: RefCell<Option<Aside>> = const { RefCell::new(None) };
}

/// The backward pass of `loss`, as [`Tensor::backward`], but without the zeros and the addition for each parameter.
///
/// # Errors
/// If an operation of the graph has no backward pass or fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    dense(collect(loss, false)?)
}

/// [`backward`] that frees the activations of fused kernels on its way, so that gradients take their place in memory.
/// The graph cannot be used a second time.
///
/// # Errors
/// As [`backward`], and if the graph has been used up before.
pub fn backward_once(loss: &Tensor) -> Result<GradStore> {
    dense(collect(loss, true)?)
}

/// [`backward_once`] that leaves the gradients of tables as the rows that have one.
///
/// # Errors
/// As [`backward_once`].
pub(in crate::nn) fn backward_by_rows(loss: &Tensor) -> Result<Found> {
    let (grads, aside) = collect(loss, true)?;
    Ok(Found { grads, aside: aside.into_iter().map(|(var, sum)| (var.id(), (var, sum))).collect() })
}

/// What a backward pass found.
pub(in crate::nn) struct Found {
    grads: GradStore,
    aside: HashMap<TensorId, (Tensor, Sum)>,
}

impl Found {
    /// The gradient of a parameter, if it has one.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub(in crate::nn) fn take(&mut self, var: &Tensor) -> Result<Option<Gradient>> {
        // A parameter may also have passed through operations of candle, such as the transpose of a tied weight.
        let other = self.grads.remove(var);
        Ok(match (self.aside.remove(&var.id()), other) {
            (Some((_, Sum::Rows(rows))), None) => Some(Gradient::Rows(rows)),
            (Some((var, sum)), other) => Some(Gradient::Dense(whole(&var, sum, other)?)),
            (None, other) => other.map(|grad| Gradient::Dense(grad.detach())),
        })
    }
}

fn dense((mut grads, aside): (GradStore, Vec<(Tensor, Sum)>)) -> Result<GradStore> {
    for (var, sum) in aside {
        let other = grads.remove(&var);
        let grad = whole(&var, sum, other)?;
        grads.insert(&var, grad);
    }
    Ok(grads)
}

/// The gradient of `var` from what was put aside and what candle has.
fn whole(var: &Tensor, sum: Sum, other: Option<Tensor>) -> Result<Tensor> {
    let grad = Tensor::from_vec(sum.into_values(), var.shape(), var.device())?;
    match other {
        Some(other) => Ok((other + grad)?.detach()),
        None => Ok(grad),
    }
}

/// Whether the backward pass of this thread is the last of its graph.
pub(super) fn once() -> bool {
    ASIDE.with_borrow(|aside| aside.as_ref().is_some_and(|aside| aside.once))
}

fn collect(loss: &Tensor, once: bool) -> Result<(GradStore, Vec<(Tensor, Sum)>)> {
    /// Puts an outer collection back, also if candle panics.
    struct Restore(Option<Aside>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ASIDE.set(self.0.take());
        }
    }
    let restore = Restore(ASIDE.replace(Some(Aside { once, ..Aside::default() })));
    let grads = loss.backward()?;
    let aside = ASIDE.take().unwrap_or_default().grads;
    drop(restore);
    Ok((grads, aside))
}

/// Puts the gradient of a parameter aside if [`backward`] collects on this thread; else gives it back for candle.
pub(super) fn deliver(tensor: &Tensor, grad: Vec<f32>) -> Result<Option<Tensor>> {
    put_aside(tensor, Sum::Dense(grad))
}

/// [`deliver`] for the gradient of a table.
pub(super) fn deliver_rows(tensor: &Tensor, grad: RowGradient) -> Result<Option<Tensor>> {
    put_aside(tensor, Sum::Rows(grad))
}

fn put_aside(tensor: &Tensor, grad: Sum) -> Result<Option<Tensor>> {
    let left = ASIDE.with_borrow_mut(|aside| match aside {
        Some(aside) if tensor.is_variable() => {
            match aside.grads.iter_mut().find(|(known, _)| known.id() == tensor.id()) {
                Some((_, sum)) => sum.add(grad),
                None => aside.grads.push((tensor.clone(), grad)),
            }
            None
        }
        _ => Some(grad.into_values()),
    });
    left.map(|grad| Tensor::from_vec(grad, tensor.shape(), tensor.device())).transpose()
}
