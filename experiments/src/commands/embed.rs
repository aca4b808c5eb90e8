//! `experiment embed --backbone DIR`: texts in, vectors out.

use crate::failure::{Outcome, bad_input};
use crate::{backbones, device};
use anyhow::Result;
use retune::backbone::WeightForm;
use retune::rng::Seed;
use std::io::{BufRead, ErrorKind, Write};

/// Texts that are encoded together: large enough for full matrix products, small enough to answer soon.
const BATCH: usize = 64;

pub fn run(backbone: &str, weights: WeightForm, device: &str) -> Result<Outcome> {
    let device = device::choose(device)?;
    let weights = backbones::load(backbone, weights, Seed::root(0))?;
    let (backbone, store) = backbones::frozen(&weights, &device)?;
    let mut input = std::io::stdin().lock();
    let mut out = std::io::stdout().lock();
    let mut line = 0;
    loop {
        let texts = read(&mut input, &mut line)?;
        if texts.is_empty() {
            return Ok(Outcome::Done);
        }
        let tokens = backbone.tokenize(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
        let vectors = backbone.encode_detached(&store, &tokens.iter().collect::<Vec<_>>())?.to_vec2::<f32>()?;
        for vector in vectors {
            let mut json = serde_json::to_string(&vector)?;
            json.push('\n');
            match out.write_all(json.as_bytes()) {
                // The reader has seen enough.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Outcome::Done),
                other => other?,
            }
        }
        out.flush()?;
    }
}

/// The next lines, fewer than [`BATCH`] only at the end.
fn read(input: &mut impl BufRead, line: &mut u64) -> Result<Vec<String>> {
    let mut texts = Vec::with_capacity(BATCH);
    while texts.len() < BATCH {
        let mut bytes = Vec::new();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        *line += 1;
        let text = String::from_utf8(bytes)
            .map_err(|_| bad_input(format!("standard input, line {line}: not UTF-8; expected one text a line")))?;
        texts.push(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    Ok(texts)
}
