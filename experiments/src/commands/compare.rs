//! `experiment compare DIR DIR`.

use super::{Opened, opened, print};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use anyhow::Result;
use retune::rng::Seed;
use retune::stats::Bootstrap;
use retune::track::{Comparison, Summary, sentence};
use serde_json::{Value, json};
use std::path::Path;

/// Bootstrap replications where a manifest does not say.
const DEFAULT_REPLICATIONS: u64 = 10_000;

pub fn run(a: &Path, b: &Path, output: OutputArgs) -> Result<Outcome> {
    let (of_a, opened_a) = read(a)?;
    let (of_b, opened_b) = read(b)?;
    if of_a.experiment != of_b.experiment || of_a.metric != of_b.metric {
        return Err(bad_input(format!(
            "{} is a study of {} ({}), {} of {} ({}): only studies of one experiment can be compared",
            a.display(),
            of_a.experiment,
            of_a.metric.unit,
            b.display(),
            of_b.experiment,
            of_b.metric.unit
        )));
    }
    let (config_a, config_b) = (&opened_a.manifest.config, &opened_b.manifest.config);
    let replications = setting(config_a, "report.replications").as_u64().unwrap_or(DEFAULT_REPLICATIONS);
    let bootstrap = Bootstrap::new(Seed::root(opened_a.manifest.root_seed).child("compare"))
        .with(usize::try_from(replications)?, 0.95)?;
    // Seeds of equal number met the same episodes only if everything that these depend on is the same.
    let paired_by = opened_a.experiment.info().paired_by;
    let paired = paired_by.iter().all(|key| setting(config_a, key) == setting(config_b, key));
    let comparisons = compare(&of_a, &of_b, paired, &bootstrap)?;
    if comparisons.is_empty() {
        return Err(bad_input(format!("{} and {} have no finished arm in common", a.display(), b.display())));
    }
    let names = (a.display().to_string(), b.display().to_string());
    let named = |c: &Comparison| Comparison {
        a: format!("{} in {}", c.a, names.0),
        b: format!("{} in {}", c.b, names.1),
        ..c.clone()
    };
    let verdict: Vec<String> = comparisons.iter().map(|c| sentence(&named(c), &of_a.metric)).collect();
    let differing = differing_settings(config_a, config_b);
    let result = json!({
        "a": names.0, "b": names.1, "paired": paired, "comparisons": comparisons, "verdict": verdict,
        "differing_settings": differing,
    });
    print(output, &result, || text(&verdict, &differing))?;
    Ok(Outcome::Done)
}

fn read(dir: &Path) -> Result<(Summary, Opened)> {
    let opened = opened(dir)?;
    let path = opened.run.summary();
    if !path.is_file() {
        return Err(bad_input(format!(
            "{0}: there is nothing to compare yet; finish the study first with: experiment resume {0}",
            dir.display()
        )));
    }
    Ok((Summary::read(&path)?, opened))
}

/// The setting (or table of settings) with this dotted key; null if there is none.
fn setting<'a>(config: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(config, |table, name| &table[name])
}

/// Every arm that both studies finished.
fn compare(a: &Summary, b: &Summary, paired: bool, bootstrap: &Bootstrap) -> Result<Vec<Comparison>> {
    let mut found = Vec::new();
    for of_a in &a.arms {
        let Some(of_b) = b.arm(&of_a.name) else { continue };
        let (x, y) = ((of_a.name.as_str(), &of_a.results), (of_b.name.as_str(), &of_b.results));
        let better = a.metric.higher_is_better;
        let comparison = if paired {
            Comparison::of(x, y, better, bootstrap)?
        } else {
            Comparison::independent(x, y, better, bootstrap)?
        };
        found.extend(comparison);
    }
    Ok(found)
}

/// Settings that are not the same, as `key: a, b`.
fn differing_settings(a: &Value, b: &Value) -> Vec<String> {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    flatten("", a, &mut of_a);
    flatten("", b, &mut of_b);
    let value = |all: &[(String, String)], key: &str| {
        all.iter().find(|(k, _)| k == key).map_or_else(|| "not set".to_owned(), |(_, v)| v.clone())
    };
    let mut keys: Vec<&String> = of_a.iter().chain(&of_b).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let shown = |key: &&String| (value(&of_a, key), value(&of_b, key));
    keys.iter()
        .map(|key| (key, shown(key)))
        .filter(|(_, (x, y))| x != y)
        .map(|(key, (x, y))| format!("{key}: {x}, {y}"))
        .collect()
}

fn flatten(prefix: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value.as_object() {
        Some(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, into);
            }
        }
        None => into.push((prefix.to_owned(), value.to_string())),
    }
}

fn text(verdict: &[String], differing: &[String]) -> String {
    let mut text = verdict.join("\n");
    text.push('\n');
    if !differing.is_empty() {
        text.push_str("Settings that differ:\n");
        for line in differing {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}
