//! A short way for the gradients of parameters.
//!
//! candle adds every gradient that an operation returns to a fresh tensor of zeros: for the word table of a small
//! BERT that is two more passes over 47 MB a step. [`backward`] lets the fused kernels put the gradients of `Var`s
//! aside as they are, and hands them over at the end. Anywhere else the kernels return them to candle as usual.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};
use std::cell::RefCell;

/// Parameters and their gradients so far, in the order of first delivery, which the graph alone decides.
#[derive(Default)]
struct Aside {
    grads: Vec<(Tensor, Vec<f32>)>,
    /// Whether kernels give up their activations as soon as they are through.
    once: bool,
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
    collect(loss, false)
}

/// [`backward`] that frees the activations of fused kernels on its way, so that gradients take their place in memory.
/// The graph cannot be used a second time.
///
/// # Errors
/// As [`backward`], and if the graph has been used up before.
pub fn backward_once(loss: &Tensor) -> Result<GradStore> {
    collect(loss, true)
}

/// Whether the backward pass of this thread is the last of its graph.
pub(super) fn once() -> bool {
    ASIDE.with_borrow(|aside| aside.as_ref().is_some_and(|aside| aside.once))
}

fn collect(loss: &Tensor, once: bool) -> Result<GradStore> {
    /// Puts an outer collection back, also if candle panics.
    struct Restore(Option<Aside>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ASIDE.set(self.0.take());
        }
    }
    let restore = Restore(ASIDE.replace(Some(Aside { once, ..Aside::default() })));
    let mut grads = loss.backward()?;
    let aside = ASIDE.take().unwrap_or_default().grads;
    drop(restore);
    for (var, grad) in aside {
        let grad = Tensor::from_vec(grad, var.shape(), var.device())?;
        // A parameter may also have passed through operations of candle, such as the transpose of a tied weight.
        let grad = match grads.remove(&var) {
            Some(other) => (other + grad)?.detach(),
            None => grad,
        };
        grads.insert(&var, grad);
    }
    Ok(grads)
}

/// Puts the gradient of a parameter aside if [`backward`] collects on this thread; else gives it back for candle.
pub(super) fn deliver(tensor: &Tensor, grad: Vec<f32>) -> Result<Option<Tensor>> {
    let left = ASIDE.with_borrow_mut(|aside| match aside {
        Some(aside) if tensor.is_variable() => {
            match aside.grads.iter_mut().find(|(known, _)| known.id() == tensor.id()) {
                Some((_, sum)) => sum.iter_mut().zip(&grad).for_each(|(sum, grad)| *sum += grad),
                None => aside.grads.push((tensor.clone(), grad)),
            }
            None
        }
        _ => Some(grad),
    });
    left.map(|grad| Tensor::from_vec(grad, tensor.shape(), tensor.device())).transpose()
}
