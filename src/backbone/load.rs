//! From the tensors of one or several files to checked, canonical F32 parameters.

use super::names;
use super::weight_file::WeightFile;
use super::weights::{Params, WeightForm};
use super::{BertConfig, LoadOptions};
use crate::nn::Quantised;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use safetensors::tensor::Dtype;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Value of the metadata key `quantisation` that is understood.
const QUANTISATION: &str = "u8-row-v1";

/// What a file held beyond the parameters. Names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoadReport {
    /// The prefix that was taken off all names.
    pub prefix: String,
    /// Tensors nobody needs and nobody wonders about: a pooler, position ids, pretraining heads.
    pub expected_unused: Vec<String>,
    /// Other tensors that no parameter needs.
    pub unused: Vec<String>,
}

/// A tensor in a file.
#[derive(Clone, Copy)]
struct Found<'a, 'f> {
    file: &'a WeightFile<'f>,
    name: &'a str,
}

/// Reads every parameter of `config`. All that is wrong with names, shapes and dtypes is known, and said at once,
/// before the first value is read.
pub(super) fn load(
    files: &[WeightFile<'_>],
    config: &BertConfig,
    options: &LoadOptions,
    path: &Path,
) -> Result<(Params, LoadReport)> {
    let sources: Vec<(usize, String)> =
        files.iter().enumerate().flat_map(|(i, file)| file.names().into_iter().map(move |n| (i, n))).collect();
    // A config that asks for more layers than the file has tensors must not make us list their names.
    if config.num_hidden_layers > sources.len() {
        return Err(Error::invalid(
            path,
            format!("holds {} tensors, too few for num_hidden_layers = {}", sources.len(), config.num_hidden_layers),
        ));
    }
    let expected = names::expected(config, options.pooler);
    let wanted: BTreeSet<&str> = expected.keys().map(String::as_str).collect();
    let prefix = names::choose_prefix(sources.iter().map(|(_, name)| name.as_str()), &wanted);
    let mut found: BTreeMap<String, Found<'_, '_>> = BTreeMap::new();
    for (file, name) in &sources {
        let canonical = names::canonical(name, prefix);
        if let Some(other) = found.insert(canonical.clone(), Found { file: &files[*file], name }) {
            let message = format!("both {} and {name} stand for {canonical}; keep one of them", other.name);
            return Err(Error::invalid(path, message));
        }
    }
    // Without the prefix a name of the same spelling is another tensor; it was kept only to find the pairs above.
    found.retain(|_, f| f.name.starts_with(prefix) || !wanted.contains(names::canonical(f.name, "").as_str()));
    check(&found, &expected, path)?;
    let report = report(&found, &sources, &expected, prefix);
    if options.strict && !report.unused.is_empty() {
        let message =
            format!("no parameter needs these tensors, and strict loading was asked for: {}", report.unused.join(", "));
        return Err(Error::invalid(path, message));
    }
    if !report.unused.is_empty() {
        tracing::warn!(file = %path.display(), tensors = report.unused.join(", "), "tensors that no parameter needs");
    }
    let mut params = Params::default();
    for (name, shape) in expected {
        let source = found[&name];
        if source.info().dtype != Dtype::U8 {
            let tensor = Tensor::from_vec(source.file.floats(source.name)?, shape, &Device::Cpu)?;
            params.tensors.insert(name, tensor);
            continue;
        }
        let matrix = quantised(&found, &name, source)?;
        match options.form {
            WeightForm::F32 => params.tensors.insert(name, matrix.to_f32()?).is_some(),
            WeightForm::U8 => params.quantised.insert(name, matrix).is_some(),
        };
    }
    Ok((params, report))
}

/// Lists everything that is missing, has another shape, or cannot be read as numbers.
fn check(found: &BTreeMap<String, Found<'_, '_>>, expected: &BTreeMap<String, Vec<usize>>, path: &Path) -> Result<()> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        let Some(source) = found.get(name) else {
            problems.push(format!("missing: {name} {shape:?}"));
            continue;
        };
        let info = source.info();
        if &info.shape != shape {
            problems.push(format!("wrong shape: {name} is {:?}, config.json wants {shape:?}", info.shape));
        } else if let Err(problem) = check_dtype(found, name, *source) {
            problems.push(problem);
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    Err(Error::invalid(path, format!("does not fit config.json ({count} problems):\n  {}", problems.join("\n  "))))
}

fn check_dtype(found: &BTreeMap<String, Found<'_, '_>>, name: &str, source: Found<'_, '_>) -> Result<(), String> {
    let info = source.info();
    match info.dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => return Ok(()),
        Dtype::U8 => {}
        other => return Err(format!("unusable dtype: {name} is {other:?}, not F32, F16, BF16, F64 or {QUANTISATION}")),
    }
    match source.file.metadata("quantisation") {
        Some(QUANTISATION) => {}
        Some(other) => {
            return Err(format!("unknown quantisation: {name} is U8 in the form {other:?}, not {QUANTISATION}"));
        }
        None => return Err(format!("unknown quantisation: {name} is U8, but the metadata names no quantisation")),
    }
    let Some(scale) = found.get(&format!("{name}.scale")) else {
        return Err(format!("missing scale: {name} is U8 without {name}.scale"));
    };
    let (scale, rows) = (scale.info(), info.shape.first().copied().unwrap_or(0));
    if info.shape.len() != 2 || scale.dtype != Dtype::F32 || scale.shape != [rows] {
        return Err(format!("wrong scale: {name}.scale is {:?} {:?}, expected F32 [{rows}]", scale.dtype, scale.shape));
    }
    Ok(())
}

fn report(
    found: &BTreeMap<String, Found<'_, '_>>,
    sources: &[(usize, String)],
    expected: &BTreeMap<String, Vec<usize>>,
    prefix: &str,
) -> LoadReport {
    let mut report = LoadReport { prefix: prefix.to_owned(), ..LoadReport::default() };
    let used: BTreeSet<&str> =
        found.iter().filter(|(name, _)| is_used(found, expected, name)).map(|(_, f)| f.name).collect();
    for (_, name) in sources.iter().filter(|(_, name)| !used.contains(name.as_str())) {
        let list = if names::is_expected_unused(&names::canonical(name, prefix)) {
            &mut report.expected_unused
        } else {
            &mut report.unused
        };
        list.push(name.clone());
    }
    report
}

/// A parameter, or the scale of a quantised one.
fn is_used(found: &BTreeMap<String, Found<'_, '_>>, expected: &BTreeMap<String, Vec<usize>>, name: &str) -> bool {
    let quantised = |matrix: &str| found.get(matrix).is_some_and(|f| f.info().dtype == Dtype::U8);
    expected.contains_key(name)
        || name.strip_suffix(".scale").is_some_and(|matrix| expected.contains_key(matrix) && quantised(matrix))
}

fn quantised(found: &BTreeMap<String, Found<'_, '_>>, name: &str, source: Found<'_, '_>) -> Result<Quantised> {
    let scale = found[&format!("{name}.scale")];
    let scales = scale.file.floats(scale.name)?;
    if let Some(row) = scales.iter().position(|&s| s <= 0.0) {
        return Err(scale
            .file
            .invalid(format!("{}: scale {row} is {}, expected a positive number", scale.name, scales[row])));
    }
    let shape = &source.info().shape;
    Quantised::new(source.file.quantised(source.name)?, scales, (shape[0], shape[1]))
}

impl<'a> Found<'a, '_> {
    fn info(&self) -> &'a safetensors::tensor::TensorInfo {
        self.file.info(self.name).expect("names come from the header of this file")
    }
}
