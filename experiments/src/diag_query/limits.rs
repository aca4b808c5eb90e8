//! What fits into a study: sizes are checked before anything is played.

use super::config::DiagQuerySettings;
use crate::arms::Arm;
use crate::failure::bad_input;
use anyhow::Result;
use retune::env::{EnvSpec, ObsSpec};
use retune_envs::diag_query::problem::Problem;

/// Most diagnoses: a study counts who was taken for whom.
const MAX_DIAGNOSES: usize = 1000;

/// Most that the beliefs of a measurement may take, bytes.
const MAX_BELIEFS: usize = 2 << 30;

/// Most that the observations that an arm keeps may take, bytes.
const MAX_OBSERVATIONS: usize = 4 << 30;

/// That a problem is small enough to be measured.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the setting that makes it smaller.
pub fn check_problem(problem: &Problem, config: &DiagQuerySettings, t_max: usize) -> Result<()> {
    let found = problem.diagnoses.len();
    if found > MAX_DIAGNOSES {
        return Err(bad_input(format!(
            "{}: {found} diagnoses, expected at most {MAX_DIAGNOSES} in a study; set data.max_diseases",
            problem.name
        )));
    }
    let cases = config.eval.episodes.max(config.eval.validation_episodes).max(config.eval.curve_episodes);
    // `bayes_all` is told everything.
    let questions = if config.arms.iter().any(|arm| arm == "bayes_all") { problem.findings.len() } else { t_max };
    let bytes = [cases, questions + 1, found, size_of::<f64>()].into_iter().fold(1, usize::saturating_mul);
    if bytes > MAX_BELIEFS {
        return Err(bad_input(format!(
            "eval.episodes = {cases}: beliefs over {found} diagnoses after each of {questions} questions would take \
             {bytes} bytes, expected at most {MAX_BELIEFS}; measure on fewer cases, take fewer diseases \
             (data.max_diseases) or leave out bayes_all"
        )));
    }
    Ok(())
}

/// That the `kept` observations of an arm fit into memory, next to those that follow them.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the arm and what makes it smaller.
pub fn check_arm(arm: &Arm, spec: &EnvSpec, kept: usize) -> Result<()> {
    let ObsSpec::Candidates(candidates) = &spec.obs else { return Ok(()) };
    let numbers = candidates.state_dim + candidates.history_len * (1 + candidates.history_dim);
    let texts = if candidates.has_text { candidates.num_candidates } else { 0 };
    let one = size_of::<f32>() * (numbers + texts) + candidates.num_candidates;
    let bytes = one.saturating_mul(kept).saturating_mul(2);
    if bytes > MAX_OBSERVATIONS {
        return Err(bad_input(format!(
            "arm {arm}: {kept} observations of {one} bytes would take {bytes} with what follows each, expected at most \
             {MAX_OBSERVATIONS}; lower agent.buffer_size (or agent.num_envs and agent.num_steps), show less \
             (env.view = signed) or take fewer diseases (data.max_diseases)"
        )));
    }
    Ok(())
}
