//! Cross-crate tests: what a person sees who runs `experiment`.

mod bad_input;
mod commands;
mod interruption;
mod repeatability;
mod support;
