//! What is done with bytes that nobody vouches for.
//!
//! In: any bytes. Out: nothing; it panics where a law of a reader is broken. The test beside this file
//! replays the corpus with it, and the fuzzer in `fuzz/` calls the very same function.

use lattice_fann::file::{
    Stepwise, bytes_from_int8, bytes_from_network, fann_text_from_network, int8_from_bytes,
    network_from_bytes, network_from_fann_text, network_from_safetensors, safetensors_from_network,
};
use lattice_fann::{Int8Network, Network};
use twox_hash::XxHash3_64;

/// Gives the bytes to every reader. What one takes can be run, written, and read again as it was.
pub(crate) fn every_reader(data: &[u8]) {
    native(data);
    // The checksum would keep a fuzzer out: once more with a right one.
    if let Some((body, _)) = data.split_last_chunk::<8>() {
        let mut right = body.to_vec();
        right.extend(XxHash3_64::oneshot(body).to_le_bytes());
        native(&right);
    }
    if let Ok(network) = network_from_safetensors(data, None) {
        let bytes = safetensors_from_network(&network).expect("what was read can be written");
        let again = network_from_safetensors(&bytes, None);
        assert_eq!(again.as_ref(), Ok(&network));
        run(network);
    }
    if let Ok(text) = core::str::from_utf8(data) {
        for stepwise in [Stepwise::Refuse, Stepwise::Smooth] {
            if let Ok(network) = network_from_fann_text(text, stepwise) {
                let text = fann_text_from_network(&network).expect("what was read can be written");
                let again = network_from_fann_text(&text, Stepwise::Refuse);
                assert_eq!(again.as_ref(), Ok(&network));
                run(network);
            }
        }
    }
}

fn native(data: &[u8]) {
    if let Ok(network) = network_from_bytes(data) {
        assert_eq!(bytes_from_network(&network), data);
        run(network);
    }
    if let Ok(network) = int8_from_bytes(data) {
        assert_eq!(bytes_from_int8(&network), data);
        run_int8(network);
    }
}

fn run(mut network: Network) {
    let input = vec![0.5; network.inputs()];
    let outputs = network.outputs();
    let found = network.forward(&input).expect("a right row");
    assert_eq!(found.len(), outputs);
    // Some weights are too large for one layer to be quantised; that is said, not panicked.
    if let Ok(int8) = Int8Network::from_network(&network) {
        run_int8(int8);
    }
}

fn run_int8(mut network: Int8Network) {
    let input = vec![0.5; network.inputs()];
    network.forward(&input).expect("a right row");
}
