//! One scoring model for all agents: a state and a candidate go in, a few numbers come out.
//!
//! A candidate is described by the vector e (its features, the vector of its text, or both), the state by s (its
//! features, an encoding of the recent history, or both). Each *tower* gives one number per candidate,
//!
//! `hidden = relu(W1 e + W2 s + b + (W3 e) ∘ (W4 s + c))`, `out = w · hidden + d`,
//!
//! and a head on s alone gives numbers per state. The product makes interactions such as "the interest that belongs
//! to this topic" linear in what is learnt; without it an additive layer needs many units and much data for them.
//!
//! With soft clusters, `z = softmax(W e + b) · √m` takes the place of e in every tower. Vectors of texts have hundreds
//! of components, and a value that is learnt from noisy targets overfits them. Memberships are learnt mostly from a
//! clean signal (what was clicked, in which state), and values are then few numbers, one a cluster. On the cards of
//! `rec_sim` (51,200 env steps, seeds 0 and 1 below root seed 100) Q-learning earned 184 and 187 minutes without, 198
//! and 187 with 64 of them; on cards never seen in training 183 and 183 without, 202 and 189 with.
//!
//! Beyond clusters and text encoder, towers share nothing, so that a noisy target (values) cannot harm a clean one
//! (clicks).

mod batch;
mod model;
mod texts;

pub use batch::{ItemBatch, StateBatch};
pub use model::{PREFIX, Scorer, ScorerShape, Scores, Tower, Weights};
pub use texts::{TextRows, TextTableView};

#[cfg(test)]
mod tests;
