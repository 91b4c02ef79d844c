//! Training: batches in an order by seed, steps of an optimiser, and when to stop.
//!
//! In: a network, samples, [`TrainOptions`]. Out: the trained network and a [`Report`]. It does not
//! know: files, threads. The same options, seed and samples give the same bits on every machine.

mod ewc;
mod lbfgs;
mod optimizer;
mod options;
mod rprop;
mod schedule;
mod trainer;

pub use ewc::Ewc;
pub use optimizer::Optimizer;
pub use options::{EarlyStopping, TrainOptions};
pub use schedule::{Decay, Schedule};
pub use trainer::{Epoch, Report, Stop, Trainer, train};
