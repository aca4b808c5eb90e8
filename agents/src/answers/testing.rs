//! A tiny task with answers.
