//! The one error type of the crate: a wrapper over the error of each stage.

/// What went wrong, by stage. Each inner error names the file, field, tensor, step or request field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// In a model's files, its configuration or its name.
    #[error(transparent)]
    Load(#[from] crate::checkpoint::LoadError),
    /// In a plan.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// While setting up a device or running a batch.
    #[error(transparent)]
    Run(#[from] crate::backend::RunError),
    /// In a tokenizer, a template or a text.
    #[error(transparent)]
    Text(#[from] crate::tokenizer::TextError),
    /// In texts to be made vectors or scores.
    #[error(transparent)]
    Encoder(#[from] crate::encoder::EncoderError),
    /// In a request.
    #[error(transparent)]
    Request(#[from] crate::generate::RequestError),
    /// In a grammar that a text is to be held to.
    #[error(transparent)]
    Grammar(#[from] crate::grammar::GrammarError),
    /// In the tools of a request.
    #[error(transparent)]
    Tool(#[from] crate::tools::ToolError),
    /// While choosing a token.
    #[error(transparent)]
    Sample(#[from] crate::sample::SampleError),
    /// In a measurement.
    #[error(transparent)]
    Quality(#[from] crate::quality::QualityError),
    /// With files that the engine keeps.
    #[error(transparent)]
    Files(#[from] lattice_files::FilesError),
    /// While packing a model.
    #[error(transparent)]
    Quantize(#[from] crate::quantize::QuantizeError),
    /// A request ended by a panic; others went on.
    #[error("the engine failed in a way that it should not")]
    Panicked,
}
