//! Policies that look at little.

use super::{Policy, Situation};
use crate::diag_query::gain::{Channel, TIE, gains};
use crate::diag_query::model::Model;
use retune::rng::StreamRng;

/// Any open finding, each as likely; never stops by itself.
#[derive(Clone, Debug)]
pub struct RandomQuestions {
    rng: StreamRng,
}

impl RandomQuestions {
    /// Draws from `rng`.
    #[must_use]
    pub fn new(rng: StreamRng) -> Self {
        Self { rng }
    }
}

impl Policy for RandomQuestions {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        if situation.open.is_empty() { None } else { Some(situation.open[self.rng.below(situation.open.len())]) }
    }
}

/// The first open finding of a fixed order; never stops by itself.
#[derive(Clone, Debug)]
pub struct StaticOrder(pub Vec<usize>);

impl StaticOrder {
    /// By information gain before any answer, the largest first.
    #[must_use]
    pub fn by_gain(model: &dyn Model) -> Self {
        let all: Vec<usize> = (0..model.states().len()).collect();
        let gains = gains(model.begin().as_mut(), &Channel::exact(), &all, model.states());
        let mut order = all;
        // Stable, so that ties keep the order of the findings.
        order.sort_by(
            |&a, &b| if (gains[a] - gains[b]).abs() <= TIE { a.cmp(&b) } else { gains[b].total_cmp(&gains[a]) },
        );
        Self(order)
    }
}

impl Policy for StaticOrder {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        self.0.iter().copied().find(|i| situation.open.contains(i))
    }
}

/// Another policy, until the likeliest diagnosis has at least this probability.
#[derive(Clone, Debug)]
pub struct Threshold<P> {
    /// Who asks until then.
    pub inner: P,
    /// θ.
    pub theta: f64,
}

impl<P: Policy> Policy for Threshold<P> {
    fn choose(&mut self, situation: Situation<'_>) -> Option<usize> {
        let sure = situation.belief.posterior().iter().any(|p| *p >= self.theta);
        if sure { None } else { self.inner.choose(situation) }
    }
}
