//! The items that were clicked most often, per time shown, in logged random slates. See `README.md` here.
//!
//! Metrics: `items`, how many items have been shown; `click_rate`, clicks per item shown so far.

mod rates;

use crate::acting::{check_streams, random_decisions};
use crate::learning::Setup;
use rates::{ItemKeys, Rates};
use retune::Result;
use retune::agent::{Actor, Agent, Decision, Learner, Ledger, Metrics, Mode, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, Slate, TextId};
use retune::nn::checksum;
use retune::persist::StateDict;
use retune::rng::{Seed, StreamRng};
use std::cmp::Reverse;
use std::sync::Arc;

/// The agent.
pub struct PopularAgent {
    slate_size: usize,
    order: Seed,
    learner: PopularLearner,
}

impl PopularAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if the env does not offer candidates and slates.
    pub fn new(setup: &Setup<'_>) -> Result<Self> {
        let slate_size = setup.slate_size()?;
        let learner = PopularLearner {
            rates: Rates::new(ItemKeys::of(setup.spec)?),
            slate_size,
            ledger: Ledger::default(),
            version: 0,
            checksum: String::new(),
        };
        Ok(Self { slate_size, order: setup.seed.child("order"), learner })
    }
}

impl Agent<CandidateObs, Slate> for PopularAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let rates = Rates::new(self.learner.rates.keys());
        Ok(Box::new(PopularActor { slate_size: self.slate_size, order: self.order, rates }))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}

struct PopularActor {
    slate_size: usize,
    /// Orders items with equal rates, and all that were never shown.
    order: Seed,
    rates: Rates,
}

impl PopularActor {
    fn slate(&self, obs: &CandidateObs) -> Result<Slate> {
        let mut ranks = Vec::with_capacity(obs.num_candidates());
        for i in (0..obs.num_candidates()).filter(|&i| obs.mask[i]) {
            let key = self.rates.keys().key(obs, i);
            let place = self.order.index(rates::hash(&key)).to_u64();
            ranks.push((self.rates.rate(&key), Reverse((place, i))));
        }
        if ranks.len() < self.slate_size {
            let too_few = retune::slate::SlateError::TooFew { slate_size: self.slate_size, legal: ranks.len() };
            return Err(too_few.into());
        }
        ranks.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        Ok(Slate(ranks[..self.slate_size].iter().map(|(_, Reverse((_, i)))| *i as u32).collect()))
    }
}

impl Actor<CandidateObs, Slate> for PopularActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.rates = Rates::from_params(self.rates.keys(), &snapshot.params)?;
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if mode == Mode::Train {
            return random_decisions(obs, rngs, self.slate_size);
        }
        obs.iter().map(|o| Ok(Decision { action: self.slate(o)?, log_prob: 0.0 })).collect()
    }
}

struct PopularLearner {
    rates: Rates,
    slate_size: usize,
    ledger: Ledger,
    version: u64,
    checksum: String,
}

impl Learner<CandidateObs, Slate> for PopularLearner {
    fn snapshot(&mut self, _texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let params = self.rates.to_params()?;
        let checksum = checksum(params.iter().map(|(n, t)| (n.as_str(), t)))?;
        if checksum != self.checksum {
            self.version += 1;
            self.checksum.clone_from(&checksum);
        }
        Ok(Arc::new(Snapshot { version: self.version, checksum, params, features: None }))
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, _stop: &Stop) -> Result<Metrics> {
        self.ledger.env_steps += rollout.env_steps() as u64;
        self.ledger.labels += (rollout.env_steps() * self.slate_size) as u64;
        for step in rollout.segments.iter().flat_map(|s| &s.steps) {
            let feedback = step.next_obs.feedback.as_ref();
            for (j, &i) in step.action.0.iter().enumerate() {
                let clicked = feedback.is_some_and(|f| f.outcomes.get(j).is_some_and(|o| o.clicked));
                self.rates.count(self.rates.keys().key(&step.obs, i as usize), clicked);
            }
        }
        let (items, rate) = self.rates.summary();
        Ok(Metrics::from([("items".to_owned(), items as f64), ("click_rate".to_owned(), rate)]))
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn trainable_parameters(&self) -> usize {
        0
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.rates.save(state, prefix);
        state.put(format!("{prefix}popular"), &(&self.ledger, self.version, &self.checksum))
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let rates = Rates::restored(self.rates.keys(), state, prefix)?;
        (self.ledger, self.version, self.checksum) = state.get(&format!("{prefix}popular"))?;
        self.rates = rates;
        Ok(())
    }
}
