//! What can be said exactly before anything is played: the worth of declaring at once, and the best that any policy
//! can do where the problem is small enough.

use super::world::{Patients, World};
use anyhow::Result;
use retune::track::{Anchor, Reference};
use retune_envs::diag_query::baselines::exact::optimum;
use retune_envs::diag_query::baselines::lattice::Lattice;
use retune_envs::diag_query::env::Initial;
use std::sync::Arc;

/// Most cells of the table of all partial sets of answers. Above it dynamic programming would take minutes.
const MAX_CELLS: usize = 1 << 19;

/// Lines to compare with: the ends of the normalized scale, as far as they are known.
///
/// # Errors
/// If the settings do not fit the problem.
pub fn references(world: &World, patients: &Patients) -> Result<Vec<Reference>> {
    let env = world.planning(&patients.test, false)?;
    let config = env.config();
    let known = Arc::ptr_eq(&patients.best, patients.test.model.as_ref().unwrap_or(&patients.best));
    let plain = config.initial == Initial::None
        && config.budget.is_none()
        && config.model_knows_noise
        && known
        && !patients.is_list()
        && patients.test.findings.iter().all(|f| f.requires.is_none());
    if !plain {
        return Ok(Vec::new());
    }
    let task = env.task();
    let now = task.declare(patients.best.begin().posterior()).1;
    let mut lines = vec![Reference {
        name: "declare_now (exact)".to_owned(),
        score: now,
        description: "Expected utility of declaring before any question.".to_owned(),
        anchor: Some(Anchor::Zero),
    }];
    if let Ok(lattice) = Lattice::new(patients.best.as_ref(), &task, MAX_CELLS) {
        let best = optimum(&lattice, &lattice.task(&task), config.t_max).expected_return;
        if best > now + 1e-9 {
            lines.push(Reference {
                name: "optimum (exact)".to_owned(),
                score: best,
                description: "Expected return of the best policy that knows the model, by dynamic programming."
                    .to_owned(),
                anchor: Some(Anchor::One),
            });
        }
    }
    Ok(lines)
}
