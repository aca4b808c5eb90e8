//! Which layers a set of heads needs, and what they are called.

use super::PREFIX;
use super::features::Features;
use crate::net::{Head, NetConfig, NetInit, Per};
use retune::Result;
use retune::nn::mlp::{Activation, Block, Layout, Stack, constant, orthogonal, torch_uniform, uniform};
use retune::rng::Seed;
use std::collections::BTreeMap;

/// What a group of layers reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    State,
    Candidate,
}

/// An output of the layers before heads are put together: a head has one, a dueling head two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    pub head: usize,
    /// The value stream of a dueling head.
    pub is_value: bool,
    pub stack: Stack,
    /// Added to its output: a layer of the input of the part.
    pub direct: Option<Stack>,
}

/// Streams with the hidden layers that they share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub input: Input,
    /// The shared layers; `None` where there is one stream, which then begins with them.
    pub trunk: Option<Stack>,
    pub streams: Vec<Stream>,
}

/// A noisy layer: its means are `<name>.weight` and `<name>.bias`, its deviations `<name>.weight_sigma` and
/// `<name>.bias_sigma`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noisy {
    pub weight: Block,
    pub weight_sigma: Block,
    pub bias: Block,
    pub bias_sigma: Block,
}

/// The whole network as places in a flat array.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub heads: Vec<Head>,
    pub features: Features,
    pub layout: Layout,
    pub parts: Vec<Part>,
    pub noisy: Vec<Noisy>,
}

/// One stream before its parameters have a place.
struct Draft {
    head: usize,
    is_value: bool,
    prefix: String,
    /// Widths from the input of the stream to its output.
    sizes: Vec<usize>,
    /// Widths of the layer of the input of the part, where there is one.
    direct: Option<[usize; 2]>,
    gain: f64,
}

impl Draft {
    fn direct_prefix(&self) -> String {
        format!("{}{DIRECT}", self.prefix)
    }
}

/// What the names of layers of the inputs themselves go on with.
const DIRECT: &str = "direct.";

/// One part before its parameters have a place.
struct PartDraft {
    input: Input,
    prefix: String,
    sizes: Vec<usize>,
    streams: Vec<Draft>,
}

impl Plan {
    pub fn new(features: Features, config: &NetConfig, heads: &[Head]) -> Result<Self> {
        let drafts = drafts(&features, config, heads);
        let mut shapes = Vec::new();
        for draft in &drafts {
            shapes.extend(Stack::shapes(&draft.prefix, &draft.sizes));
            for stream in &draft.streams {
                let own = Stack::shapes(&stream.prefix, &stream.sizes);
                if config.noisy {
                    shapes.extend(own.iter().map(|(name, rows, cols)| (format!("{name}_sigma"), *rows, *cols)));
                }
                shapes.extend(own);
                shapes.extend(stream.direct.iter().flat_map(|sizes| Stack::shapes(&stream.direct_prefix(), sizes)));
            }
        }
        let layout = Layout::new(shapes)?;
        let parts = drafts.iter().map(|d| d.place(&layout, config.activation)).collect::<Result<Vec<_>>>()?;
        let noisy = if config.noisy { noisy_layers(&layout)? } else { Vec::new() };
        Ok(Self { heads: heads.to_vec(), features, layout, parts, noisy })
    }

    /// Initial parameters, each from the stream of its name.
    pub fn init(&self, config: &NetConfig, seed: Seed) -> Result<Vec<f32>> {
        let mut flat = vec![0.0; self.layout.len()];
        let gains = self.gains(config);
        for block in self.layout.blocks() {
            let mut rng = seed.child(&block.name).rng();
            let layer = block.name.rsplit_once('.').map_or("", |(layer, _)| layer);
            let fan_in = self.layout.block(&format!("{layer}.weight"))?.rows;
            if layer.contains(DIRECT) {
                continue;
            }
            match (block.name.ends_with("_sigma"), block.name.ends_with("weight"), config.init) {
                (true, ..) => constant(block, &mut flat, (config.noisy_sigma / (fan_in as f64).sqrt()) as f32),
                // Noisy layers begin as their paper says, whatever the others do.
                _ if self.noisy.iter().any(|n| n.weight.name == block.name || n.bias.name == block.name) => {
                    uniform(block, &mut flat, 1.0 / (fan_in as f64).sqrt(), &mut rng);
                }
                (_, _, NetInit::Torch) => torch_uniform(block, &mut flat, fan_in, &mut rng),
                (_, true, NetInit::Orthogonal) => {
                    let gain = gains.get(layer).copied().unwrap_or_else(|| hidden_gain(config.activation));
                    orthogonal(block, &mut flat, gain, &mut rng);
                }
                (_, false, NetInit::Orthogonal) => {}
            }
        }
        Ok(flat)
    }

    /// Gains of the last layers, by layer.
    fn gains(&self, config: &NetConfig) -> BTreeMap<String, f64> {
        let drafts = drafts(&self.features, config, &self.heads);
        let streams = drafts.iter().flat_map(|d| &d.streams);
        streams.map(|s| (format!("{}{}", s.prefix, s.sizes.len() - 2), s.gain)).collect()
    }
}

/// √2 for ReLU (He et al., arXiv:1502.01852), and for tanh too, as the implementations of PPO have it.
fn hidden_gain(act: Activation) -> f64 {
    if act == Activation::Identity { 1.0 } else { std::f64::consts::SQRT_2 }
}

fn drafts(features: &Features, config: &NetConfig, heads: &[Head]) -> Vec<PartDraft> {
    let mut drafts: Vec<PartDraft> = Vec::new();
    for (index, head) in heads.iter().enumerate() {
        let streams: &[(Per, bool, &str)] = match (head.per, head.dueling) {
            (Per::Candidate, true) => &[(Per::Candidate, false, "advantage"), (Per::State, true, "value")],
            (Per::Candidate, false) => &[(Per::Candidate, false, "out")],
            (Per::State, _) => &[(Per::State, false, "out")],
        };
        for &(per, is_value, name) in streams {
            let apart = per == Per::Candidate && features.per_candidate();
            let input = if apart { Input::Candidate } else { Input::State };
            let group = if config.shared { "shared" } else { head.name };
            let kind = if apart { "candidate" } else { "state" };
            let prefix = format!("{PREFIX}{group}.{kind}.");
            let last = *config.hidden.last().unwrap_or(&0);
            let copies = if per == Per::Candidate && !apart { features.num_candidates() } else { 1 };
            let outputs = copies * head.width;
            let sizes = [&[last], config.stream_hidden.as_slice(), &[outputs]].concat();
            let stream_prefix = format!("{PREFIX}{}.{name}.", head.name);
            let width = if apart { features.candidate_width() } else { features.state_width() };
            let direct = config.direct.then_some([width, outputs]);
            let stream = Draft { head: index, is_value, prefix: stream_prefix, sizes, direct, gain: head.gain };
            if let Some(draft) = drafts.iter_mut().find(|d| d.prefix == prefix) {
                draft.streams.push(stream);
                continue;
            }
            let sizes = [&[width], config.hidden.as_slice()].concat();
            drafts.push(PartDraft { input, prefix, sizes, streams: vec![stream] });
        }
    }
    drafts
}

impl PartDraft {
    fn place(&self, layout: &Layout, act: Activation) -> Result<Part> {
        let trunk = Stack::new(layout, &self.prefix, &self.sizes, act, act)?;
        let alone = self.streams.len() == 1;
        let streams = self.streams.iter().map(|s| {
            let own = Stack::new(layout, &s.prefix, &s.sizes, act, Activation::Identity)?;
            let stack = if alone { trunk.clone().then(own) } else { own };
            let place = |sizes: &[usize; 2]| {
                Stack::new(layout, &s.direct_prefix(), sizes, Activation::Identity, Activation::Identity)
            };
            let direct = s.direct.as_ref().map(place).transpose()?;
            Ok(Stream { head: s.head, is_value: s.is_value, stack, direct })
        });
        let streams = streams.collect::<Result<_>>()?;
        Ok(Part { input: self.input, trunk: (!alone).then_some(trunk), streams })
    }
}

fn noisy_layers(layout: &Layout) -> Result<Vec<Noisy>> {
    let names = layout.blocks().iter().filter_map(|b| b.name.strip_suffix(".weight_sigma"));
    names
        .map(|name| {
            let block = |part: &str| Ok::<_, retune::Error>(layout.block(&format!("{name}.{part}"))?.clone());
            Ok(Noisy {
                weight: block("weight")?,
                weight_sigma: block("weight_sigma")?,
                bias: block("bias")?,
                bias_sigma: block("bias_sigma")?,
            })
        })
        .collect()
}
