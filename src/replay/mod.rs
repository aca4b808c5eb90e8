//! Memories of past experience.
