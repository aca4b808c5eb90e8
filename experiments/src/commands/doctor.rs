//! `experiment doctor`: what this machine and these files are good for.

use super::print;
use crate::bench::memory;
use crate::cli::OutputArgs;
use crate::failure::Outcome;
use crate::{backbones, device, threads};
use anyhow::{Context, Result};
use candle_core::Device;
use retune::backbone::{Backbone, TrainMode, WeightForm, Weights};
use retune::nn::{Gradients, ParamStore};
use retune::rng::Seed;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Serialize)]
struct Findings {
    device: String,
    platform: String,
    cores: usize,
    matmul_threads: usize,
    elementwise_threads: usize,
    instruction_sets: Vec<&'static str>,
    matmul_kernel: &'static str,
    built_for_cuda: bool,
    memory: MemoryFindings,
    backbone: BackboneFindings,
    gradient_coverage: Vec<Coverage>,
    healthy: bool,
}

/// In MiB; what the system does not tell is left out.
#[derive(Serialize)]
struct MemoryFindings {
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    this_process_mib: Option<f64>,
}

#[derive(Serialize)]
struct BackboneFindings {
    name: String,
    /// Files it was read from, with their sizes in bytes; none for the embedded one.
    files: BTreeMap<String, u64>,
    f32_mib: f64,
    u8_mib: f64,
    layers: usize,
    width: usize,
    vocabulary: usize,
    parameters: usize,
    version: String,
    unused_tensors: Vec<String>,
}

#[derive(Serialize)]
struct Coverage {
    mode: TrainMode,
    trained: usize,
    passed: bool,
    detail: String,
}

pub fn run(backbone: &str, device_name: &str, output: OutputArgs) -> Result<Outcome> {
    let device = device::choose(device_name)?;
    let weights = backbones::load(backbone, WeightForm::F32, Seed::root(0))?;
    let modes = [TrainMode::Lora, TrainMode::TopN, TrainMode::Full];
    let gradient_coverage: Vec<Coverage> = modes.into_iter().map(|mode| coverage(&weights, mode, &device)).collect();
    let (matmul_threads, elementwise_threads) = threads::per_operation();
    let report = weights.report();
    let findings = Findings {
        device: device::name(&device),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: threads::cores(),
        matmul_threads,
        elementwise_threads,
        instruction_sets: instruction_sets(),
        matmul_kernel: retune::nn::fused::matmul_kernel(),
        built_for_cuda: candle_core::utils::cuda_is_available(),
        memory: MemoryFindings {
            machine_mib: memory::machine("MemTotal"),
            available_mib: memory::machine("MemAvailable"),
            this_process_mib: memory::resident(),
        },
        backbone: BackboneFindings {
            name: weights.name().to_owned(),
            files: files(backbone)?,
            f32_mib: weights.bytes() as f64 / MIB,
            u8_mib: weights.in_form(WeightForm::U8)?.bytes() as f64 / MIB,
            layers: weights.config().num_hidden_layers,
            width: weights.config().hidden_size,
            vocabulary: weights.config().vocab_size,
            parameters: weights.parameter_count(),
            version: weights.version().to_owned(),
            unused_tensors: report.unused.iter().chain(&report.expected_unused).cloned().collect(),
        },
        healthy: gradient_coverage.iter().all(|c| c.passed),
        gradient_coverage,
    };
    print(output, &findings, || text(&findings))?;
    Ok(if findings.healthy { Outcome::Done } else { Outcome::Failed })
}

const MIB: f64 = 1024.0 * 1024.0;

/// The files that a backbone is read from, if it is a folder.
fn files(backbone: &str) -> Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    let folder = Path::new(backbone);
    if ["embedded", "random"].contains(&backbone) || !folder.is_dir() {
        return Ok(files);
    }
    for entry in folder.read_dir().with_context(|| backbone.to_owned())? {
        let entry = entry.with_context(|| backbone.to_owned())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".json", ".safetensors", "vocab.txt"].iter().any(|end| name.ends_with(end)) {
            files.insert(name, entry.metadata().with_context(|| backbone.to_owned())?.len());
        }
    }
    Ok(files)
}

/// Whether a loss on two texts reaches every parameter that `mode` trains.
fn coverage(weights: &Weights, mode: TrainMode, device: &Device) -> Coverage {
    match gradients(weights, mode, device) {
        Ok(trained) => Coverage { mode, trained, passed: true, detail: "every gradient arrives".to_owned() },
        Err(error) => Coverage { mode, trained: 0, passed: false, detail: error.to_string() },
    }
}

fn gradients(weights: &Weights, mode: TrainMode, device: &Device) -> retune::Result<usize> {
    let mut store = ParamStore::new(device, Seed::root(0));
    let backbone = Backbone::new(weights, &backbones::options(weights, mode), &mut store)?;
    let tokens = backbone.tokenize(&["a card about something to read", "another one, a little longer than that"])?;
    let vectors = backbone.encode(&store, &tokens.iter().collect::<Vec<_>>())?;
    // Weights that differ by position, so that no symmetry cancels a gradient.
    let count = vectors.elem_count();
    let slope: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
    let slope = candle_core::Tensor::from_vec(slope, vectors.shape(), device)?;
    let loss = (vectors * slope)?.sum_all()?;
    let found = Gradients::of(&loss, &store, 0)?;
    found.check_coverage(&store, 0, |_| false)?;
    Ok(store.trainable_count())
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn instruction_sets() -> Vec<&'static str> {
    let known = [
        ("sse4.1", std::arch::is_x86_feature_detected!("sse4.1")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn instruction_sets() -> Vec<&'static str> {
    if cfg!(target_arch = "aarch64") { vec!["neon"] } else { Vec::new() }
}

impl MemoryFindings {
    fn words(&self) -> String {
        let known = [
            (self.machine_mib, "in the machine"),
            (self.available_mib, "available"),
            (self.this_process_mib, "in use by this program"),
        ];
        let words: Vec<String> =
            known.iter().filter_map(|(mib, what)| Some(format!("{:.0} MiB {what}", (*mib)?))).collect();
        if words.is_empty() { "not known on this system".to_owned() } else { words.join(", ") }
    }
}

fn text(findings: &Findings) -> String {
    let backbone = &findings.backbone;
    let mut text = format!(
        "device      {} ({})\nmachine     {}, {} cores, {}\nkernel      {} for matrix products\nmemory      {}\n\
         threads     {} per matrix product, {} per elementwise \
         operation (a study uses one and runs trials side by side)\nbackbone    {}: {} layers, width {}, {} words, {} \
         parameters\n            {:.0} MiB in f32, {:.0} in 8 bits\n            weight version {}\n",
        findings.device,
        if findings.built_for_cuda { "built for CUDA" } else { "built without CUDA" },
        findings.platform,
        findings.cores,
        findings.instruction_sets.join(" "),
        findings.matmul_kernel,
        findings.memory.words(),
        findings.matmul_threads,
        findings.elementwise_threads,
        backbone.name,
        backbone.layers,
        backbone.width,
        backbone.vocabulary,
        backbone.parameters,
        backbone.f32_mib,
        backbone.u8_mib,
        backbone.version
    );
    for (name, bytes) in &backbone.files {
        text.push_str(&format!("            {name}: {:.1} MiB\n", *bytes as f64 / MIB));
    }
    if !backbone.unused_tensors.is_empty() {
        text.push_str(&format!("            unused tensors: {}\n", backbone.unused_tensors.join(", ")));
    }
    for row in &findings.gradient_coverage {
        let mark = if row.passed { "pass" } else { "FAIL" };
        let mode = format!("{:?}", row.mode).to_lowercase();
        text.push_str(&format!("gradients   {mark}  {mode}: {} ({} parameters)\n", row.detail, row.trained));
    }
    text
}
