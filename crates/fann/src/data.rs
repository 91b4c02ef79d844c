//! Samples to learn from, checked once.
//!
//! In: inputs with target values or with labels. Out: [`Samples`] of which every value is finite and
//! every label a class. It does not know: networks, losses.

use crate::Error;
use crate::error::{check_finite, check_len};
use crate::network::rows_of;

/// Rows of inputs, each with what the network should say.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    inputs: &'a [f32],
    input_width: usize,
    targets: Targets<'a>,
    target_width: usize,
}

#[derive(Debug, Clone, Copy)]
enum Targets<'a> {
    Values(&'a [f32]),
    Labels(&'a [u32]),
}

impl<'a> Samples<'a> {
    /// Samples with target values. `inputs`: `[rows, input_width]`; `targets`: `[rows, target_width]`.
    ///
    /// # Errors
    /// [`Error::NoSamples`], [`Error::Rows`], [`Error::Length`], [`Error::NotFinite`].
    pub fn values(
        inputs: &'a [f32],
        input_width: usize,
        targets: &'a [f32],
        target_width: usize,
    ) -> Result<Samples<'a>, Error> {
        let rows = checked(inputs, input_width, target_width)?;
        check_len("targets", rows.saturating_mul(target_width), targets.len())?;
        check_finite("target of row", targets, target_width)?;
        Ok(Samples {
            inputs,
            input_width,
            targets: Targets::Values(targets),
            target_width,
        })
    }

    /// Samples of classes: the target is 1 for the class and 0 for the others. `inputs`:
    /// `[rows, input_width]`; `labels`: `[rows]`, each below `classes`.
    ///
    /// # Errors
    /// [`Error::NoSamples`], [`Error::Rows`], [`Error::Length`], [`Error::NotFinite`],
    /// [`Error::Label`].
    pub fn labels(
        inputs: &'a [f32],
        input_width: usize,
        labels: &'a [u32],
        classes: usize,
    ) -> Result<Samples<'a>, Error> {
        let rows = checked(inputs, input_width, classes)?;
        check_len("labels", rows, labels.len())?;
        if let Some(row) = labels.iter().position(|&l| l as usize >= classes) {
            return Err(Error::Label {
                row,
                label: labels[row],
                classes,
            });
        }
        Ok(Samples {
            inputs,
            input_width,
            targets: Targets::Labels(labels),
            target_width: classes,
        })
    }

    /// How many samples.
    pub fn rows(&self) -> usize {
        self.inputs.len() / self.input_width
    }

    /// Elements of an input.
    pub fn input_width(&self) -> usize {
        self.input_width
    }

    /// Elements of a target.
    pub fn target_width(&self) -> usize {
        self.target_width
    }

    /// The inputs of rows that stand together.
    pub(crate) fn inputs(&self, rows: core::ops::Range<usize>) -> &'a [f32] {
        &self.inputs[rows.start * self.input_width..rows.end * self.input_width]
    }

    /// A target that is not within 0..=1: its row and value.
    pub(crate) fn no_probability(&self) -> Option<(usize, f32)> {
        let Targets::Values(values) = self.targets else {
            return None;
        };
        let at = values.iter().position(|x| !(0.0..=1.0).contains(x))?;
        Some((at / self.target_width, values[at]))
    }

    /// Writes the target of a row.
    pub(crate) fn put_target(&self, row: usize, target: &mut [f32]) {
        let targets = self.target_width;
        match self.targets {
            Targets::Values(values) => {
                target.copy_from_slice(&values[row * targets..(row + 1) * targets]);
            }
            Targets::Labels(labels) => {
                target.fill(0.0);
                target[labels[row] as usize] = 1.0;
            }
        }
    }
}

fn checked(inputs: &[f32], input_width: usize, target_width: usize) -> Result<usize, Error> {
    if input_width == 0 || target_width == 0 {
        let layer = usize::from(input_width != 0);
        return Err(Error::ZeroWidth { layer });
    }
    let rows = rows_of("inputs", inputs, input_width)?;
    if rows == 0 {
        return Err(Error::NoSamples);
    }
    check_finite("input of row", inputs, input_width)?;
    if u32::try_from(rows).is_err() {
        return Err(Error::TooMany {
            what: "samples",
            found: rows,
            most: u32::MAX as usize,
        });
    }
    Ok(rows)
}
