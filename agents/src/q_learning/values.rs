//! From scores to choice weights and values.

use super::QLearningConfig;
use crate::acting::HostScores;
use crate::learning::ValueUnit;
use crate::scorer::Tower;
use retune::Result;
use retune::env::Slate;
use retune::slate::{ItemValues, SlateRule};

/// Index of the tower with the choice logits f: v_i = exp(f_i), v_0 = 1.
pub(super) const CHOICE: usize = 0;
/// Index of the tower with the advantages A(s, i).
pub(super) const ADVANTAGE: usize = 1;
/// Index of the state output with the level L(s).
pub(super) const LEVEL: usize = 0;
/// Index of the state output with A_0(s).
pub(super) const NOTHING: usize = 1;

/// The towers of a value learner, in the order of the indices above.
pub(super) fn towers(hidden: usize, config: &QLearningConfig) -> Vec<Tower> {
    vec![
        Tower { name: "choice".into(), hidden, bias: true },
        Tower { name: "advantage".into(), hidden: config.advantage_hidden, bias: true },
    ]
}

/// The slate of a target.
#[derive(Clone, Copy, Debug)]
pub(super) enum NextSlateOf<'a> {
    /// The one that was shown.
    Shown(&'a [u32]),
    /// The best of so many items.
    Best { size: usize },
}

/// Choice weights and values of the candidates of one state.
#[derive(Clone, Debug, Default)]
pub(super) struct StateValues {
    v: Vec<f64>,
    q: Vec<f64>,
    q_none: f64,
}

impl StateValues {
    /// Those of state `state` of a batch.
    pub fn read(scores: &HostScores, state: usize, items: usize, unit: ValueUnit, config: &QLearningConfig) -> Self {
        let level = unit.level + unit.scale * scores.state(state, LEVEL);
        let q_none = if config.null_value { level + unit.scale * scores.state(state, NOTHING) } else { 0.0 };
        Self {
            v: (0..items).map(|i| scores.item(CHOICE, state, i).exp()).collect(),
            q: (0..items).map(|i| level + unit.scale * scores.item(ADVANTAGE, state, i)).collect(),
            q_none,
        }
    }

    /// TD target `r + γ V` of a step that went on to this state, for the slate shown there or, without one, for that
    /// which `config.target` selects.
    pub fn target(&self, reward: f64, mask: &[bool], next: NextSlateOf<'_>, config: &QLearningConfig) -> Result<f64> {
        let value = match next {
            NextSlateOf::Shown(slate) => self.value(mask, slate)?,
            NextSlateOf::Best { size } => self.value(mask, &self.select(mask, config.target, size)?.0)?,
        };
        Ok(reward + config.gamma * value)
    }

    /// The slate that `rule` puts together.
    pub fn select(&self, mask: &[bool], rule: SlateRule, size: usize) -> Result<Slate> {
        Ok(self.items(mask)?.select(rule, size)?)
    }

    /// V of a slate.
    pub fn value(&self, mask: &[bool], slate: &[u32]) -> Result<f64> {
        Ok(self.items(mask)?.value(slate))
    }

    fn items<'a>(&'a self, mask: &'a [bool]) -> Result<ItemValues<'a>> {
        Ok(ItemValues::new(&self.v, &self.q, mask, 1.0, self.q_none)?)
    }
}
