//! Laws of a trial, with an agent that learns in microseconds.

use super::*;
use crate::study::testing::{COLLECTION, ChainTask, Walk};
use retune::agent::{Decision, Learner, Mode, Rollout};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use retune::track::RunDir;
use std::path::Path;

/// Chooses one of two candidates from a shared offset on; every reward moves the offset.
struct Fake(FakeLearner);

struct FakeLearner {
    sum: f64,
    rounds: u64,
    version: u64,
    /// What happens in which round.
    trouble: Option<(u64, Trouble)>,
    interrupt: crate::interrupt::Interrupt,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// A request to stop that lets the round end.
    Soft,
    /// A request to stop that gives the round up.
    Hard,
    /// An error in the middle of learning, as after a kill: no checkpoint is written.
    Crash,
    /// A number that is not finite.
    NotFinite,
}

struct FakeActor(u64);

impl Actor<CandidateObs, Slate> for FakeActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.0 = snapshot.checksum.parse().map_err(|_| Error::State("no offset".into()))?;
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<Slate>>> {
        let decide = |(obs, rng): (&Arc<CandidateObs>, &mut StreamRng)| {
            let first = self.0 as usize + rng.below(2);
            Decision { action: Slate(vec![(first % obs.num_candidates()) as u32]), log_prob: 0.0 }
        };
        Ok(obs.iter().zip(rngs).map(decide).collect())
    }
}

impl Learner<CandidateObs, Slate> for FakeLearner {
    fn snapshot(&mut self, _: &[TextId]) -> Result<Arc<Snapshot>> {
        self.version += 1;
        let checksum = ((self.sum.abs() * 10.0) as u64 % 10).to_string();
        Ok(Arc::new(Snapshot { version: self.version, checksum, params: BTreeMap::new(), features: None }))
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        if let Some((round, trouble)) = self.trouble
            && round == rollout.round
        {
            match trouble {
                Trouble::Soft => self.interrupt.soft.request(),
                Trouble::Hard => {
                    self.interrupt.soft.request();
                    self.interrupt.hard.request();
                }
                Trouble::Crash => return Err(Error::State("crash".into())),
                Trouble::NotFinite => {
                    let detail = "NaN on the transitions at [3, 5]".to_owned();
                    return Err(Error::NonFinite { name: "loss".into(), update: self.rounds, detail });
                }
            }
        }
        stop.check()?;
        self.sum += rollout.segments.iter().flat_map(|s| &s.steps).map(|s| s.reward).sum::<f64>();
        self.rounds += 1;
        Ok(BTreeMap::from([("sum".to_owned(), self.sum)]))
    }

    fn ledger(&self) -> Ledger {
        Ledger { updates: self.rounds, ..Ledger::default() }
    }

    fn trainable_parameters(&self) -> usize {
        1
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}fake"), &(self.sum, self.rounds, self.version))
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        (self.sum, self.rounds, self.version) = state.get(&format!("{prefix}fake"))?;
        Ok(())
    }
}

impl Agent<CandidateObs, Slate> for Fake {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        Ok(Box::new(FakeActor(0)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.0
    }
}

fn study(folder: &Path, change: impl FnOnce(&mut Plan)) -> Study {
    let run = RunDir::create(folder).expect("new");
    Study::new(Box::new(Walk::new(change)), run, crate::interrupt::Interrupt::default()).expect("free")
}

fn train(study: &Study, trouble: Option<(u64, Trouble)>) -> Result<TrialRecord> {
    let trial = TrialId { arm: study.prepared.plan().arms[0], seed: 0 };
    let interrupt = study.interrupt.clone();
    let agent = Fake(FakeLearner { sum: 0.0, rounds: 0, version: 0, trouble, interrupt });
    Training::begin(study, &trial, ChainTask, Box::new(agent), COLLECTION)?.run(&trial, &TrialProgress::hidden())
}

/// Record, episodes and metrics without their times.
fn traces(study: &Study, record: &TrialRecord) -> Vec<String> {
    let timeless = |text: &str| {
        let lines = text.lines().map(|l| serde_json::from_str(l).expect("JSON"));
        lines.map(|v| crate::study::timeless(v).to_string()).collect::<Vec<_>>().join("\n")
    };
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("readable");
    let metrics = read(study.run.metrics("sarsa", 0).expect("valid name"));
    let episodes = read(study.run.episodes("sarsa", 0).expect("valid name"));
    assert!(metrics.lines().count() > 5 && episodes.lines().count() > 5, "the test needs something to compare");
    vec![timeless(&serde_json::to_string(record).expect("JSON")), episodes, timeless(&metrics)]
}

fn uninterrupted(folder: &Path) -> Vec<String> {
    let study = study(&folder.join("whole"), |_| ());
    let record = train(&study, None).expect("trains");
    assert_eq!(record.curve.iter().map(|p| p.env_steps).collect::<Vec<_>>(), [0, 320, 640, 960, 1200]);
    traces(&study, &record)
}

#[test]
fn an_interrupted_trial_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let whole = uninterrupted(folder.path());
    for (number, (secs, trouble)) in [
        (1000.0, Trouble::Soft),
        (1000.0, Trouble::Hard),
        (1000.0, Trouble::Crash),
        (0.0, Trouble::Hard),
        (0.0, Trouble::Crash),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(number.to_string());
        let first = study(&path, |plan| plan.train.checkpoint_secs = secs);
        train(&first, Some((7, trouble))).expect_err("stops in round 7");
        // What a second process does: a new study over the same folder.
        drop(first);
        std::fs::rename(&path, path.with_extension("moved")).expect("moves");
        let again = reopen(&path.with_extension("moved"), secs);
        let record = train(&again, None).expect("goes on");
        assert_eq!(traces(&again, &record), whole, "{trouble:?} with checkpoints every {secs} s");
    }
}

fn reopen(path: &Path, secs: f64) -> Study {
    std::fs::write(path.join("manifest.json"), "{}").expect("writes");
    let elsewhere = tempfile::tempdir().expect("temporary folder");
    let mut study = study(&elsewhere.path().join("x"), |plan| plan.train.checkpoint_secs = secs);
    study.run = RunDir::open(path).expect("a run");
    study
}

#[test]
fn actor_threads_change_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let whole = uninterrupted(folder.path());
    let threaded = study(&folder.path().join("threaded"), |plan| plan.actors = 3);
    assert_eq!(traces(&threaded, &train(&threaded, None).expect("trains")), whole);
    // Negative control: another seed does change it.
    let other = study(&folder.path().join("other"), |plan| plan.seed = 1);
    assert_ne!(traces(&other, &train(&other, None).expect("trains"))[1], whole[1]);
}

#[test]
fn a_number_that_is_not_finite_leaves_what_replays_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let broken = study(&folder.path().join("broken"), |plan| plan.train.checkpoint_secs = 0.0);
    let error = train(&broken, Some((7, Trouble::NotFinite))).expect_err("stops in round 7").to_string();
    let trial = broken.run.trial("sarsa", 0).expect("valid name");
    let failure = Failure::read(&trial).expect("readable").expect("kept");
    let expected = Failure {
        error: error.clone(),
        tensor: Some("loss".into()),
        update: Some(7),
        detail: Some("NaN on the transitions at [3, 5]".into()),
        env_steps: 560,
        replays_from: Some(560),
    };
    assert_eq!(failure, expected);
    assert!(trial.join("failure/agent.safetensors").is_file());
    // The checkpoint before it fails again in the same way, and a trial that comes through forgets it.
    assert_eq!(train(&broken, Some((7, Trouble::NotFinite))).expect_err("again").to_string(), error);
    assert_eq!(Failure::read(&trial).expect("readable"), Some(expected));
    train(&broken, None).expect("goes on");
    assert_eq!(Failure::read(&trial).expect("readable"), None);
}

#[test]
fn a_request_to_stop_is_no_failure() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let stopped = study(&folder.path().join("stopped"), |_| ());
    assert!(matches!(train(&stopped, Some((7, Trouble::Hard))), Err(Error::Interrupted)));
    assert_eq!(Failure::read(&stopped.run.trial("sarsa", 0).expect("valid name")).expect("readable"), None);
}
