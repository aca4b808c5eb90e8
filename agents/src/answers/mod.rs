//! Episodes that end with an answer, such as a diagnosis after questions: when to answer is learnt from rewards, what
//! to answer from labels (Shim, Hwang and Yang, "Joint active feature acquisition and classification",
//! arXiv:1709.05964).
//!
//! The candidates of [`retune::env::CandidateSpec::answers`] count as one action, "answer now", in the place of the
//! first of them. Which answer that is, a classifier says: an output per candidate, trained by the cross-entropy with
//! the label that [`retune::env::Feedback::best`] reveals at the end of an episode, in all states of that episode.

mod group;
mod labels;
mod loss;
mod memory;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use group::{AnswerGroup, Grouped};
pub(crate) use labels::{LabelQueue, LabelledRows};
pub(crate) use loss::{AnswerReport, answer_loss};
pub(crate) use memory::LabelMemory;

use crate::net::{Head, Per};

/// The classifier: a logit per candidate, of which only those of answers mean something.
pub(crate) fn head() -> Head {
    Head { name: "answer", per: Per::Candidate, width: 1, dueling: false, gain: 0.01 }
}
