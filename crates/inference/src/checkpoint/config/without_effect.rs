//! Fields of a `config.json` that cannot change what a forward pass computes on text.

/// About training, about the file itself, about outputs that are not logits, about towers that a
/// language model does not run, and ids that end or pad a text.
const FIELDS: [&str; 46] = [
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "audio_config",
    "audio_token_id",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "id2label",
    "image_token_id",
    "image_token_index",
    "initializer_range",
    "label2id",
    "model_type",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "quantization",
    "quantization_config",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "transformers.js_config",
    "unsloth_version",
    "use_cache",
    "video_token_id",
    "vision_config",
    "vision_end_token_id",
    "vision_start_token_id",
];

/// Whether a field is one of these; so is every field that begins with an underscore (private to
/// its writer).
pub(super) fn contains(key: &str) -> bool {
    key.starts_with('_') || FIELDS.contains(&key)
}
