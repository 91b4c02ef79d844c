//! Tiny checkpoints, goldens and the tolerance table. Development only.
