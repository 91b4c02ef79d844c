//! BERT and RoBERTa: whole texts, layer norms after each residual, learned positions, biases everywhere.
//!
//! Reference: transformers `modeling_bert.py`, `modeling_roberta.py`, `modeling_xlm_roberta.py`, `modeling_camembert.py`.

use crate::Error;
use crate::checkpoint::{Config, LoadError, Renamed};
use crate::plan::{Act, Builder, HeadShape, Index, Plan, Pooling, Val};

use super::Family;
use super::blocks::{divides, linear};
use super::ending::{DenseLayer, Ending, refuse, through, vector};

pub(super) const BERT: Family = Family {
    name: "bert",
    model_types: &["bert"],
    encodes: true,
    plan: bert,
    sanitize,
};

pub(super) const ROBERTA: Family = Family {
    name: "xlm_roberta",
    model_types: &["xlm-roberta", "roberta", "camembert"],
    encodes: true,
    plan: roberta,
    sanitize,
};

/// What transformers' configurations mean where a field is left out.
const EPS: f64 = 1e-12;
const ROBERTA_EPS: f64 = 1e-5;
const TYPES: usize = 2;
const PADDING: usize = 1;

/// What tells one relative from another.
struct Encoder<'a> {
    config: &'a Config,
    family: &'static str,
    heads: HeadShape,
    hidden: usize,
    ffn: usize,
    act: Act,
    eps: f32,
    /// The row of the first position.
    first_position: usize,
}

fn bert(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    let encoder = Encoder::of(config, "bert", EPS, 0)?;
    encoder.plan(ending, |encoder, b, cls| {
        // The pooler, which is a part of the base model.
        let pooler = encoder.square("pooler.dense", Some(Act::Tanh));
        let scores = encoder.classifier("classifier")?;
        Ok(through(b, cls, &[pooler, scores])?)
    })
}

fn roberta(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    // A sequence's positions start after the one that padding has.
    let first = config.count_or("pad_token_id", PADDING)? + 1;
    let encoder = Encoder::of(config, "xlm_roberta", ROBERTA_EPS, first)?;
    encoder.plan(ending, |encoder, b, cls| {
        let dense = encoder.square("classifier.dense", Some(Act::Tanh));
        let scores = encoder.classifier("classifier.out_proj")?;
        Ok(through(b, cls, &[dense, scores])?)
    })
}

impl<'a> Encoder<'a> {
    fn of(
        config: &'a Config,
        family: &'static str,
        eps: f64,
        first_position: usize,
    ) -> Result<Self, LoadError> {
        config.must_be(
            "position_embedding_type",
            "absolute",
            "no other is supported",
        )?;
        config.must_be(
            "is_decoder",
            false,
            "a decoder of this family is not supported",
        )?;
        config.must_be("add_cross_attention", false, "is not supported")?;
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        divides(
            config,
            ("num_attention_heads", heads),
            ("hidden_size", hidden),
        )?;
        let heads = HeadShape {
            heads,
            kv_heads: heads,
            head_dim: hidden / heads,
        };
        Ok(Self {
            config,
            family,
            heads,
            hidden,
            ffn: config.size("intermediate_size")?,
            act: activation(config)?,
            eps: config.positive_or("layer_norm_eps", eps)? as f32,
            first_position,
        })
    }

    fn plan(
        &self,
        ending: &Ending,
        scores: impl Fn(&Self, &mut Builder, Val) -> Result<Val, Error>,
    ) -> Result<Plan, Error> {
        let positions = self.config.size("max_position_embeddings")?;
        let first = self.first_position;
        let tokens = positions.checked_sub(first).filter(|tokens| *tokens > 0);
        let tokens = tokens.ok_or_else(|| {
            let reason = format!("is {positions}, and the first {first} are not for tokens");
            self.config.refuse("max_position_embeddings", reason)
        })?;
        let vocab = self.config.size("vocab_size")?;
        let mut builder = Builder::new(self.family, vocab, tokens);
        let b = &mut builder;
        let mut x = self.embeddings(b, vocab, positions)?;
        let layers = self.config.layers("num_hidden_layers")?;
        let one_row = one_row(ending);
        for layer in 0..layers {
            let path = format!("encoder.layer.{layer}");
            x = self.layer(b, &path, x, one_row.filter(|_| layer + 1 == layers));
        }
        let out = match ending {
            Ending::Logits => return Err(refuse(self.config, "logits of next tokens").into()),
            Ending::Vector { dense, .. } if one_row.is_some() => through(b, x, dense)?,
            Ending::Vector { pooling, dense } => vector(b, x, *pooling, dense)?,
            Ending::Scores => scores(self, b, x)?,
        };
        Ok(builder.finish(out)?)
    }

    /// Word, type and position of each token, added in this order, and normalised.
    fn embeddings(
        &self,
        b: &mut Builder,
        vocab: usize,
        positions: usize,
    ) -> Result<Val, LoadError> {
        let types = self.config.size_or("type_vocab_size", TYPES)?;
        let mut table = |name: &str, rows: usize, by: Index| {
            let tensor = format!("embeddings.{name}_embeddings.weight");
            let table = b.weight(&tensor, &[rows, self.hidden]);
            b.embed_by(table, by)
        };
        let words = table("word", vocab, Index::Token);
        let types = table("token_type", types, Index::Type);
        let first = self.first_position;
        let positions = table("position", positions, Index::Position { first });
        let typed = b.add("embeddings.typed", words, types);
        let placed = b.add("embeddings.placed", typed, positions);
        Ok(b.layer_norm(placed, "embeddings.LayerNorm", self.eps))
    }

    /// A layer; where `one_row` of each text is all that is wanted of it, the MLP sees that row alone.
    fn layer(&self, b: &mut Builder, path: &str, x: Val, one_row: Option<Pooling>) -> Val {
        let HeadShape { head_dim, .. } = self.heads;
        let mixer = format!("{path}.attention.self");
        let mut project = |name: &str| linear(b, &format!("{mixer}.{name}"), x, self.hidden, true);
        let qkv = (project("query"), project("key"), project("value"));
        let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
        let mixed =
            b.attention_bidirectional(&format!("{mixer}.attention"), qkv, self.heads, scale);
        let (x, mixed) = match one_row {
            None => (x, mixed),
            Some(row) => {
                let x = b.pool(&format!("{path}.row"), x, row);
                (x, b.pool(&format!("{mixer}.row"), mixed, row))
            }
        };
        let x = self.residual(b, &format!("{path}.attention.output"), x, mixed);
        let inner = format!("{path}.intermediate");
        let wide = linear(b, &format!("{inner}.dense"), x, self.ffn, true);
        let wide = b.act(&format!("{inner}.act"), self.act, wide);
        self.residual(b, &format!("{path}.output"), x, wide)
    }

    /// `y` through the layer at `path`, added to `x`, normalised.
    fn residual(&self, b: &mut Builder, path: &str, x: Val, y: Val) -> Val {
        let y = linear(b, &format!("{path}.dense"), y, self.hidden, true);
        let sum = b.add(&format!("{path}.residual"), y, x);
        b.layer_norm(sum, &format!("{path}.LayerNorm"), self.eps)
    }

    fn square(&self, path: &str, act: Option<Act>) -> DenseLayer {
        DenseLayer {
            path: path.to_owned(),
            inputs: self.hidden,
            outputs: self.hidden,
            bias: true,
            act,
        }
    }

    fn classifier(&self, path: &str) -> Result<DenseLayer, LoadError> {
        Ok(DenseLayer {
            outputs: self.config.labels()?.len(),
            ..self.square(path, None)
        })
    }
}

/// The row of each text that is all an ending looks at.
fn one_row(ending: &Ending) -> Option<Pooling> {
    match ending {
        Ending::Scores => Some(Pooling::Cls),
        Ending::Vector {
            pooling: pooling @ (Pooling::Cls | Pooling::LastToken),
            ..
        } => Some(*pooling),
        Ending::Vector { .. } | Ending::Logits => None,
    }
}

/// The activation between the two layers of an MLP.
fn activation(config: &Config) -> Result<Act, LoadError> {
    let name = config.text_or("hidden_act", "gelu")?;
    match name.as_str() {
        "gelu" | "gelu_python" => Ok(Act::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Act::GeluTanh),
        "relu" => Ok(Act::Relu),
        "silu" | "swish" => Ok(Act::Silu),
        "tanh" => Ok(Act::Tanh),
        _ => Err(config.refuse("hidden_act", format!("`{name}` is not supported"))),
    }
}

/// Classifiers and models with heads name the base model before its tensors; of heads, that of a classifier counts.
fn sanitize(name: &str) -> Renamed<'_> {
    let prefixes = ["bert.", "roberta."];
    let base = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    let name = base.unwrap_or(name);
    if name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") {
        return Renamed::Ignore("counted, not stored");
    }
    if name.starts_with("cls.") || name.starts_with("lm_head.") {
        return Renamed::Ignore("the head of the training task");
    }
    // Checkpoints of the first years.
    if let Some(path) = name.strip_suffix("LayerNorm.gamma") {
        return Renamed::Keep(format!("{path}LayerNorm.weight").into());
    }
    if let Some(path) = name.strip_suffix("LayerNorm.beta") {
        return Renamed::Keep(format!("{path}LayerNorm.bias").into());
    }
    Renamed::Keep(name.into())
}
