//! Settings: where they come from, what they may be, and who had the last word.
//!
//! Every setting is described once, in `presets/<experiment>/settings.toml`: default, unit, range, meaning, source of
//! the default. A study's settings are those defaults, then a preset, then a file, then `--set`, then the other
//! options; an unknown key or a value out of range is an error that names where it came from.

mod layers;
mod schema;

pub use layers::{Layers, Origin};
pub use schema::{Schema, Setting};

use crate::failure::bad_input;
use crate::suggest::did_you_mean;
use anyhow::Result;
use std::path::PathBuf;

/// A named set of settings.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What a person types.
    pub name: &'static str,
    /// TOML; its first line is a comment that says what the preset is for.
    pub text: &'static str,
}

impl Preset {
    /// What the preset is for.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.text.lines().next().map_or("", |line| line.trim_start_matches('#').trim())
    }
}

/// What a person asked for, as strings.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// Name of a preset.
    pub preset: Option<&'a str>,
    /// A TOML file.
    pub config: Option<PathBuf>,
    /// `key=value` pairs.
    pub set: &'a [String],
    /// Options that are settings: (option, key, value).
    pub flags: Vec<(&'static str, &'static str, &'a str)>,
}

/// Chooses the presets below the one that was named, from the settings so far.
pub type Base<'a> = &'a dyn Fn(&Layers<'_>) -> Vec<Preset>;

/// All layers in order; the preset is the first of `presets` if none is named. What `base` asks for comes
/// between the defaults and the preset.
///
/// # Errors
/// [`crate::failure::BadInput`] for an unknown preset or key, a value out of range, or a file that cannot be read.
pub fn resolve<'s>(
    schema: &'s Schema,
    presets: &[Preset],
    request: &Request<'_>,
    base: Base<'_>,
) -> Result<(Preset, Layers<'s>)> {
    let preset = find_preset(presets, request.preset)?;
    let layers = layered(schema, &[preset], request)?;
    let mut below = base(&layers);
    below.retain(|other| other.name != preset.name);
    if below.is_empty() {
        return Ok((preset, layers));
    }
    below.push(preset);
    Ok((preset, layered(schema, &below, request)?))
}

fn layered<'s>(schema: &'s Schema, presets: &[Preset], request: &Request<'_>) -> Result<Layers<'s>> {
    let mut layers = Layers::defaults(schema);
    for preset in presets {
        layers.merge_toml(preset.text, &Origin::Preset(preset.name))?;
    }
    if let Some(path) = &request.config {
        let text = std::fs::read_to_string(path)
            .map_err(|e| bad_input(format!("{}: cannot be read as a settings file: {e}", path.display())))?;
        layers.merge_toml(&text, &Origin::File(path.clone()))?;
    }
    for pair in request.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            bad_input(format!("--set {pair}: expected KEY=VALUE, such as --set env.num_candidates=15"))
        })?;
        layers.set_text(key.trim(), value.trim(), &Origin::Set)?;
    }
    for (flag, key, value) in &request.flags {
        layers.set_text(key, value, &Origin::Flag(flag))?;
    }
    Ok(layers)
}

fn find_preset(presets: &[Preset], name: Option<&str>) -> Result<Preset> {
    let name = name.unwrap_or(presets[0].name);
    presets.iter().copied().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = presets.iter().map(|p| p.name).collect();
        let hint = did_you_mean(name, names.iter().copied());
        bad_input(format!("--preset {name}: there is no such preset; there are {}{hint}", names.join(", ")))
    })
}
