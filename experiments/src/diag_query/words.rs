//! What reports of `diag_query` say.

use super::config::{DiagQuerySettings, ModelKind};

/// How it was measured, one sentence each.
#[must_use]
pub fn method(config: &DiagQuerySettings) -> Vec<String> {
    let (env, eval) = (&config.env, &config.eval);
    let own = config.data.own();
    let problem = own.first().map_or_else(|| env.problem.clone(), |(_, file)| file.clone());
    let mut method = vec![
        super::NOTICE.to_owned(),
        format!(
            "Problem {problem}, costs {}, λ = {}, ρ = {}, m = {}: a question takes λ times its cost, a declaration is \
             worth its utility; the score is the mean return of a case, without shaping.",
            env.costs, env.lambda, env.noise, env.missing
        ),
        format!(
            "Every trained arm took {} env steps; all arms of a seed were measured on the same list of at most {} \
             cases that training does not meet.",
            config.train.env_steps, eval.episodes
        ),
        format!(
            "Planners that do not stop by themselves, and supervised arms, declare once the likeliest diagnosis has at \
             least θ, chosen for the highest return on {} validation cases that are never in the test.",
            eval.validation_episodes
        ),
        "Log-loss, Brier score, calibration and accuracy along the way are those of the attached model's posterior \
         after the questions that an arm chose (planners: of the model they plan with); accuracy, macro-F1 and \
         confusion are those of what was declared."
            .to_owned(),
    ];
    match config.model.kind {
        ModelKind::Best => {}
        ModelKind::NaiveBayes => method.push(format!(
            "The attached model, which planners plan with, is naive Bayes fitted to {} cases of each seed; patients \
             come from the true model.",
            config.model.cases
        )),
        ModelKind::Refitted => method.push(format!(
            "The attached model, which planners plan with, has the structure of the true network and tables fitted to \
             {} cases of each seed; patients come from the true network.",
            config.model.cases
        )),
    }
    method
}
