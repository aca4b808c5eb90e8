//! What planners have decided before, for all seeds of a study: two steps ahead on a large network take a good part of a
//! second, and patients of every seed pass through the same situations.

use retune_envs::diag_query::env::Asked;
use retune_envs::diag_query::model::Model;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is known, ascending by finding.
pub type Situation = Vec<Asked>;

/// The decisions of one planner with one model, by what is known; `None` is to ask no more.
#[derive(Default)]
pub struct Decisions(Mutex<HashMap<Situation, Option<usize>>>);

impl Decisions {
    /// What was decided, or else what `decide` says from now on. Two threads that ask at once both decide: a planner
    /// must say the same whoever asks, so that results do not depend on who was first.
    pub fn of(&self, known: Situation, decide: impl FnOnce(&Situation) -> Option<usize>) -> Option<usize> {
        if let Some(decided) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&known) {
            return *decided;
        }
        let decided = decide(&known);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(known, decided);
        decided
    }
}

/// A model and what was decided with it.
type Kept = (Arc<dyn Model>, Arc<Decisions>);

/// The decisions of each planner, by name, with the last model that it was given. Models that are fitted anew for every
/// seed share nothing.
#[derive(Default)]
pub struct Shared(Mutex<HashMap<String, Kept>>);

impl Shared {
    /// Those of the planner `name` with `model`.
    pub fn of(&self, name: &str, model: &Arc<dyn Model>) -> Arc<Decisions> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, decisions)) = all.get(name).filter(|(of, _)| Arc::ptr_eq(of, model)) {
            return Arc::clone(decisions);
        }
        let decisions = Arc::new(Decisions::default());
        all.insert(name.to_owned(), (Arc::clone(model), Arc::clone(&decisions)));
        decisions
    }
}

/// What is known in the order in which decisions are kept: that of the questions is forgotten.
pub fn situation(asked: &[Asked]) -> Situation {
    let mut known = asked.to_vec();
    known.sort_unstable_by_key(|a| a.finding);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(finding: usize) -> Asked {
        Asked { finding, reply: Some(0), given: false }
    }

    #[test]
    fn a_situation_is_decided_once_whatever_the_order_of_questions() {
        let decisions = Decisions::default();
        assert_eq!(decisions.of(situation(&[asked(2), asked(1)]), |known| Some(known[0].finding)), Some(1));
        assert_eq!(decisions.of(situation(&[asked(1), asked(2)]), |_| panic!("decided before")), Some(1));
        let given = Asked { given: true, ..asked(1) };
        assert_eq!(decisions.of(situation(&[given, asked(2)]), |_| None), None, "what was given cost nothing");
    }
}
