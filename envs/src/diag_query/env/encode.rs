//! What the agent is shown.

use super::bins::Bins;
use super::config::{DiagQueryConfig, Initial, View};
use super::episode::{Asked, Episode};
use super::rules::Rules;
use crate::diag_query::gain::{entropy_bits, gains};
use crate::diag_query::model::Belief;
use crate::diag_query::problem::{Problem, TestKind};
use retune::env::{CandidateObs, CandidateSpec, Feedback, HistoryEvent, ItemOutcome, TextId, TextTable};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Numbers of an event in the history: 1 if the finding was asked, 0 if it was given from the start.
const HISTORY_DIM: usize = 1;

/// Numbers of a candidate in [`View::Candidates`]: 1 for a question; its gain in bits, or the probability of a diagnosis;
/// the logarithm of that; the cost of a question over that of the dearest.
const CANDIDATE_DIM: usize = 4;

/// Logarithms in [`View::Candidates`] are in units of so many bits, and end at −1.
const LOG_BITS: f64 = 10.0;

/// How observations are laid out.
#[derive(Clone, Debug)]
pub struct Encoder {
    view: View,
    stop: bool,
    diagnoses: usize,
    /// First number of each finding in the state of [`View::Vector`].
    offsets: Vec<usize>,
    /// First number of each finding in the state of [`View::Signed`], and whether it has one slot a state.
    signed: Vec<(usize, bool)>,
    signed_len: usize,
    /// First text of the answers to each finding: its states, then `unknown`.
    answer_texts: Vec<u32>,
    texts: TextTable,
    /// Texts of one wording.
    num_texts: u32,
    /// First text of the wording that is shown.
    first_text: u32,
    history_len: usize,
    bins: Bins,
}

impl Encoder {
    pub fn new(problem: &Problem, config: &DiagQueryConfig, rules: &Rules) -> Self {
        let (mut offsets, mut at) = (Vec::with_capacity(rules.states.len()), 0);
        for &states in &rules.states {
            offsets.push(at);
            at += states + 2;
        }
        let (mut signed, mut signed_len) = (Vec::with_capacity(rules.states.len()), 0);
        for (finding, &states) in problem.findings.iter().zip(&rules.states) {
            let slots = finding.kind == TestKind::Demographic;
            signed.push((signed_len, slots));
            signed_len += if slots { states } else { 2 };
        }
        let given = match config.initial {
            Initial::None => 0,
            Initial::RandomPositive => 1,
            Initial::FromData => problem.source.max_given(),
        };
        let mut made = Self {
            view: config.view,
            stop: config.stop,
            diagnoses: problem.diagnoses.len(),
            offsets,
            signed,
            signed_len,
            answer_texts: Vec::new(),
            texts: TextTable::default(),
            num_texts: 0,
            first_text: 0,
            history_len: config.t_max.min(rules.states.len()) + given,
            bins: Bins::new(problem.diagnoses.len(), config.bins, config.t_max.min(rules.states.len())),
        };
        if made.view == View::Text {
            made.write_texts(problem, config, rules);
        }
        made
    }

    /// All texts in the names of the problem, then, if there are other names, all of them in those.
    fn write_texts(&mut self, problem: &Problem, config: &DiagQueryConfig, rules: &Rules) {
        let mut texts = self.wording(problem, rules, &BTreeMap::new());
        self.num_texts = texts.len() as u32;
        if !config.synonyms.is_empty() {
            texts.extend(self.wording(problem, rules, &config.synonyms));
            self.first_text = if config.renamed { self.num_texts } else { 0 };
        }
        let mut next = self.num_candidates() as u32;
        for &states in &rules.states {
            self.answer_texts.push(next);
            next += states as u32 + 1;
        }
        self.texts = TextTable::new(texts);
    }

    /// Candidates first, in their order, then all answers.
    fn wording(&self, problem: &Problem, rules: &Rules, names: &BTreeMap<String, String>) -> Vec<String> {
        let of = |id: &String, name| names.get(id).unwrap_or(name).clone();
        let findings: Vec<String> = problem.findings.iter().map(|f| of(&f.id, &f.name)).collect();
        let mut texts: Vec<String> =
            findings.iter().zip(&rules.costs).map(|(name, c)| format!("ask: {name} (cost {c})")).collect();
        texts.extend(problem.diagnoses.iter().map(|d| format!("declare: {}", of(&d.id, &d.name))));
        if self.stop {
            texts.push("stop: declare the likeliest diagnosis".to_owned());
        }
        for (finding, name) in problem.findings.iter().zip(&findings) {
            texts.extend(finding.states.iter().map(|state| format!("{name} {state}")));
            texts.push(format!("{name} unknown"));
        }
        texts
    }

    fn num_candidates(&self) -> usize {
        self.offsets.len() + self.diagnoses + usize::from(self.stop)
    }

    pub fn texts(&self) -> &TextTable {
        &self.texts
    }

    /// The texts of the wording that is shown.
    pub fn shown_texts(&self) -> Vec<TextId> {
        (self.first_text..self.first_text + self.num_texts).map(TextId).collect()
    }

    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    pub fn spec(&self, rules: &Rules) -> CandidateSpec {
        let findings = rules.states.len();
        let vector: usize = rules.states.iter().map(|s| s + 2).sum();
        let text = self.view == View::Text;
        CandidateSpec {
            num_candidates: self.num_candidates(),
            state_dim: match self.view {
                View::Vector => vector + 2,
                View::Known => vector - findings + 2,
                View::Signed => self.signed_len + 2,
                View::Text => 2,
                View::Belief => self.diagnoses + 3 + findings,
                View::BeliefGain => self.diagnoses + 3 + 2 * findings,
                View::Candidates => 4,
                View::Bins => self.bins.blocks().iter().sum(),
            },
            candidate_dim: if self.view == View::Candidates { CANDIDATE_DIM } else { 0 },
            has_text: text,
            history_len: if text { self.history_len } else { 0 },
            history_dim: if text { HISTORY_DIM } else { 0 },
            answers: findings..findings + self.diagnoses,
            pool: (0..self.num_texts).map(TextId).collect(),
        }
    }

    pub fn observe(&self, rules: &Rules, episode: &Episode, belief: Option<&mut dyn Belief>) -> CandidateObs {
        let mask = rules.open(episode);
        let time = episode.questions() as f32 / rules.t_max as f32;
        let cost = (episode.cost / rules.cost_unit) as f32;
        let mut state = match (self.view, belief) {
            (View::Vector, _) => self.vector(rules, episode),
            (View::Known, _) => self.known(rules, episode),
            (View::Signed, _) => self.signed(rules, episode),
            (View::Belief | View::BeliefGain, Some(belief)) => {
                return self.finish(believed(rules, episode, belief, self.view, [time, cost]), rules, mask, episode);
            }
            (View::Candidates, Some(belief)) => {
                let largest = belief.posterior().iter().copied().fold(0.0, f64::max);
                let state = vec![entropy_bits(belief.posterior()) as f32, largest as f32, time, cost];
                let candidate_features = self.each(rules, episode, belief);
                return CandidateObs { candidate_features, ..self.finish(state, rules, mask, episode) };
            }
            (View::Bins, Some(belief)) => {
                let state = self.bins.state(belief.posterior(), episode.questions());
                return self.finish(state, rules, mask, episode);
            }
            _ => Vec::new(),
        };
        state.extend([time, cost]);
        self.finish(state, rules, mask, episode)
    }

    fn finish(&self, state: Vec<f32>, rules: &Rules, mut mask: Vec<bool>, episode: &Episode) -> CandidateObs {
        mask.extend_from_slice(&rules.declarable);
        mask.resize(self.num_candidates(), true);
        let text = self.view == View::Text;
        let candidates = if text { self.num_candidates() as u32 } else { 0 };
        let history = if text { episode.asked.iter().map(|a| self.event(a)).collect() } else { Vec::new() };
        let outcome = |reward| ItemOutcome { clicked: true, reward, quality: None };
        CandidateObs {
            state,
            history,
            candidate_features: Vec::new(),
            candidate_texts: (self.first_text..self.first_text + candidates).map(TextId).collect(),
            mask,
            feedback: episode
                .last_reward
                .map(|reward| Feedback { outcomes: vec![outcome(reward)], best: self.best(episode) }),
        }
    }

    /// The numbers of all candidates, `[num_candidates, CANDIDATE_DIM]`; those of questions that were asked are 0.
    fn each(&self, rules: &Rules, episode: &Episode, belief: &mut dyn Belief) -> Vec<f32> {
        let mut each = vec![0.0; self.num_candidates() * CANDIDATE_DIM];
        let asked: BTreeSet<usize> = episode.asked.iter().map(|a| a.finding).collect();
        let open: Vec<usize> = (0..rules.states.len()).filter(|i| !asked.contains(i)).collect();
        let of_open = gains(belief, &rules.believed, &open, &rules.states);
        let dearest = rules.costs.iter().copied().fold(0.0, f64::max);
        for (&finding, gain) in open.iter().zip(of_open) {
            let cost = if dearest > 0.0 { (rules.costs[finding] / dearest) as f32 } else { 0.0 };
            let numbers = [1.0, gain as f32, logarithm(gain), cost];
            each[finding * CANDIDATE_DIM..][..CANDIDATE_DIM].copy_from_slice(&numbers);
        }
        let posterior = belief.posterior();
        let stop = posterior.iter().copied().fold(0.0, f64::max);
        let answers = each[rules.states.len() * CANDIDATE_DIM..].chunks_exact_mut(CANDIDATE_DIM);
        for (numbers, &p) in answers.zip(posterior.iter().chain([&stop])) {
            numbers.copy_from_slice(&[0.0, p as f32, logarithm(p), 0.0]);
        }
        each
    }

    /// The candidate that declares the true diagnosis, told once the episode is over.
    fn best(&self, episode: &Episode) -> Option<u32> {
        episode.status.is_over().then(|| (self.offsets.len() + episode.case.diagnosis) as u32)
    }

    fn event(&self, asked: &Asked) -> HistoryEvent {
        let first = self.answer_texts[asked.finding];
        let next = self.answer_texts.get(asked.finding + 1).copied().unwrap_or(self.num_texts);
        let text = TextId(self.first_text + asked.reply.map_or(next - 1, |state| first + state as u32));
        HistoryEvent { text: Some(text), features: vec![f32::from(u8::from(!asked.given))] }
    }

    fn vector(&self, rules: &Rules, episode: &Episode) -> Vec<f32> {
        let mut state = vec![0.0; rules.states.iter().map(|s| s + 2).sum()];
        self.offsets.iter().for_each(|&at| state[at] = 1.0);
        for asked in &episode.asked {
            let at = self.offsets[asked.finding];
            state[at] = 0.0;
            state[at + asked.reply.map_or(1, |s| s + 2)] = 1.0;
        }
        state
    }

    /// [`Encoder::vector`] without the first slot of each finding.
    fn known(&self, rules: &Rules, episode: &Episode) -> Vec<f32> {
        let mut state = vec![0.0; rules.states.iter().map(|s| s + 1).sum()];
        for asked in &episode.asked {
            // One slot a finding fewer before it.
            let at = self.offsets[asked.finding] - asked.finding;
            state[at + asked.reply.map_or(0, |s| s + 1)] = 1.0;
        }
        state
    }

    /// Two numbers a finding, the answer and whether it was `unknown`; age and sex have one slot a state.
    fn signed(&self, rules: &Rules, episode: &Episode) -> Vec<f32> {
        let mut state = vec![0.0; self.signed_len];
        for asked in &episode.asked {
            let (states, (at, slots)) = (rules.states[asked.finding], self.signed[asked.finding]);
            match asked.reply {
                Some(s) if slots => state[at + s] = 1.0,
                None if slots => {}
                None => state[at + 1] = 1.0,
                Some(s) if states > 2 => state[at] = (s + 1) as f32 / states as f32,
                Some(s) => state[at] = if s == rules.defaults[asked.finding] { -1.0 } else { 1.0 },
            }
        }
        state
    }
}

/// Bits over [`LOG_BITS`], at least −1.
fn logarithm(x: f64) -> f32 {
    (x.log2() / LOG_BITS).max(-1.0) as f32
}

fn believed(rules: &Rules, episode: &Episode, belief: &mut dyn Belief, view: View, rest: [f32; 2]) -> Vec<f32> {
    let mut state: Vec<f32> = belief.posterior().iter().map(|&p| p as f32).collect();
    state.push(entropy_bits(belief.posterior()) as f32);
    state.extend(rest);
    let start = state.len();
    let findings = rules.states.len();
    state.resize(start + findings, 0.0);
    episode.asked.iter().for_each(|a| state[start + a.finding] = 1.0);
    if view == View::BeliefGain {
        let open: Vec<usize> = (0..findings).filter(|&i| state[start + i] == 0.0).collect();
        let of_open = gains(belief, &rules.believed, &open, &rules.states);
        state.resize(start + 2 * findings, 0.0);
        open.iter().zip(of_open).for_each(|(&i, gain)| state[start + findings + i] = gain as f32);
    }
    state
}

/// `Known: fever yes; cough no. Asked 2 of 10, cost 1.5 of 20.`
pub fn sentence(problem: &Problem, rules: &Rules, episode: &Episode) -> String {
    let mut text = String::from("Known: ");
    for (i, asked) in episode.asked.iter().enumerate() {
        let finding = &problem.findings[asked.finding];
        let state = asked.reply.map_or("unknown", |s| finding.states[s].as_str());
        // Writing to a string cannot fail.
        write!(text, "{}{} {state}", if i > 0 { "; " } else { "" }, finding.name).expect("a string grows");
    }
    if episode.asked.is_empty() {
        text.push_str("nothing");
    }
    write!(text, ". Asked {} of {}, cost {}", episode.questions(), rules.t_max, episode.cost).expect("a string grows");
    if rules.budget.is_finite() {
        write!(text, " of {}", rules.budget).expect("a string grows");
    }
    text.push('.');
    text
}
