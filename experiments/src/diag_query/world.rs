//! The patients of a study: who is met in training, in choosing thresholds and in the final evaluation.

use super::config::{DiagQuerySettings, ModelKind, ShapingName};
use super::ddxplus::Recorded;
use super::problems::{self, MAX_CELLS};
use super::rates;
use super::tables::{Parts, Table, costs, names, utility};
use crate::failure::bad_input;
use anyhow::Result;
use retune::rng::Seed;
use retune::track::sha256_hex;
use retune_envs::diag_query::composite::{Composite, CompositeModel};
use retune_envs::diag_query::env::{Costs, DiagQuery, DiagQueryConfig, Shaping, Utility, View, case_stream};
use retune_envs::diag_query::model::Model;
use retune_envs::diag_query::network::Network;
use retune_envs::diag_query::problem::{Case, ListSource, Problem, Selected};
use retune_envs::diag_query::shipped::{Roles, network_problem, read_network};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most questions where nobody says otherwise: for networks and tables, for dialogues and for DDXPlus.
const T_MAX: usize = 10;
const T_MAX_DIALOGUES: usize = 20;
const T_MAX_DDXPLUS: usize = 30;

/// Largest file that is read: those of DDXPlus have up to 0.7 GB.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Draws after which a case that no episode has shown is given up, per case.
const DRAWS_PER_CASE: usize = 200;

/// Where cases come from.
enum Source {
    /// A network, with what is needed to fit another to its cases.
    Network { network: Arc<Network>, roles: Roles, target: String, problem: Problem },
    /// A generator, or rates of findings.
    Drawn(Problem),
    /// A file of cases.
    Table(Table),
    /// Patients of DDXPlus.
    Recorded(Recorded),
}

/// SHA-256 of what was read, by name.
#[derive(Debug, Default)]
pub struct Hashes(pub BTreeMap<String, String>);

impl Hashes {
    /// Takes in the bytes of a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.to_owned(), sha256_hex(bytes));
    }
}

/// What all seeds of a study share.
pub struct World {
    source: Source,
    base: DiagQueryConfig,
    root: Seed,
    model: (ModelKind, usize),
    train_cases: usize,
    /// Ids of diagnoses that are never met in training.
    held_out: BTreeSet<String>,
    /// Of what was read.
    pub hashes: Hashes,
}

/// What the arms of one seed share.
pub struct Patients {
    /// Who is met in training.
    pub train: Arc<Problem>,
    /// Who stopping thresholds are chosen by.
    pub validation: Arc<Problem>,
    /// Who is measured on.
    pub test: Arc<Problem>,
    /// The best model there is, which the attached one need not be.
    pub best: Arc<dyn Model>,
    /// Those with diagnoses that are never met in training, if there are such.
    pub held_out: Option<Arc<Problem>>,
}

impl World {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] or [`retune::env::EnvError`] for files and settings that cannot be used.
    pub fn new(config: &DiagQuerySettings) -> Result<Self> {
        let mut hashes = Hashes::default();
        let source = source(config, &mut hashes)?;
        let default = match (config.data.dialogues.is_empty(), config.data.ddxplus.is_empty()) {
            (false, _) => T_MAX_DIALOGUES,
            (_, false) => T_MAX_DDXPLUS,
            _ => T_MAX,
        };
        let env = &config.env;
        let mut base = DiagQueryConfig {
            view: env.view,
            bins: (env.probability_bins, env.entropy_bins),
            t_max: if env.t_max == 0 { default } else { env.t_max },
            budget: (env.budget > 0.0).then_some(env.budget),
            lambda: env.lambda,
            costs: Costs::Unit,
            noise: env.noise,
            confusion: BTreeMap::new(),
            missing: env.missing,
            initial: env.initial,
            stop: env.stop,
            utility: Utility::Simple,
            shaping: match env.shaping {
                ShapingName::None => Shaping::None,
                ShapingName::Potential => Shaping::Potential { gamma: env.shaping_gamma },
                ShapingName::Aarlc => {
                    Shaping::Aarlc { mu: env.shaping_mu, nu: env.shaping_nu, threshold: env.shaping_threshold }
                }
            },
            model_knows_noise: env.noise_known,
            synonyms: names(&config.eval.names, &mut hashes)?,
            renamed: false,
            undeclarable: BTreeSet::new(),
            seed: 0,
        };
        base.costs = costs(&env.costs, &mut hashes)?;
        base.utility = utility(&env.utility, env.kappa, &mut hashes)?;
        let model = (config.model.kind, config.model.cases);
        let root = Seed::root(config.seed).child("diag_query");
        let held_out = env.held_out.iter().cloned().collect();
        let world = Self { source, base, root, model, train_cases: config.data.train_cases, held_out, hashes };
        if model.0 == ModelKind::Refitted && !matches!(world.source, Source::Network { .. }) {
            return Err(bad_input("model.kind = refitted: needs a network, whose structure is kept"));
        }
        Ok(world)
    }

    /// The patients of one seed.
    ///
    /// # Errors
    /// If a model cannot be fitted or cases do not fit.
    pub fn patients(&self, seed: u64) -> Result<Patients> {
        match &self.source {
            Source::Table(table) => self.hold_out(Patients::of(table.parts(seed)?)?),
            Source::Recorded(recorded) => self.hold_out(Patients::of(recorded.parts(seed)?)?),
            Source::Network { problem, .. } | Source::Drawn(problem) => {
                let best = attached(problem)?;
                let test = Arc::new(Problem { model: Some(self.model(problem, seed)?), ..problem.clone() });
                let train = if self.train_cases == 0 {
                    Arc::clone(&test)
                } else {
                    let mut cases = self.cases(problem, seed, self.train_cases);
                    cases.retain(|case| !self.held_out.contains(&problem.diagnoses[case.diagnosis].id));
                    Arc::new(Problem { source: Arc::new(ListSource::new(cases)?), ..(*test).clone() })
                };
                self.hold_out(Patients { train, validation: Arc::clone(&test), test, best, held_out: None })
            }
        }
    }

    /// That whatever is renamed or held out is there.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] naming the setting and the first id that is unknown.
    pub fn check_names(&self, problem: &Problem) -> Result<()> {
        let diagnoses: Vec<&str> = problem.diagnoses.iter().map(|d| d.id.as_str()).collect();
        let findings: Vec<&str> = problem.findings.iter().map(|f| f.id.as_str()).collect();
        let shown = |ids: &[&str]| ids.iter().take(20).copied().collect::<Vec<_>>().join(", ");
        if let Some(id) = self.held_out.iter().find(|id| !diagnoses.contains(&id.as_str())) {
            let all = shown(&diagnoses);
            return Err(bad_input(format!("env.held_out = {id}: there is no such diagnosis, expected some of {all}")));
        }
        let known = |id: &&String| diagnoses.contains(&id.as_str()) || findings.contains(&id.as_str());
        if let Some(id) = self.base.synonyms.keys().find(|id| !known(id)) {
            let all = shown(&[&findings[..], &diagnoses].concat());
            return Err(bad_input(format!(
                "eval.names: there is no finding or diagnosis {id}, expected some of {all}"
            )));
        }
        Ok(())
    }

    /// The same patients, those with diagnoses that are held out apart from training and validation.
    fn hold_out(&self, patients: Patients) -> Result<Patients> {
        if self.held_out.is_empty() {
            return Ok(patients);
        }
        self.check_names(&patients.test)?;
        let select = |problem: &Arc<Problem>, held_out: bool| -> Result<Arc<Problem>> {
            let kept = problem.diagnoses.iter().map(|d| self.held_out.contains(&d.id) == held_out).collect();
            let source = Selected::new(Arc::clone(&problem.source), kept)
                .map_err(|e| bad_input(format!("env.held_out: {e}")))?;
            Ok(Arc::new(Problem { source: Arc::new(source), ..(**problem).clone() }))
        };
        // A list of training cases has none of them already.
        let listed = self.train_cases > 0;
        let train = if listed { Arc::clone(&patients.train) } else { select(&patients.train, false)? };
        let validation = select(&patients.validation, false)?;
        let held_out = Some(select(&patients.test, true)?);
        Ok(Patients { train, validation, held_out, ..patients })
    }

    /// Cases that a model is fitted to, and that agents may be limited to.
    fn cases(&self, problem: &Problem, seed: u64, count: usize) -> Vec<Case> {
        let mut rng = self.root.child("cases").index(seed).rng();
        (0..count).map(|_| problem.source.draw(&mut rng)).collect()
    }

    fn model(&self, problem: &Problem, seed: u64) -> Result<Arc<dyn Model>> {
        let (kind, count) = self.model;
        match (kind, &self.source) {
            (ModelKind::NaiveBayes, _) => {
                let cases = self.cases(problem, seed, count);
                let fitted = CompositeModel::naive_bayes(problem.diagnoses.len(), &problem.states(), &cases, 0.5)?;
                Ok(Arc::new(Composite::new(fitted)))
            }
            (ModelKind::Refitted, Source::Network { network, roles, target, .. }) => {
                // The same stream as that of `cases`: a network draws its cases from complete assignments.
                let mut rng = self.root.child("cases").index(seed).rng();
                let assignments: Vec<Vec<usize>> = (0..count).map(|_| network.sample(&mut rng)).collect();
                let fitted = Arc::new(network.refitted(&assignments, 0.5));
                attached(&network_problem(&problem.name, &fitted, roles, target, MAX_CELLS)?)
            }
            _ => attached(problem),
        }
    }

    /// Settings of the environment with this view.
    #[must_use]
    pub fn config(&self, view: View) -> DiagQueryConfig {
        DiagQueryConfig { view, ..self.base.clone() }
    }

    /// The environment that agents train in. The attached model is left out where nothing needs it: following its
    /// belief would take most of the time.
    ///
    /// # Errors
    /// If a setting does not fit the problem.
    pub fn training(&self, patients: &Patients, view: View) -> retune::Result<DiagQuery> {
        self.light(&patients.train, DiagQueryConfig { undeclarable: self.held_out.clone(), ..self.config(view) })
    }

    /// The environment in which returns on validation patients are compared, without shaping.
    ///
    /// # Errors
    /// If a setting does not fit the problem.
    pub fn tuning(&self, patients: &Patients, view: View) -> retune::Result<DiagQuery> {
        self.light(&patients.validation, DiagQueryConfig { shaping: Shaping::None, ..self.config(view) })
    }

    fn light(&self, problem: &Arc<Problem>, config: DiagQueryConfig) -> retune::Result<DiagQuery> {
        let needed = config.view.uses_model() || config.stop || config.shaping != Shaping::None;
        let problem =
            if needed { Arc::clone(problem) } else { Arc::new(Problem { model: None, ..(**problem).clone() }) };
        Ok(DiagQuery::new(problem, config)?)
    }

    /// The environment of a measurement; `renamed` shows texts in the other wording.
    ///
    /// # Errors
    /// If a setting does not fit the problem.
    pub fn measuring(&self, problem: &Arc<Problem>, view: View, renamed: bool) -> retune::Result<DiagQuery> {
        Ok(DiagQuery::new(Arc::clone(problem), DiagQueryConfig { renamed, ..self.config(view) })?)
    }

    /// The environment as planners meet it, without shaping; `free` reveals everything at no cost.
    ///
    /// # Errors
    /// If a setting does not fit the problem.
    pub fn planning(&self, problem: &Arc<Problem>, free: bool) -> retune::Result<DiagQuery> {
        let mut config = DiagQueryConfig { shaping: Shaping::None, ..self.config(View::Signed) };
        if free {
            config = DiagQueryConfig { t_max: problem.findings.len().max(1), budget: None, lambda: 0.0, ..config };
        }
        Ok(DiagQuery::new(Arc::clone(problem), config)?)
    }

    /// Price of a cost unit.
    #[must_use]
    pub fn lambda(&self) -> f64 {
        self.base.lambda
    }

    /// Most questions of an episode.
    #[must_use]
    pub fn t_max(&self) -> usize {
        self.base.t_max
    }
}

impl Patients {
    fn of(parts: Parts) -> Result<Self> {
        let best = attached(&parts.test)?;
        let (train, validation, test) = (Arc::new(parts.train), Arc::new(parts.validation), Arc::new(parts.test));
        Ok(Self { train, validation, test, best, held_out: None })
    }

    /// Whether the test cases are a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.test.source.listed().is_some()
    }

    /// Seeds of the final evaluation: those that are given where patients are drawn without end; where they are a
    /// list, seeds of the same stream that meet each of its cases once, as many as `count`.
    #[must_use]
    pub fn test_seeds(&self, given: &[u64], stream: &Seed) -> Vec<u64> {
        let Some(cases) = self.test.source.listed() else { return given.to_vec() };
        let (mut seen, mut seeds) = (vec![false; cases], Vec::new());
        for i in 0..(cases * DRAWS_PER_CASE) as u64 {
            if seeds.len() == cases.min(given.len()) {
                break;
            }
            let seed = stream.index(i).to_u64();
            let case = case_stream(seed, 0).below(cases);
            if !std::mem::replace(&mut seen[case], true) {
                seeds.push(seed);
            }
        }
        seeds
    }
}

fn attached(problem: &Problem) -> Result<Arc<dyn Model>> {
    problem.model.clone().ok_or_else(|| bad_input(format!("{}: there is no model", problem.name)))
}

fn source(config: &DiagQuerySettings, hashes: &mut Hashes) -> Result<Source> {
    let (data, target) = (&config.data, config.env.target.as_str());
    if !data.network.is_empty() {
        let bytes = read("--network", &data.network)?;
        let network = read_network(&data.network, &bytes)?;
        hashes.add("network", &bytes);
        let mut roles = Roles::all_but(&network, target);
        if !data.findings.is_empty() {
            roles.findings.retain(|(name, _)| data.findings.contains(name));
            if let Some(unknown) = data.findings.iter().find(|f| network.find(f).is_none()) {
                let message = format!("--findings {unknown}: {} has no such variable", data.network);
                return Err(bad_input(message));
            }
        }
        return of_network(&file_stem(&data.network), network, roles, target);
    }
    if let Some(table) = Table::new(config, hashes)? {
        return Ok(Source::Table(table));
    }
    if let Some(problem) = rates::problem(data, hashes)? {
        return Ok(Source::Drawn(problem));
    }
    if let Some(recorded) = Recorded::new(data, hashes)? {
        return Ok(if data.draw_patients { Source::Drawn(recorded.rates()?) } else { Source::Recorded(recorded) });
    }
    let name = config.env.problem.as_str();
    match (problems::shipped_network(name)?, problems::generated(name)?) {
        (Some((network, roles)), _) => {
            hashes.add("network", problems::network_file(name).unwrap_or_default());
            let target = problems::target_of(&roles, target)?.to_owned();
            of_network(name, network, roles, &target)
        }
        (None, Some(problem)) if target.is_empty() => Ok(Source::Drawn(problem)),
        (None, Some(_)) => Err(bad_input(format!("env.target = {target}: {name} has one diagnosis and no targets"))),
        (None, None) => Err(bad_input(format!("env.problem = {name}: there is no such problem"))),
    }
}

fn of_network(name: &str, network: Arc<Network>, roles: Roles, target: &str) -> Result<Source> {
    let problem = network_problem(&format!("{name}/{target}"), &network, &roles, target, MAX_CELLS)?;
    Ok(Source::Network { network, roles, target: target.to_owned(), problem })
}

/// The bytes of a file that a person named.
///
/// # Errors
/// [`crate::failure::BadInput`] if it cannot be read, or is too large to be one of these, before memory is taken.
pub fn read(option: &str, file: &str) -> Result<Vec<u8>> {
    let bytes = std::fs::metadata(file).map_or(0, |found| found.len());
    if bytes > MAX_FILE_BYTES {
        return Err(bad_input(format!("{option} {file}: {bytes} bytes, expected at most {MAX_FILE_BYTES}")));
    }
    std::fs::read(file).map_err(|e| bad_input(format!("{option} {file}: cannot be read: {e}")))
}

/// The name of a file without folder and ending.
#[must_use]
pub fn file_stem(file: &str) -> String {
    std::path::Path::new(file).file_stem().map_or_else(|| file.to_owned(), |s| s.to_string_lossy().into_owned())
}
