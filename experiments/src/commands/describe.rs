//! `experiment describe NAME`.

use super::print;
use crate::arms::Algorithm;
use crate::cli::OutputArgs;
use crate::config::{Layers, Origin, Preset, Request, Setting};
use crate::failure::{Outcome, bad_input};
use crate::study::{Experiment, Info};
use crate::suggest::did_you_mean;
use crate::{envs, experiments};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// What there is to say of one thing: for scripts and for people.
type Described = (Value, String);

pub fn run(name: &str, output: OutputArgs) -> Result<Outcome> {
    // `control/dqn` means what control calls dqn; a bare name means the first experiment that knows it.
    let (owner, short) = match name.split_once('/') {
        Some((owner, short)) if experiments::ALL.iter().any(|e| e.info().name == owner) => (Some(owner), short),
        _ => (None, name),
    };
    for experiment in experiments::ALL.iter().filter(|e| owner.is_none_or(|owner| owner == e.info().name)) {
        if let Some((value, text)) = find(*experiment, name, short)? {
            print(output, &value, || text)?;
            return Ok(Outcome::Done);
        }
    }
    let names = names()?;
    let hint = did_you_mean(name, names.iter().map(String::as_str));
    Err(bad_input(format!("describe {name}: there is nothing of that name{hint}; see `experiment list`")))
}

/// What `experiment` knows under the full or the short name.
fn find(experiment: &dyn Experiment, name: &str, short: &str) -> Result<Option<Described>> {
    let (info, schema) = (experiment.info(), experiment.info().schema()?);
    Ok(if name == info.name {
        let settings: serde_json::Map<_, _> =
            schema.iter().map(|(key, s)| Ok((key.to_owned(), serde_json::to_value(s)?))).collect::<Result<_>>()?;
        let text = experiment_text(info, schema.iter());
        Some((json!({"experiment": name, "about": info.about, "settings": settings}), text))
    } else if let Some(preset) = info.presets.iter().find(|p| p.name == short) {
        let (_, layers) = experiment.layers(&schema, &Request { preset: Some(short), ..Request::default() })?;
        let config = experiment.checked(&layers)?;
        let value = json!({"preset": preset.name, "about": preset.about(), "settings": config});
        Some((value, preset_text(info, preset, &layers)))
    } else if let Some(algorithm) = info.algorithms.iter().find(|a| a.name == short) {
        Some((serde_json::to_value(algorithm)?, arm_text(algorithm)))
    } else if let Some((env, about)) = info.envs.iter().find(|(env, _)| *env == name) {
        Some(env_described(env, about))
    } else if let Ok(setting) = schema.get(short, "") {
        Some((serde_json::to_value(setting)?, setting_text(short, setting)))
    } else {
        None
    })
}

fn env_described(env: &str, about: &str) -> Described {
    (json!({"env": env, "about": about}), format!("{env}\n  {about}\n"))
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for info in experiments::ALL.iter().map(|e| e.info()) {
        names.push(info.name.to_owned());
        names.extend(info.presets.iter().map(|p| format!("{}/{}", info.name, p.name)));
        names.extend(info.algorithms.iter().map(|a| a.name.to_owned()));
        names.extend(info.schema()?.iter().map(|(key, _)| key.to_owned()));
    }
    names.extend(envs::all().into_iter().map(|(name, _)| name.to_owned()));
    Ok(names)
}

fn experiment_text<'a>(info: &Info, settings: impl Iterator<Item = (&'a str, &'a Setting)>) -> String {
    let mut text = format!("{}: {}\n\n", info.name, info.about);
    for (key, setting) in settings {
        text.push_str(&setting_text(key, setting));
    }
    text.push_str("\narm.ARM.NAME sets agent.NAME for one arm alone, such as arm.q_learning:lora.learning_rate.\n");
    text
}

fn setting_text(key: &str, setting: &Setting) -> String {
    let users =
        if setting.used_by.is_empty() { String::new() } else { format!("; used by {}", setting.used_by.join(", ")) };
    format!(
        "{key} = {}\n    {}\n    {}; default: {}{users}\n",
        setting.default,
        setting.meaning,
        setting.expected(),
        setting.source
    )
}

fn preset_text(info: &Info, preset: &Preset, layers: &Layers<'_>) -> String {
    let mut text = format!("{}/{}: {}\n\n", info.name, preset.name, preset.about());
    for (key, value, origin) in layers.iter() {
        let mark = if *origin == Origin::Default { "" } else { "  (this preset)" };
        // Writing to a string cannot fail.
        writeln!(text, "{key} = {value}{mark}").expect("a string grows");
    }
    text
}

fn arm_text(algorithm: &Algorithm) -> String {
    let name = algorithm.name;
    let forms = if algorithm.trains {
        format!("Forms: {name}, {name}:lora, {name}:full, each also with @random or @embedded.")
    } else {
        "Trains no network, so it has one form.".to_owned()
    };
    format!("{name}: {}\n  {forms}\n", algorithm.about)
}
