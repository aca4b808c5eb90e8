//! Arms: one method under comparison, spelled `algorithm[:mode][@backbone]`.

use crate::failure::bad_input;
use crate::suggest::did_you_mean;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What an arm stands for in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Learns from rewards.
    Rl,
    /// Learns from labels.
    Supervised,
    /// Shows what is possible, not a contestant: knows something the others do not, or learns nothing.
    Reference,
}

/// One algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Algorithm {
    /// What a person types.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// Whether it trains a network, so that a mode and a backbone mean something.
    pub trains: bool,
    /// One sentence.
    pub about: &'static str,
}

impl Algorithm {
    /// A fixed policy to compare with.
    #[must_use]
    pub const fn reference(name: &'static str, about: &'static str) -> Self {
        Self { name, kind: Kind::Reference, trains: false, about }
    }

    /// One that learns from rewards, with a network.
    #[must_use]
    pub const fn rl(name: &'static str, about: &'static str) -> Self {
        Self { name, kind: Kind::Rl, trains: true, about }
    }
}

/// What of the backbone is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainMode {
    /// Nothing; only the head on top.
    Frozen,
    /// Low-rank additions to its linear layers.
    Lora,
    /// Everything.
    Full,
}

impl TrainMode {
    const ALL: [Self; 3] = [Self::Frozen, Self::Lora, Self::Full];

    /// How it is spelled.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Lora => "lora",
            Self::Full => "full",
        }
    }

    /// As the backbone calls it.
    #[must_use]
    pub fn of_backbone(self) -> retune::backbone::TrainMode {
        match self {
            Self::Frozen => retune::backbone::TrainMode::Frozen,
            Self::Lora => retune::backbone::TrainMode::Lora,
            Self::Full => retune::backbone::TrainMode::Full,
        }
    }
}

/// The backbone of an arm that differs from the study's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmBackbone {
    /// The one that comes with the program.
    Embedded,
    /// The study's network with random weights.
    Random,
}

impl ArmBackbone {
    const ALL: [Self; 2] = [Self::Embedded, Self::Random];

    /// How it is spelled.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Random => "random",
        }
    }
}

/// One method under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// How it learns.
    pub algorithm: Algorithm,
    /// What of the backbone it trains.
    pub mode: TrainMode,
    /// Its backbone; `None` is the study's.
    pub backbone: Option<ArmBackbone>,
}

impl Arm {
    /// The algorithm as it is: nothing of a backbone trained, the study's own.
    #[must_use]
    pub fn plain(algorithm: Algorithm) -> Self {
        Self { algorithm, mode: TrainMode::Frozen, backbone: None }
    }

    /// Reads `algorithm[:mode][@backbone]`, the algorithm one of `algorithms`.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] with the nearest name for an unknown part, or if a mode or backbone is given to
    /// an algorithm that trains no network.
    pub fn parse(text: &str, algorithms: &[Algorithm]) -> Result<Self> {
        let (rest, backbone) = match text.split_once('@') {
            Some((rest, backbone)) => (rest, Some(backbone)),
            None => (text, None),
        };
        let (name, mode) = match rest.split_once(':') {
            Some((name, mode)) => (name, Some(mode)),
            None => (rest, None),
        };
        let algorithm = choose(text, "arm", name, algorithms, |a| a.name)?;
        if !algorithm.trains && (mode.is_some() || backbone.is_some()) {
            return Err(bad_input(format!("arm `{text}`: `{name}` trains no network; write just `{name}`")));
        }
        let mode = mode.map(|m| choose(text, "mode", m, &TrainMode::ALL, |m| m.name())).transpose()?;
        let backbone = backbone.map(|b| choose(text, "backbone", b, &ArmBackbone::ALL, |b| b.name())).transpose()?;
        Ok(Self { algorithm, mode: mode.unwrap_or(TrainMode::Frozen), backbone })
    }

    /// Whether it is a fixed policy that sees what is hidden, and nothing is trained.
    #[must_use]
    pub fn is_policy(&self) -> bool {
        self.algorithm.kind == Kind::Reference && !self.algorithm.trains
    }

    /// Name of the folder that holds its trials; `:` and `@` are not welcome in file names everywhere.
    #[must_use]
    pub fn folder(&self) -> String {
        self.to_string().replace(':', "-").replace('@', "+")
    }

    /// The spellings whose `arm.<spelling>` settings apply to this arm, the most general first.
    #[must_use]
    pub fn setting_names(&self) -> Vec<String> {
        let with_mode = format!("{}:{}", self.algorithm.name, self.mode.name());
        let mut names = vec![self.algorithm.name.to_owned(), with_mode.clone()];
        if let Some(backbone) = self.backbone {
            names.push(format!("{}@{}", self.algorithm.name, backbone.name()));
            names.push(format!("{with_mode}@{}", backbone.name()));
        }
        names
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name)?;
        if self.mode != TrainMode::Frozen {
            write!(f, ":{}", self.mode.name())?;
        }
        match self.backbone {
            Some(backbone) => write!(f, "@{}", backbone.name()),
            None => Ok(()),
        }
    }
}

fn choose<T: Copy>(arm: &str, what: &str, given: &str, all: &[T], name: impl Fn(&T) -> &'static str) -> Result<T> {
    all.iter().copied().find(|item| name(item) == given).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(&name).collect();
        let hint = did_you_mean(given, names.iter().copied());
        let of = if arm == given { String::new() } else { format!(" in arm `{arm}`") };
        bad_input(format!("unknown {what} `{given}`{of}; there are {}{hint}", names.join(", ")))
    })
}

/// All arms of a list, each once.
///
/// # Errors
/// [`crate::failure::BadInput`] for an unknown arm, an arm named twice, or an empty list.
pub fn parse_all(names: &[String], algorithms: &[Algorithm]) -> Result<Vec<Arm>> {
    let mut arms: Vec<Arm> = Vec::with_capacity(names.len());
    for name in names {
        let arm = Arm::parse(name, algorithms)?;
        if arms.contains(&arm) {
            return Err(bad_input(format!("arm `{arm}` is named twice")));
        }
        arms.push(arm);
    }
    if arms.is_empty() {
        return Err(bad_input("arms: expected at least one; see `experiment list`"));
    }
    Ok(arms)
}

/// Learning settings of one arm: those for all (`agent`), then those for this one (`own`, by spelling).
#[must_use]
pub fn settings(arm: &Arm, agent: &toml::Table, own: &BTreeMap<String, toml::Table>) -> toml::Table {
    let mut table = agent.clone();
    for own in arm.setting_names().iter().filter_map(|name| own.get(name)) {
        merge(&mut table, own);
    }
    table
}

fn merge(into: &mut toml::Table, from: &toml::Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => merge(inner, value),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: &[Algorithm] = &[
        Algorithm::reference("random", "r"),
        Algorithm::reference("planner", "p"),
        Algorithm::rl("q_learning", "q"),
        Algorithm::rl("sarsa", "s"),
        Algorithm { name: "supervised", kind: Kind::Supervised, trains: true, about: "u" },
    ];

    fn parse(name: &str) -> Result<Arm> {
        Arm::parse(name, ALGORITHMS)
    }

    #[test]
    fn spellings_are_read_and_written_back() {
        for name in ["random", "q_learning", "q_learning:lora", "supervised:full@random", "sarsa@random"] {
            assert_eq!(parse(name).expect("known").to_string(), name);
        }
        assert_eq!(parse("q_learning:frozen").expect("known").to_string(), "q_learning");
    }

    #[test]
    fn unknown_parts_are_named_with_a_suggestion() {
        let message = |name: &str| parse(name).expect_err("unknown").to_string();
        assert!(message("q_lerning").contains("did you mean `q_learning`?"));
        assert!(message("q_learning:lore").contains("did you mean `lora`?"));
        assert!(message("q_learning@randon").contains("did you mean `random`?"));
        assert!(message("planner:lora").contains("trains no network"));
        assert!(parse_all(&["sarsa".into(), "sarsa:frozen".into()], ALGORITHMS).is_err());
    }
}
