//! The check finds nothing in sound environments, and each flaw in an environment that has it.

use super::*;
use crate::env::testing::{Counter, Shop};
use crate::env::{
    CandidateObs, Env, EnvError, EnvSpec, EnvState, EpisodeStats, Feedback, ObsSpec, Slate, Status, Step, TextId,
    TimeLimit,
};
use std::sync::atomic::{AtomicU64, Ordering};

fn config() -> CheckConfig {
    CheckConfig { speed_steps: 50, max_steps: 500, ..CheckConfig::default() }
}

fn assert_sound(report: &CheckReport) {
    assert!(report.passed(), "{:#?}", report.rows);
    assert_eq!(report.rows.len(), 9);
    assert!(report.steps_per_second.is_some_and(|speed| speed > 0.0));
}

#[test]
fn sound_environments_pass_wrapped_or_not() {
    assert_sound(&check_env(|| Ok(Shop::new()), &CandidateSampler, &config()).unwrap());
    assert_sound(&check_env(|| Ok(Counter::new(5)), &DiscreteSampler, &config()).unwrap());
    let wrapped = || Ok(EpisodeStats::new(TimeLimit::new(Shop::new(), 3)?));
    assert_sound(&check_env(wrapped, &CandidateSampler, &config()).unwrap());
    let none = CheckConfig { episodes: 0, ..config() };
    assert!(check_env(|| Ok(Shop::new()), &CandidateSampler, &none).is_err());
}

/// What a [`Flawed`] environment does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    NoUnit,
    WrongShape,
    UnknownText,
    NanFeature,
    MissingFeedback,
    RewardTooHigh,
    NothingToChoose,
    RefusesLegal,
    NeverEnds,
    DependsOnInstance,
    RemembersEpisodes,
    IgnoresSeed,
    AcceptsDuplicates,
    WrongErrorKind,
    ChangesStateWhenRefusing,
    HiddenStateWhenRefusing,
    LosesState,
    AcceptsForeignStates,
    ForgetsWhenRefusingStates,
    StepsBeforeReset,
    StepsAfterEnd,
}

/// A shop with one flaw.
struct Flawed {
    shop: Shop,
    flaw: Flaw,
    spec: EnvSpec,
    /// Number of this instance.
    instance: u64,
    episodes: u64,
    refused: u64,
    was_reset: bool,
    last: CandidateObs,
}

impl Flawed {
    fn new(flaw: Flaw, instance: u64) -> Self {
        let shop = Shop::new();
        let mut spec = shop.spec().clone();
        if flaw == Flaw::NoUnit {
            spec.reward_unit = "";
        }
        Self { shop, flaw, spec, instance, episodes: 0, refused: 0, was_reset: false, last: CandidateObs::default() }
    }

    fn spoil(&self, mut obs: CandidateObs) -> CandidateObs {
        match self.flaw {
            Flaw::WrongShape => obs.state.push(0.0),
            Flaw::UnknownText => obs.candidate_texts[0] = TextId(10),
            Flaw::NanFeature => obs.candidate_features[0] = f32::NAN,
            Flaw::MissingFeedback => {
                obs.feedback = obs.feedback.map(|f| Feedback { outcomes: f.outcomes[1..].to_vec(), ..f });
            }
            Flaw::NothingToChoose => obs.mask.fill(false),
            Flaw::DependsOnInstance => obs.state[0] += self.instance as f32,
            Flaw::RemembersEpisodes => obs.state[0] += self.episodes as f32,
            Flaw::HiddenStateWhenRefusing => obs.state[0] += self.refused as f32,
            _ => {}
        }
        obs
    }

    fn refuse(&mut self, slate: &Slate, error: EnvError) -> Result<Step<CandidateObs>, EnvError> {
        self.refused += 1;
        match (self.flaw, &error) {
            (Flaw::WrongErrorKind, EnvError::Action { message, .. }) => Err(EnvError::State(message.clone())),
            (Flaw::AcceptsDuplicates, EnvError::Action { kind: "duplicate_item", .. }) => {
                self.shop.step(&Slate(vec![slate.0[0], (slate.0[0] + 1) % 4]))
            }
            (Flaw::StepsBeforeReset, EnvError::EpisodeOver) if !self.was_reset => self.fake_step(),
            (Flaw::StepsAfterEnd, EnvError::EpisodeOver) if self.was_reset => self.fake_step(),
            _ => Err(error),
        }
    }

    fn fake_step(&self) -> Result<Step<CandidateObs>, EnvError> {
        Ok(Step { obs: self.last.clone(), reward: 0.0, status: Status::Running })
    }
}

impl Env for Flawed {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        self.was_reset = true;
        self.episodes += 1;
        let seed = if self.flaw == Flaw::IgnoresSeed { seed.map(|_| self.episodes) } else { seed };
        let obs = self.shop.reset(seed)?;
        Ok(self.spoil(obs))
    }

    fn step(&mut self, slate: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        if self.flaw == Flaw::RefusesLegal && slate.0.contains(&0) {
            return Err(EnvError::Action { kind: "dislike", message: "not this one".to_owned() });
        }
        let mut step = match self.shop.step(slate) {
            Ok(step) => step,
            Err(error) => return self.refuse(slate, error),
        };
        if self.flaw == Flaw::NeverEnds {
            step.status = Status::Running;
            if self.shop.save_state()?.state["running"] == false {
                step.obs = self.shop.reset(None)?;
            }
        }
        if self.flaw == Flaw::RewardTooHigh {
            step.reward += 1.0;
        }
        self.last = step.obs.clone();
        step.obs = self.spoil(step.obs);
        Ok(step)
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let mut saved = self.shop.save_state()?;
        match self.flaw {
            Flaw::LosesState => saved.state["rng"] = Shop::new().save_state()?.state["rng"].clone(),
            Flaw::ChangesStateWhenRefusing => saved.env = format!("{} {}", saved.env, self.refused),
            _ => {}
        }
        Ok(saved)
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if self.flaw == Flaw::AcceptsForeignStates {
            return self.shop.restore_state(&EnvState { env: self.spec.id.clone(), state: state.state.clone() });
        }
        let restored = self.shop.restore_state(state);
        if restored.is_err() && self.flaw == Flaw::ForgetsWhenRefusingStates {
            self.shop = Shop::new();
        }
        restored
    }
}

fn report(flaw: Flaw) -> CheckReport {
    let instances = AtomicU64::new(0);
    let make = || Ok(Flawed::new(flaw, instances.fetch_add(1, Ordering::SeqCst)));
    check_env(make, &CandidateSampler, &config()).unwrap()
}

#[test]
fn every_flaw_fails_its_law() {
    let observations = "observations fit the spec";
    let legal = "legal actions exist and are accepted, and episodes end";
    let seed = "the same seed gives the same trajectory";
    let refused = "a refused action changes nothing";
    let foreign = "a foreign state is refused and changes nothing";
    let bounds = "there is no step without a running episode";
    let cases = [
        (Flaw::NoUnit, "the spec is well-formed", "unit"),
        (Flaw::WrongShape, observations, "state has 3 entries, the spec says 2"),
        (Flaw::UnknownText, observations, "text 10 of a table of 10"),
        (Flaw::NanFeature, observations, "candidate_features holds NaN"),
        (Flaw::MissingFeedback, observations, "feedback.outcomes has 1 entries, the spec says 2"),
        (Flaw::RewardTooHigh, "rewards are finite and within their range", "the spec says 0 to 1"),
        (Flaw::NothingToChoose, legal, "the mask allows 0 candidates, a slate needs 2"),
        (Flaw::RefusesLegal, legal, "not this one"),
        (Flaw::NeverEnds, legal, "no end within 500 steps"),
        (Flaw::DependsOnInstance, seed, "differ after 0 equal steps"),
        (Flaw::RemembersEpisodes, seed, "differ after 0 equal steps"),
        (Flaw::IgnoresSeed, seed, "differ after"),
        (Flaw::AcceptsDuplicates, refused, "is accepted"),
        (Flaw::WrongErrorKind, refused, "another kind of error"),
        (Flaw::ChangesStateWhenRefusing, refused, "changes the saved state"),
        (Flaw::HiddenStateWhenRefusing, refused, "hidden state or a draw was used"),
        (Flaw::LosesState, "a saved state continues in another instance", "restored at step"),
        (Flaw::AcceptsForeignStates, foreign, "of another environment is accepted"),
        (Flaw::ForgetsWhenRefusingStates, foreign, "changes the environment"),
        (Flaw::StepsBeforeReset, bounds, "before the first reset is accepted"),
        (Flaw::StepsAfterEnd, bounds, "after the end is accepted"),
    ];
    for (flaw, law, detail) in cases {
        let report = report(flaw);
        let row = report.row(law).unwrap();
        assert!(!row.passed && row.detail.contains(detail), "{flaw:?}: {row:?}");
    }
}

#[test]
fn numbers_are_held_against_their_spec() {
    let unit = ObsSpec::Box { low: vec![0.0, -1.0], high: vec![1.0, 1.0] };
    assert_eq!(vec![0.5, -1.0].problem(&unit), None);
    assert!([0.5, f32::NAN].problem(&unit).unwrap().contains("component 1 is NaN"));
    assert!(vec![0.5].problem(&unit).unwrap().contains("1 numbers, the spec says 2"));
    assert_eq!(2u32.problem(&ObsSpec::Discrete { n: 3 }), None);
    assert!(3usize.problem(&ObsSpec::Discrete { n: 3 }).is_some());
    assert!(3u32.problem(&unit).is_some());
}
