//! Cross-crate tests: what a person sees who runs `experiment`.

mod bad_input;
mod commands;
mod control;
mod diag_query;
mod full_disk;
mod interruption;
mod repeatability;
mod soak;
mod support;
