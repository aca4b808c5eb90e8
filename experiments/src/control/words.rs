//! What reports of `control` say.

use super::config::ControlConfig;

/// How it was measured, one sentence each.
#[must_use]
pub fn method(config: &ControlConfig) -> Vec<String> {
    let eval = &config.eval;
    vec![
        format!("The task is {}; the score is the mean return of an episode.", config.env.id),
        format!(
            "Every trained arm took {} env steps; all arms of a seed were measured on the same {} episodes that they \
             had not met in training, acting greedily where they learn values and by their most likely action \
             otherwise.",
            config.train.env_steps, eval.episodes
        ),
        format!(
            "Learning curves show the mean over {} further episodes, the same at every point and for every arm of a \
             seed.",
            eval.curve_episodes
        ),
        format!("An episode that the task would not end is cut after {} steps.", eval.max_episode_steps),
    ]
}
