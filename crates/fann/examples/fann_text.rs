//! Prints a network as libfann's `fann_create_from_file` reads it.
//!
//!     cargo run -p lattice-fann --example fann_text > ours.net

use lattice_fann::file::{FileError, fann_text_from_network};
use lattice_fann::{Activation, NetworkBuilder};

#[allow(clippy::print_stdout, reason = "what an example is for")]
fn main() -> Result<(), FileError> {
    let network = NetworkBuilder::new(3)
        .layer(6, Activation::Tanh)
        .layer(4, Activation::Sigmoid)
        .layer(2, Activation::Linear)
        .seed(11)
        .build()?;
    print!("{}", fann_text_from_network(&network)?);
    Ok(())
}
