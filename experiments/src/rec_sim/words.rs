//! What reports of `rec_sim` say.

use super::config::{Form, RecSimConfig};
use super::world::Items;

/// How it was measured, one sentence each.
#[must_use]
pub fn method(config: &RecSimConfig) -> Vec<String> {
    let (env, eval) = (&config.env, &config.eval);
    let mut sentences = vec![
        format!(
            "A simulated user is offered {} items at a time and shown {} of them; the score is the minutes watched in \
             a session.",
            env.num_candidates, env.slate_size
        ),
        format!(
            "Every trained arm took {} env steps; all arms of a seed trained on the same users and were measured on \
             the same {} others.",
            config.train.env_steps, eval.users
        ),
        format!(
            "Learning curves show the mean over {} further users, the same at every point and for every arm of a seed.",
            eval.curve_users
        ),
        "Random shows a slate drawn uniformly; the planner knows the user model and is a strong reference, not an \
         upper bound."
            .to_owned(),
    ];
    if env.form == Form::Text {
        sentences.push(format!(
            "Items are texts whose topic and quality are hidden; {} measures on items that no training run has seen.",
            Items::ColdStart.name()
        ));
    }
    sentences
}
