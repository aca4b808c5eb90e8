//! WordPiece tokenization with our own padding and truncation.

use super::BertConfig;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

/// The largest tokenizer file that is read, in bytes.
pub(super) const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Token ids and segment ids of one text or pair, `[CLS]` and `[SEP]` included and without padding: every token is
/// attended to. The attention mask follows from the length, never from the ids, for a text may spell `[PAD]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens {
    ids: Vec<u32>,
    segments: Vec<u32>,
}

impl Tokens {
    /// Tokens made elsewhere.
    ///
    /// # Errors
    /// [`Error::Config`] if there are none (nothing could be attended to) or the lengths differ.
    pub fn new(ids: Vec<u32>, segments: Vec<u32>) -> Result<Self> {
        if ids.is_empty() {
            return Err(Error::config("tokens", "[]", "at least one token to attend to"));
        }
        if ids.len() != segments.len() {
            return Err(Error::config("tokens.segments", segments.len(), format!("as many as ids, {}", ids.len())));
        }
        Ok(Self { ids, segments })
    }

    /// Token ids.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// 0 for the first text, 1 for the second of a pair.
    #[must_use]
    pub fn segments(&self) -> &[u32] {
        &self.segments
    }

    /// Number of tokens, at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Reads a `tokenizer.json` and checks it against the model.
pub(super) fn parse(path: &Path, bytes: &[u8], config: &BertConfig) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| Error::invalid(path, format!("not a tokenizer: {e}")))?;
    let largest = tokenizer.get_vocab(true).into_iter().max_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    match largest {
        None => Err(Error::invalid(path, "the vocabulary is empty")),
        Some((token, id)) if id as usize >= config.vocab_size => Err(Error::invalid(
            path,
            format!("token {token:?} has id {id}, but the word table has vocab_size = {} rows", config.vocab_size),
        )),
        Some(_) => Ok(tokenizer),
    }
}

/// The `tokenizer.json` that a BERT vocabulary stands for: one token a line, its id the line number from 0.
/// `settings` is the content of `tokenizer_config.json`, if there is one.
pub(super) fn from_vocab(path: &Path, vocab: &str, settings: &Value) -> Result<Vec<u8>> {
    let mut ids: Map<String, Value> = Map::new();
    for (id, line) in vocab.lines().enumerate() {
        let token = line.trim_end_matches('\r');
        if let Some(first) = ids.insert(token.to_owned(), json!(id)) {
            let message =
                format!("line {} repeats the token {token:?} of line {}", id + 1, first.as_u64().unwrap_or(0) + 1);
            return Err(Error::invalid(path, message));
        }
    }
    let special = |key: &str, default: &str| -> Result<(String, u64)> {
        let given = settings.get(key).map(|v| v.get("content").unwrap_or(v));
        let token = given.and_then(Value::as_str).unwrap_or(default);
        match ids.get(token).and_then(Value::as_u64) {
            Some(id) => Ok((token.to_owned(), id)),
            None => Err(Error::invalid(path, format!("the special token {token:?} ({key}) is not in the vocabulary"))),
        }
    };
    let (unk, cls) = (special("unk_token", "[UNK]")?, special("cls_token", "[CLS]")?);
    let (sep, pad) = (special("sep_token", "[SEP]")?, special("pad_token", "[PAD]")?);
    let mut added = vec![&pad, &unk, &cls, &sep];
    let mask = special("mask_token", "[MASK]").ok();
    added.extend(&mask);
    added.sort_by_key(|(_, id)| *id);
    let added: Vec<Value> = added
        .iter()
        .map(|(token, id)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool);
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": flag("strip_accents"), "lowercase": flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": [sep.0, sep.1], "cls": [cls.0, cls.1]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": unk.0, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    });
    Ok(file.to_string().into_bytes())
}

/// A tokenizer of the same vocabulary that truncates at `max_length` tokens and never pads, whatever its file says.
pub(super) fn with_max_length(tokenizer: &Tokenizer, max_length: usize) -> Result<Tokenizer> {
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length, ..TruncationParams::default() };
    let failed = |e: tokenizers::Error| Error::config("max_length", max_length, e.to_string());
    tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    Ok(tokenizer)
}

/// Tokens of one encoding.
pub(super) fn tokens(encoding: &Encoding) -> Result<Tokens> {
    Tokens::new(encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
}
