//! What can be wrong with what comes in.

use crate::{Activation, Loss};

/// Why a network was not built, run or trained. Files have their own: [`crate::file::FileError`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network has at least one layer.
    #[error("the network has no layers")]
    NoLayers,
    /// A width of 0: layer 0 is the input.
    #[error("layer {layer} has a width of 0")]
    ZeroWidth {
        /// 0 is the input, 1 the first dense layer.
        layer: usize,
    },
    /// More than this library takes on.
    #[error("{what}: {found} is more than {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are, as far as a usize can say.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// A slice of the wrong length.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its right length.
        expected: usize,
        /// The length it has.
        found: usize,
    },
    /// A slice that is not whole rows.
    #[error("{what}: {found} values are no rows of {width}")]
    Rows {
        /// Which slice.
        what: &'static str,
        /// Elements of a row.
        width: usize,
        /// The length it has.
        found: usize,
    },
    /// A layer's slope, a parameter or a sample is NaN or infinite.
    #[error("{what} {index} is not finite")]
    NotFinite {
        /// Of what.
        what: &'static str,
        /// Which one.
        index: usize,
    },
    /// A class that the output has no element for.
    #[error("row {row}: label {label} of {classes} classes")]
    Label {
        /// The sample.
        row: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// Cross-entropies compare probabilities.
    #[error("row {row}: target {value} is no probability, as {loss} needs")]
    NoProbability {
        /// The sample.
        row: usize,
        /// Its target.
        value: f32,
        /// The loss that needs one.
        loss: Loss,
    },
    /// There is nothing to learn from.
    #[error("there are no samples")]
    NoSamples,
    /// An option outside of its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// The option.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The loss and the last layer do not fit each other.
    #[error("{loss} needs an output of {needs}, found {found}")]
    OutputNeeds {
        /// The loss asked for.
        loss: Loss,
        /// The activation it needs.
        needs: Activation,
        /// What the last layer has.
        found: Activation,
    },
    /// A loss or a gradient became NaN or infinite. The network is as it was before this step.
    #[error("epoch {epoch}, step {step}: {what} is not finite, the learning rate may be too high")]
    Diverged {
        /// Epochs done before.
        epoch: usize,
        /// Steps of this epoch done before.
        step: usize,
        /// What was not.
        what: &'static str,
    },
    /// Made for a network of another shape.
    #[error("{what} is made for {expected} parameters, the network has {found}")]
    OtherNetwork {
        /// What was.
        what: &'static str,
        /// Parameters it was made for.
        expected: usize,
        /// Parameters there are.
        found: usize,
    },
    /// A fixed network and a network of another shape or another activation.
    #[error("layer {layer} is {found:?}, expected {expected:?} (inputs, outputs)")]
    FixedShape {
        /// The layer, from 0.
        layer: usize,
        /// What the type says.
        expected: (usize, usize),
        /// What the network has.
        found: (usize, usize),
    },
}

/// Checks a slice's length.
pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Length {
        what,
        expected,
        found,
    })
}

/// Checks that every value is finite; the index reported is that of the row.
pub(crate) fn check_finite(what: &'static str, values: &[f32], width: usize) -> Result<(), Error> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            what,
            index: at / width.max(1),
        }),
    }
}

/// Checks an option's range.
pub(crate) fn check_setting(
    name: &'static str,
    value: f64,
    fits: bool,
    expected: &'static str,
) -> Result<(), Error> {
    if fits {
        return Ok(());
    }
    Err(Error::Setting {
        name,
        value,
        expected,
    })
}
