//! The environment: ask findings, pay for them, declare a diagnosis.
//!
//! Candidates are the M findings (`ask`), the D diagnoses (`declare`), and with [`DiagQueryConfig::stop`] one more that
//! declares the likeliest diagnosis of the attached model. Masked are findings that were asked, that cost more than is
//! left of the budget, or whose parent question was not answered with something else than its default, and all of them
//! after `t_max` questions. Declaring is always legal, but for diagnoses of [`DiagQueryConfig::undeclarable`].
//!
//! | action | reward | end |
//! |---|---|---|
//! | ask finding i | −λ cᵢ (plus shaping) | no |
//! | declare d | utility of (truth, d) | terminated |
//! | stop | as declaring the likeliest diagnosis, the first of equals | terminated |
//!
//! The environment never truncates: without time or budget only declaring is left. The score is the undiscounted
//! return without shaping.
//!
//! A patient and the answers depend on the seed and the number of the episode alone: every policy meets the same ones.

mod bins;
mod config;
mod encode;
mod episode;
mod rules;
#[cfg(test)]
mod tests;

pub use config::{Costs, DiagQueryConfig, Initial, MAX_BINS, MAX_COST, Shaping, Utility, View};
pub use episode::{Asked, Reply, case_stream};

use super::baselines::Task;
use super::model::Belief;
use super::problem::{Case, Problem};
use encode::Encoder;
use episode::{Episode, enter};
use retune::env::{ActionSpec, CandidateObs, Env, EnvError, EnvSpec, EnvState, ObsSpec, Slate, Status, Step, TextId};
use rules::{Rules, entropy_nats};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an action means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask this finding.
    Ask(usize),
    /// Declare this diagnosis.
    Declare(usize),
    /// Declare the likeliest diagnosis of the attached model.
    Stop,
}

/// Asking and declaring as an environment over [`CandidateObs`] and slates of one.
///
/// Refused in this order: `wrong_slate_length`, `index_out_of_range`, [`EnvError::EpisodeOver`], `masked_action`;
/// nothing has then changed.
pub struct DiagQuery {
    problem: Arc<Problem>,
    config: DiagQueryConfig,
    rules: Rules,
    encoder: Encoder,
    spec: EnvSpec,
    fingerprint: String,
    episode: Option<Episode>,
    belief: Option<Box<dyn Belief>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    fingerprint: String,
    episode: Option<Episode>,
}

impl DiagQuery {
    /// The environment of a problem.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the problem or a setting is not usable.
    pub fn new(problem: Arc<Problem>, config: DiagQueryConfig) -> Result<Self, EnvError> {
        let rules = Rules::new(&problem, &config)?;
        let encoder = Encoder::new(&problem, &config, &rules);
        let spec = EnvSpec {
            id: format!("diag_query/{}/{}", problem.name, config.view.name()),
            description: format!(
                "Ask any of {} findings at a cost, then declare one of {} diagnoses (a research simulator, not a \
                 medical device).",
                problem.findings.len(),
                problem.diagnoses.len()
            ),
            obs: ObsSpec::Candidates(encoder.spec(&rules)),
            action: ActionSpec::Slate { size: 1 },
            reward_unit: "utility",
            reward_range: rules.reward_range(),
            time_limit: None,
            texts: encoder.texts().clone(),
        };
        let settings = serde_json::to_string(&config).map_err(|e| EnvError::State(e.to_string()))?;
        let states = &rules.states;
        let fingerprint = format!("{} of {} diagnoses, {states:?}: {settings}", problem.name, problem.diagnoses.len());
        Ok(Self { problem, config, rules, encoder, spec, fingerprint, episode: None, belief: None })
    }

    /// The problem.
    #[must_use]
    pub fn problem(&self) -> &Arc<Problem> {
        &self.problem
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &DiagQueryConfig {
        &self.config
    }

    /// Sizes of the one-hot blocks that a state of [`View::Bins`] consists of: the likeliest diagnosis, its probability, the
    /// entropy, the number of questions asked. `None` in other views.
    #[must_use]
    pub fn blocks(&self) -> Option<[usize; 4]> {
        (self.config.view == View::Bins).then(|| self.encoder.bins().blocks())
    }

    /// The texts of the wording that is shown, in [`View::Text`].
    #[must_use]
    pub fn shown_texts(&self) -> Vec<TextId> {
        self.encoder.shown_texts()
    }

    /// The decision problem as planners see it: with the answers as the attached model believes that they come about.
    #[must_use]
    pub fn task(&self) -> Task {
        let rules = &self.rules;
        Task {
            states: rules.states.clone(),
            costs: rules.costs.clone(),
            lambda: rules.lambda,
            utilities: rules.utilities.clone(),
            channel: rules.believed.clone(),
        }
    }

    /// The patient with everything that is hidden: for evaluation only.
    #[must_use]
    pub fn case(&self) -> Option<&Case> {
        self.episode.as_ref().map(|e| &e.case)
    }

    /// What is known so far, in the order it became known.
    #[must_use]
    pub fn asked(&self) -> &[Asked] {
        self.episode.as_ref().map_or(&[], |e| &e.asked)
    }

    /// What was declared.
    #[must_use]
    pub fn declared(&self) -> Option<usize> {
        self.episode.as_ref().and_then(|e| e.declared)
    }

    /// What the questions of this episode cost.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.episode.as_ref().map_or(0.0, |e| e.cost)
    }

    /// What asking a finding costs.
    ///
    /// # Panics
    /// If there is no such finding.
    #[must_use]
    pub fn finding_cost(&self, finding: usize) -> f64 {
        self.rules.costs[finding]
    }

    /// Sum of this episode's rewards without shaping: the score.
    #[must_use]
    pub fn unshaped_return(&self) -> f64 {
        self.episode.as_ref().map_or(0.0, |e| e.unshaped_return)
    }

    /// Answers of this episode that the attached model held to be impossible.
    #[must_use]
    pub fn impossible_answers(&self) -> u64 {
        self.episode.as_ref().map_or(0, |e| e.impossible)
    }

    /// The posterior of the attached model, if there is one.
    #[must_use]
    pub fn posterior(&self) -> Option<&[f64]> {
        self.belief.as_deref().map(Belief::posterior)
    }

    /// What is known, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.episode.as_ref().map_or_else(String::new, |e| encode::sentence(&self.problem, &self.rules, e))
    }

    /// What the candidate with this index means.
    #[must_use]
    pub fn act(&self, candidate: usize) -> Option<Act> {
        let (m, d) = (self.problem.findings.len(), self.problem.diagnoses.len());
        match candidate {
            i if i < m => Some(Act::Ask(i)),
            i if i < m + d => Some(Act::Declare(i - m)),
            i if i == m + d && self.config.stop => Some(Act::Stop),
            _ => None,
        }
    }

    /// The candidate that means `act`.
    #[must_use]
    pub fn candidate(&self, act: Act) -> Slate {
        let (m, d) = (self.problem.findings.len(), self.problem.diagnoses.len());
        Slate(vec![match act {
            Act::Ask(i) => i,
            Act::Declare(y) => m + y,
            Act::Stop => m + d,
        } as u32])
    }

    /// Shows what an agent would see of the running episode if these had been asked and answered, and nothing else: for
    /// going through all answers. The patient stays who it is, so the answers need not be theirs.
    ///
    /// # Errors
    /// [`EnvError::EpisodeOver`] without a running episode, [`EnvError::State`] for what cannot have been asked.
    pub fn imagine(&mut self, asked: Vec<Asked>) -> Result<CandidateObs, EnvError> {
        let old = self.episode.as_ref().filter(|e| e.status == Status::Running).ok_or(EnvError::EpisodeOver)?;
        let costs = asked.iter().filter(|a| !a.given).map(|a| self.rules.costs.get(a.finding).copied().unwrap_or(0.0));
        let cost = costs.sum();
        let episode = Episode { asked, cost, last_reward: None, ..old.clone() };
        episode.check(&self.problem, &self.rules)?;
        let (belief, impossible) = self.believe(&episode);
        let unshaped_return = -self.rules.lambda * cost;
        (self.belief, self.episode) = (belief, Some(Episode { impossible, unshaped_return, ..episode }));
        self.observe()
    }

    /// A belief of the attached model after what `episode` knows, and how many answers it held to be impossible.
    fn believe(&self, episode: &Episode) -> (Option<Box<dyn Belief>>, u64) {
        let mut belief = self.problem.model.as_ref().map(|model| model.begin());
        let mut impossible = 0;
        if let Some(belief) = &mut belief {
            for asked in &episode.asked {
                impossible += u64::from(!enter(belief.as_mut(), &self.rules, asked));
            }
        }
        (belief, impossible)
    }

    fn observe(&mut self) -> Result<CandidateObs, EnvError> {
        let episode = self.episode.as_ref().ok_or(EnvError::EpisodeOver)?;
        let belief = self.belief.as_mut().map(|belief| belief.as_mut() as &mut dyn Belief);
        Ok(self.encoder.observe(&self.rules, episode, belief))
    }

    /// The meaning of an action that may be done now.
    fn legal(&self, action: &Slate) -> Result<Act, EnvError> {
        let refuse = |kind, message| Err(EnvError::Action { kind, message });
        let [candidate] = action.0[..] else {
            return refuse("wrong_slate_length", format!("{} candidates, expected 1", action.0.len()));
        };
        let Some(act) = self.act(candidate as usize) else {
            return refuse("index_out_of_range", format!("candidate {candidate}, expected one that is offered"));
        };
        let episode = self.episode.as_ref().filter(|e| e.status == Status::Running).ok_or(EnvError::EpisodeOver)?;
        match act {
            Act::Ask(i) if !self.rules.open(episode)[i] => {
                let id = &self.problem.findings[i].id;
                refuse("masked_action", format!("finding {id} cannot be asked now, expected a candidate of the mask"))
            }
            Act::Declare(d) if !self.rules.declarable[d] => {
                let id = &self.problem.diagnoses[d].id;
                refuse("masked_action", format!("{id} may not be declared here, expected a candidate of the mask"))
            }
            act => Ok(act),
        }
    }

    /// Asks; returns the reward without shaping, the shaping, and a diagnosis that the shaping declares.
    fn ask(&mut self, finding: usize) -> Result<(f64, f64, Option<usize>), EnvError> {
        let rules = &self.rules;
        let episode = self.episode.as_mut().ok_or(EnvError::EpisodeOver)?;
        let reply = episode.answer(rules, finding);
        let asked = Asked { finding, reply, given: false };
        episode.asked.push(asked);
        episode.cost += rules.costs[finding];
        let (mut shaping, mut declared) = (0.0, None);
        if let Some(belief) = &mut self.belief {
            let before = rules.relative(belief.posterior());
            episode.impossible += u64::from(!enter(belief.as_mut(), rules, &asked));
            let posterior = belief.posterior();
            let after = rules.relative(posterior);
            match rules.shaping {
                Shaping::None => {}
                Shaping::Potential { gamma } => shaping = before - gamma * after,
                Shaping::Aarlc { mu, nu, .. } => {
                    let positive = reply.is_some_and(|s| s != rules.defaults[finding]);
                    shaping = mu * (-0.3 + f64::from(u8::from(positive))) + nu * (before - after).max(0.0);
                    let likeliest = likeliest(posterior);
                    if entropy_nats(posterior) < episode.thresholds[likeliest] {
                        declared = Some(likeliest);
                    }
                }
            }
        }
        Ok((-rules.lambda * rules.costs[finding], shaping, declared))
    }

    /// Declares; returns the utility and the shaping of ending by one's own decision.
    fn declare(&mut self, diagnosis: usize, by_threshold: bool) -> Result<(f64, f64), EnvError> {
        let rules = &self.rules;
        let episode = self.episode.as_mut().ok_or(EnvError::EpisodeOver)?;
        let truth = episode.case.diagnosis;
        episode.declared = Some(diagnosis);
        episode.status = Status::Terminated;
        let mut shaping = 0.0;
        if let Some(belief) = &self.belief {
            match rules.shaping {
                Shaping::None => {}
                // Φ is 0 after the end.
                Shaping::Potential { .. } => shaping = rules.relative(belief.posterior()),
                Shaping::Aarlc { mu, .. } if by_threshold => {
                    shaping = -mu;
                    if truth == diagnosis {
                        shaping += 2.0 * mu;
                        let threshold = &mut episode.thresholds[diagnosis];
                        *threshold = 0.99 * *threshold + 0.01 * entropy_nats(belief.posterior());
                    }
                }
                Shaping::Aarlc { .. } => {}
            }
        }
        Ok((rules.utilities.of(truth, diagnosis), shaping))
    }
}

/// The likeliest diagnosis, the first of equals.
#[must_use]
pub fn likeliest(posterior: &[f64]) -> usize {
    let best = posterior.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    posterior.iter().position(|&p| p == best).unwrap_or_default()
}

impl Env for DiagQuery {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        let (seed, number, thresholds) = match (seed, self.episode.take()) {
            (Some(seed), _) => (seed, 0, self.rules.thresholds()),
            (None, None) => (self.config.seed, 0, self.rules.thresholds()),
            // What the thresholds learnt stays for the life of a seed.
            (None, Some(old)) => (old.seed, old.number.wrapping_add(1), old.thresholds),
        };
        let mut episode = Episode::begin(&self.problem, self.config.initial, seed, number, thresholds);
        let (belief, impossible) = self.believe(&episode);
        episode.impossible = impossible;
        (self.belief, self.episode) = (belief, Some(episode));
        self.observe()
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let (mut reward, mut shaping, declared, by_threshold) = match self.legal(action)? {
            Act::Ask(finding) => {
                let (reward, shaping, declared) = self.ask(finding)?;
                (reward, shaping, declared, true)
            }
            Act::Declare(diagnosis) => (0.0, 0.0, Some(diagnosis), false),
            Act::Stop => (0.0, 0.0, self.posterior().map(likeliest), false),
        };
        if let Some(diagnosis) = declared {
            let (utility, more) = self.declare(diagnosis, by_threshold)?;
            reward += utility;
            shaping += more;
        }
        let episode = self.episode.as_mut().ok_or(EnvError::EpisodeOver)?;
        episode.unshaped_return += reward;
        episode.last_reward = Some((reward + shaping) as f32);
        let status = episode.status;
        Ok(Step { obs: self.observe()?, reward: reward + shaping, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let saved = Saved { fingerprint: self.fingerprint.clone(), episode: self.episode.clone() };
        let state = serde_json::to_value(&saved).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(format!("it belongs to {}, not to {}", state.env, self.spec.id)));
        }
        let saved = Saved::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        if saved.fingerprint != self.fingerprint {
            let message = format!("it was saved with other settings: {}, not {}", saved.fingerprint, self.fingerprint);
            return Err(EnvError::State(message));
        }
        if let Some(episode) = &saved.episode {
            episode.check(&self.problem, &self.rules)?;
        }
        self.belief = saved.episode.as_ref().and_then(|e| self.believe(e).0);
        self.episode = saved.episode;
        Ok(())
    }
}
