//! The command line: what can be asked, and nothing about how it is done.

use clap::{Args, Parser, Subcommand, ValueEnum};
use retune::backbone::WeightForm;
use std::path::PathBuf;

/// Does reinforcement learning make a pretrained model better than supervised learning does?
#[derive(Debug, Parser)]
#[command(name = "experiment", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a study: recommend things to read to simulated users, trained arms against supervised baselines.
    #[command(name = "rec_sim")]
    RecSim(Box<RecSimArgs>),
    /// Run a study: agents on classic control tasks, to see how well each of them learns.
    Control(Box<StudyArgs>),
    /// Run a study: learn what to ask before declaring a diagnosis. A research simulator, not a medical device.
    #[command(name = "diag_query")]
    DiagQuery(Box<DiagQueryArgs>),
    /// Go on with an interrupted study.
    Resume {
        /// Folder of the study.
        dir: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run the failed trials of a study again from their last checkpoint, in a copy, and see whether they fail again in
    /// the same way.
    Replay {
        /// Folder of the study.
        dir: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Rebuild figures and report of a study from its recorded data.
    Report {
        /// Folder of the study.
        dir: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Verdict across two studies of the same experiment.
    Compare {
        /// Folder of the first study.
        a: PathBuf,
        /// Folder of the second study.
        b: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run a study again from its manifest and check that the results agree.
    Reproduce {
        /// Folder of the study.
        dir: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show the experiments, presets, arms and environments there are.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one experiment, preset, arm or environment; for an experiment every setting with unit, range, default
    /// and source.
    Describe {
        /// A name from `experiment list`, such as `rec_sim`, `rec_sim/quick`, `q_learning`.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check that an environment keeps its contract, and measure its speed.
    CheckEnv {
        /// A name from `experiment list`.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check targets, losses and fixed points of the algorithms against exact numbers.
    Verify {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Read texts from standard input, one a line, and write one JSON array of numbers a line.
    Embed {
        /// `embedded`, or the folder of a Hugging Face BERT (config.json, tokenizer.json, model.safetensors).
        #[arg(long, value_name = "DIR")]
        backbone: String,
        /// How weights are kept in memory: `f32`, or `u8` for a quarter of it.
        #[arg(long, value_enum, default_value = "f32")]
        weights: WeightsArg,
        /// Where to compute: `auto`, `cpu` or `cuda:N`.
        #[arg(long, default_value = "auto")]
        device: String,
    },
    /// Answer questions about a Bayesian network: JSON lines `{"target": "T", "evidence": {"A": "yes"}}` from standard
    /// input, a line `{"posterior": {"state": p}, "log_evidence": nats}` for each on standard output. In place of a
    /// state, a noisy answer is a likelihood for each state: `{"A": {"yes": 0.9, "no": 0.1}}`.
    Infer {
        /// The network, in BIF.
        #[arg(long, value_name = "FILE.bif")]
        network: PathBuf,
        /// Samples where exact tables would not fit; 0 refuses such questions.
        #[arg(long, value_name = "N", default_value_t = 0)]
        samples: usize,
    },
    /// Measure encoders, training steps, optimizers, simulated users and statistics on this machine, in under a minute.
    Bench {
        /// Only the cases that have this in their name, such as `forward` or `l6/`.
        filter: Option<String>,
        /// Where to compute: `auto`, `cpu` or `cuda:N`. On a GPU only what can run there is measured: encoders and
        /// optimizers.
        #[arg(long, default_value = "cpu")]
        device: String,
        /// Threads of one tensor operation. Default: one per core.
        #[arg(long, value_name = "N")]
        threads: Option<usize>,
        /// One case in this process, as the command starts itself for each.
        #[arg(long, value_name = "NAME", hide = true)]
        case: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show device, threads, instruction set, backbone files, and whether gradients reach every parameter.
    Doctor {
        /// The backbone to look at: `embedded`, `random` or a folder.
        #[arg(long, value_name = "DIR", default_value = "embedded")]
        backbone: String,
        /// Where to compute: `auto`, `cpu` or `cuda:N`.
        #[arg(long, default_value = "auto")]
        device: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// The option `--weights`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WeightsArg {
    /// 32-bit floats.
    F32,
    /// 8-bit rows.
    U8,
}

impl WeightsArg {
    /// As the library calls it.
    #[must_use]
    pub fn form(self) -> WeightForm {
        match self {
            Self::F32 => WeightForm::F32,
            Self::U8 => WeightForm::U8,
        }
    }
}

/// What a command prints.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// Print the result as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

/// Options of every study. Later ones win: preset, `--config`, `--set`, then the other options.
#[derive(Args, Debug, Default)]
pub struct StudyArgs {
    /// Named settings to begin from; see `experiment list`. Default: quick.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Settings in a TOML file, on top of the preset.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as `train.env_steps=50000`; may be given several times. See `experiment describe NAME`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Arms to compare, such as `random,supervised,q_learning:lora,q_learning@random`; see `experiment list`.
    #[arg(long, value_name = "A,B,…")]
    pub arms: Option<String>,
    /// Number of seeds: every arm is trained once with each.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seeds: Option<String>,
    /// Root seed that all random numbers derive from.
    #[arg(long, value_name = "ROOT", allow_hyphen_values = true)]
    pub seed: Option<String>,
    /// Where to compute: `auto`, `cpu` or `cuda:N`.
    #[arg(long)]
    pub device: Option<String>,
    /// Actor threads in each trial; 0 runs a trial in one thread. The results are the same.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub actors: Option<String>,
    /// Folder to write, which must not exist. Default: runs/EXPERIMENT/PRESET-SEED, with a number if that is taken.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options that are settings, as (option, key, value).
pub type Flags<'a> = Vec<(&'static str, &'static str, &'a str)>;

impl StudyArgs {
    /// The options that are settings.
    #[must_use]
    pub fn flags(&self) -> Flags<'_> {
        given([
            ("--arms", "arms", &self.arms),
            ("--seeds", "seeds", &self.seeds),
            ("--seed", "seed", &self.seed),
            ("--device", "device", &self.device),
            ("--actors", "actors", &self.actors),
        ])
    }
}

/// Options of `experiment rec_sim`.
#[derive(Args, Debug, Default)]
pub struct RecSimArgs {
    /// Those of every study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// Text encoder: `embedded`, `random` (same network, untrained) or the folder of a Hugging Face BERT.
    #[arg(long, value_name = "embedded|random|DIR")]
    pub backbone: Option<String>,
    /// CSV file of your own items, with a header line.
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<String>,
    /// Columns of the catalogue that make up an item's text.
    #[arg(long, value_name = "A,B,…")]
    pub text_columns: Option<String>,
    /// Column of the catalogue with the topic; without it topics are found by k-means on embeddings.
    #[arg(long, value_name = "COLUMN")]
    pub topic_column: Option<String>,
    /// Column of the catalogue with the quality; without it qualities are drawn per topic.
    #[arg(long, value_name = "COLUMN")]
    pub quality_column: Option<String>,
}

impl RecSimArgs {
    /// The options that are settings, apart from those of every study.
    #[must_use]
    pub fn flags(&self) -> Flags<'_> {
        given([
            ("--backbone", "backbone", &self.backbone),
            ("--catalog", "catalog.file", &self.catalog),
            ("--text-columns", "catalog.text_columns", &self.text_columns),
            ("--topic-column", "catalog.topic_column", &self.topic_column),
            ("--quality-column", "catalog.quality_column", &self.quality_column),
        ])
    }
}

/// Options of `experiment diag_query`.
#[derive(Args, Debug, Default)]
pub struct DiagQueryArgs {
    /// Those of every study.
    #[command(flatten)]
    pub study: StudyArgs,
    /// Your own Bayesian network in BIF; needs --target.
    #[arg(long, value_name = "FILE.bif")]
    pub network: Option<String>,
    /// The variable to find out.
    #[arg(long, value_name = "VARIABLE")]
    pub target: Option<String>,
    /// Variables of the network that may be asked. Default: all but the target.
    #[arg(long, value_name = "A,B,…")]
    pub findings: Option<String>,
    /// What answers cost: `unit`, `clinical`, or a CSV file with a finding and its cost on every line.
    #[arg(long, value_name = "unit|clinical|FILE")]
    pub costs: Option<String>,
    /// Your own cases, one a row, in CSV or ARFF.
    #[arg(long, value_name = "FILE.csv|arff")]
    pub cases: Option<String>,
    /// Column of the cases with the diagnosis. Default: the last.
    #[arg(long, value_name = "COLUMN")]
    pub diagnosis: Option<String>,
    /// Your own recorded dialogues in JSON.
    #[arg(long, value_name = "FILE.json")]
    pub dialogues: Option<String>,
    /// Your own rates, how often a disease shows a finding, in CSV or JSON.
    #[arg(long, value_name = "FILE.csv|json")]
    pub rates: Option<String>,
    /// Human Phenotype Ontology: the folder with phenotype.hpoa and hp.obo, or these two files. See --preset hpo.
    #[arg(long, value_name = "DIR|FILE.hpoa,FILE.obo")]
    pub hpo: Option<String>,
    /// DDXPlus: the folder with release_evidences.json, release_conditions.json and patients. See --preset ddxplus.
    #[arg(long, value_name = "DIR")]
    pub ddxplus: Option<String>,
    /// Text encoder of arms that read: `embedded`, `random` or the folder of a Hugging Face BERT.
    #[arg(long, value_name = "embedded|random|DIR")]
    pub backbone: Option<String>,
}

impl DiagQueryArgs {
    /// The options that are settings, apart from those of every study.
    #[must_use]
    pub fn flags(&self) -> Flags<'_> {
        given([
            ("--network", "data.network", &self.network),
            ("--target", "env.target", &self.target),
            ("--findings", "data.findings", &self.findings),
            ("--costs", "env.costs", &self.costs),
            ("--cases", "data.cases", &self.cases),
            ("--diagnosis", "data.diagnosis", &self.diagnosis),
            ("--dialogues", "data.dialogues", &self.dialogues),
            ("--rates", "data.rates", &self.rates),
            ("--hpo", "data.hpo", &self.hpo),
            ("--ddxplus", "data.ddxplus", &self.ddxplus),
            ("--backbone", "backbone", &self.backbone),
        ])
    }
}

fn given<'a, const N: usize>(options: [(&'static str, &'static str, &'a Option<String>); N]) -> Flags<'a> {
    options.into_iter().filter_map(|(flag, key, value)| value.as_deref().map(|value| (flag, key, value))).collect()
}
