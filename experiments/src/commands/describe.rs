//! `experiment describe NAME`.

use super::print;
use crate::arms::{ALGORITHMS, Algorithm};
use crate::cli::OutputArgs;
use crate::config::{Layers, Origin, Preset, Request, Schema, Setting, resolve};
use crate::envs;
use crate::failure::{Outcome, bad_input};
use crate::rec_sim;
use crate::suggest::did_you_mean;
use anyhow::Result;
use serde_json::json;
use std::fmt::Write;

pub fn run(name: &str, output: OutputArgs) -> Result<Outcome> {
    let schema = rec_sim::schema()?;
    let short = name.strip_prefix("rec_sim/").unwrap_or(name);
    if name == rec_sim::NAME {
        let settings: serde_json::Map<_, _> =
            schema.iter().map(|(key, s)| Ok((key.to_owned(), serde_json::to_value(s)?))).collect::<Result<_>>()?;
        print(output, &json!({"experiment": name, "about": rec_sim::ABOUT, "settings": settings}), || {
            experiment_text(&schema)
        })?;
    } else if let Some(preset) = rec_sim::PRESETS.iter().find(|p| p.name == short) {
        let (_, layers) = resolve(&schema, rec_sim::PRESETS, &Request { preset: Some(short), ..Request::default() })?;
        let config = rec_sim::RecSimConfig::from_layers(&layers)?;
        print(output, &json!({"preset": preset.name, "about": preset.about(), "settings": config}), || {
            preset_text(preset, &layers)
        })?;
    } else if let Some(algorithm) = ALGORITHMS.iter().find(|a| a.name == name) {
        print(output, algorithm, || arm_text(algorithm))?;
    } else if let Some((env, about)) = envs::all().iter().find(|(env, _)| *env == name) {
        print(output, &json!({"env": env, "about": about}), || format!("{env}\n  {about}\n"))?;
    } else if let Ok(setting) = schema.get(name, "") {
        print(output, setting, || setting_text(name, setting))?;
    } else {
        let names = names(&schema);
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        return Err(bad_input(format!("describe {name}: there is nothing of that name{hint}; see `experiment list`")));
    }
    Ok(Outcome::Done)
}

fn names(schema: &Schema) -> Vec<String> {
    let mut names = vec![rec_sim::NAME.to_owned()];
    names.extend(rec_sim::PRESETS.iter().map(|p| format!("{}/{}", rec_sim::NAME, p.name)));
    names.extend(ALGORITHMS.iter().map(|a| a.name.to_owned()));
    names.extend(envs::all().iter().map(|(name, _)| (*name).to_owned()));
    names.extend(schema.iter().map(|(key, _)| key.to_owned()));
    names
}

fn experiment_text(schema: &Schema) -> String {
    let mut text = format!("{}: {}\n\n", rec_sim::NAME, rec_sim::ABOUT);
    for (key, setting) in schema.iter() {
        text.push_str(&setting_text(key, setting));
    }
    text.push_str("\narm.ARM.NAME sets agent.NAME for one arm alone, such as arm.q_learning:lora.learning_rate.\n");
    text
}

fn setting_text(key: &str, setting: &Setting) -> String {
    format!(
        "{key} = {}\n    {}\n    {}; default: {}\n",
        setting.default,
        setting.meaning,
        setting.expected(),
        setting.source
    )
}

fn preset_text(preset: &Preset, layers: &Layers<'_>) -> String {
    let mut text = format!("{}/{}: {}\n\n", rec_sim::NAME, preset.name, preset.about());
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
