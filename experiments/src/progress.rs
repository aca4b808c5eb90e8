//! Progress: bars on a terminal, a line per finished trial elsewhere, nothing if asked to be quiet.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often a bar is redrawn though nothing arrived, so that its clock moves.
const TICK: Duration = Duration::from_millis(250);

/// The bars of a study: one over all trials and one for each running trial.
#[derive(Debug)]
pub struct Progress {
    bars: MultiProgress,
    study: ProgressBar,
    lines: bool,
}

impl Progress {
    /// Progress of `trials` trials on standard error.
    #[must_use]
    pub fn new(trials: usize, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let study = bars.add(
            ProgressBar::new(trials as u64)
                .with_style(style("{prefix:28} {wide_bar:.cyan/dim} {pos}/{len} trials, {elapsed} gone, {eta} to go")),
        );
        study.set_prefix("study");
        if terminal {
            study.enable_steady_tick(TICK);
        }
        Self { bars, study, lines: !terminal && !quiet }
    }

    /// Counts a trial that an earlier run finished.
    pub fn skip(&self) {
        self.study.inc(1);
        // Or the time left would be judged by trials that took no time.
        self.study.reset_eta();
    }

    /// A bar for a trial that begins.
    #[must_use]
    pub fn trial(&self, name: &str, env_steps: u64) -> TrialProgress {
        let bar = self.bars.add(ProgressBar::new(env_steps).with_style(style(
            "  {prefix:26} {wide_bar:.green/dim} {pos}/{len} env steps, {per_sec:>14} {msg}, {eta} to go",
        )));
        bar.set_prefix(name.to_owned());
        TrialProgress { bar }
    }

    /// Takes the bar of a finished trial away; without bars says in one line how it ended.
    pub fn finish(&self, trial: &TrialProgress, outcome: &str) {
        trial.bar.finish_and_clear();
        self.study.inc(1);
        if self.lines {
            eprintln!("[{}/{}] {outcome}", self.study.position(), self.study.length().unwrap_or_default());
        }
    }

    /// Takes all bars away.
    pub fn clear(&self) {
        self.study.finish_and_clear();
    }

    /// A writer to standard error that does not tear the bars apart.
    #[must_use]
    pub fn writer(&self) -> BarWriter {
        BarWriter { bars: self.bars.clone() }
    }
}

/// Writes above the bars.
#[derive(Clone, Debug)]
pub struct BarWriter {
    bars: MultiProgress,
}

impl Write for BarWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bars.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// The bar of one running trial.
#[derive(Clone, Debug)]
pub struct TrialProgress {
    bar: ProgressBar,
}

impl TrialProgress {
    /// A bar nobody sees.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Env steps of training so far.
    pub fn set(&self, env_steps: u64) {
        self.bar.set_position(env_steps);
    }

    /// Begins at a checkpoint: steps done by an earlier run do not count for the speed.
    pub fn begin_at(&self, env_steps: u64) {
        self.bar.set_position(env_steps);
        self.bar.reset_eta();
    }

    /// What the trial is doing, in a word.
    pub fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are valid").progress_chars("━╸─")
}
