//! The model inside the binary: `models/lattice-tiny`, so that chat works at once and anywhere.

use lattice_inference::checkpoint::ModelFiles;

/// Its name, as `--model` takes it and messages print it.
pub(crate) const NAME: &str = "lattice-tiny";

/// Bytes at an address that any weight type is aligned to.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// A file of the model, aligned.
macro_rules! file {
    ($name:literal) => {{
        static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            "../../../models/lattice-tiny/",
            $name
        )));
        ($name, &FILE.0)
    }};
}

static FILES: [(&str, &[u8]); 8] = [
    file!("config.json"),
    file!("generation_config.json"),
    file!("tokenizer.json"),
    file!("tokenizer_config.json"),
    file!("chat_template.jinja"),
    file!("model.safetensors.index.json"),
    file!("model-00001-of-00002.safetensors"),
    file!("model-00002-of-00002.safetensors"),
];

/// The bundled model's files.
pub(crate) fn files() -> ModelFiles {
    ModelFiles::embedded(NAME, &FILES)
}
