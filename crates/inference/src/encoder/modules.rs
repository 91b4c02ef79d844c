//! modules.json of sentence-transformers and the folders it names: what happens to the last hidden states.
//!
//! In: a model's files. Out: how they are pooled, through which layers they go, whether vectors are scaled.
//! Source: sentence-transformers 6.2, `base/model.py` and the modules' own `load`.
//! It does not know: plans, weights, texts. A module of another kind is refused by its name.

use serde_json::Value;

use crate::checkpoint::{Fields, LoadError, ModelFiles, not_found, objects};
use crate::models::DenseLayer;
use crate::plan::{Act, Op, Plan, Pooling};

const FILE: &str = "modules.json";
/// These files are a few lines.
pub(super) const BYTES_MAX: u64 = 1 << 20;
const SUPPORTED: &str = "Transformer, Pooling, Dense and Normalize are supported, in this order";
/// The one layer of a dense module.
const LINEAR: &str = ".linear";
/// What the older form of a pooling configuration calls each way.
const FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// The folders that the text of a modules.json names, for who wants a model's files and not the model. A text that is no list of
/// modules names none: opening the model says what is wrong with it.
pub fn module_folders(text: &str) -> Vec<String> {
    let modules: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let paths = modules
        .iter()
        .filter_map(|module| module.get("path")?.as_str());
    let folders = paths.filter(|path| !path.is_empty());
    folders.map(str::to_owned).collect()
}

/// What follows the transformer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modules {
    pub(crate) pooling: Option<PoolingModule>,
    pub(crate) dense: Vec<DenseLayer>,
    pub(crate) normalise: bool,
    /// Fields of their configurations that nothing uses.
    pub(crate) notes: Vec<String>,
    /// The files that were read in folders of their own.
    pub(crate) files: Vec<String>,
}

/// A pooling module as configured.
#[derive(Debug, Clone)]
pub(crate) struct PoolingModule {
    pub(crate) pooling: Pooling,
    /// Whether a prompt's tokens are pooled with the text's.
    pub(crate) include_prompt: bool,
    /// The file that says so.
    pub(crate) file: String,
    /// Width of what it pools, and the field that says so.
    pub(crate) dims: Option<(usize, &'static str)>,
}

impl Modules {
    /// Reads them; `None` where there is no modules.json.
    ///
    /// # Errors
    /// A module that is not supported, or not in this place; a field of a configuration that is wrong.
    pub(crate) fn open(files: &ModelFiles) -> Result<Option<Self>, LoadError> {
        let Some(text) = files.text(FILE, BYTES_MAX)? else {
            return Ok(None);
        };
        let mut modules = Self::default();
        for (index, object) in objects(FILE, &text)?.into_iter().enumerate() {
            let mut fields = Fields::in_object(FILE, object);
            let kind = fields.text("type")?.unwrap_or_default();
            let path = fields.text("path")?.unwrap_or_default();
            let last = kind.rsplit('.').next().unwrap_or_default();
            let refuse = |field: &str, reason: String| LoadError::Field {
                file: FILE.to_owned(),
                field: format!("[{index}].{field}"),
                reason,
            };
            match (last, index, modules.pooling.is_some(), modules.normalise) {
                ("Transformer", 0, ..) if path.is_empty() => {}
                ("Transformer", 0, ..) => {
                    let reason =
                        format!("a transformer in a folder of its own (`{path}`) is not supported");
                    return Err(refuse("path", reason));
                }
                ("Pooling", 1.., false, false) => {
                    modules.pooling = Some(pooling(files, &path, &mut modules)?)
                }
                ("Dense", _, true, false) => {
                    let module = dense(files, path, &mut modules)?;
                    modules.dense.push(module);
                }
                ("Normalize", _, true, false) => {
                    modules.normalise = true;
                    sentence_embedding(files, &path, &mut modules)?;
                }
                _ => {
                    return Err(refuse(
                        "type",
                        format!("`{kind}` in this place: {SUPPORTED}"),
                    ));
                }
            }
        }
        Ok(Some(modules))
    }

    /// A file was read, and this is left of it.
    fn read(&mut self, file: &str, fields: Fields) {
        let left = fields.left(&[]);
        if !left.is_empty() {
            let note = format!("{file}: not used: {}", left.join(", "));
            self.notes.push(note);
        }
        self.files.push(file.to_owned());
    }

    /// Refuses a pooling module of another width than the rows that `plan` pools.
    pub(crate) fn check_width(&self, plan: &Plan) -> Result<(), LoadError> {
        let taken = plan.steps.iter().find_map(|step| match step.op {
            Op::Pool { x, .. } | Op::TakeRows { x } => Some(plan.value(x).width),
            _ => None,
        });
        match (&self.pooling, taken) {
            (
                Some(PoolingModule {
                    file,
                    dims: Some((dims, field)),
                    ..
                }),
                Some(width),
            ) if *dims != width => Err(LoadError::Field {
                file: file.clone(),
                field: (*field).to_owned(),
                reason: format!("is {dims}, the model's hidden states have {width} columns"),
            }),
            _ => Ok(()),
        }
    }

    /// Files of weights beside the model's own, and what the names of their tensors begin with.
    pub(crate) fn weights(&self) -> Vec<(String, String)> {
        let folders = self
            .dense
            .iter()
            .filter_map(|layer| layer.path.strip_suffix(LINEAR));
        let weights = |folder: &str| (format!("{folder}/model.safetensors"), format!("{folder}."));
        folders.map(weights).collect()
    }
}

/// The configuration of the module in `path`, and its name; `None` where it has none.
fn config_of(files: &ModelFiles, path: &str) -> Result<Option<(String, Fields)>, LoadError> {
    let file = format!("{path}/config.json");
    let Some(text) = files.text(&file, BYTES_MAX)? else {
        return Ok(None);
    };
    let fields = Fields::of(&file, &text)?;
    Ok(Some((file, fields)))
}

/// [`config_of`] of a module that cannot do without.
fn require_config(files: &ModelFiles, path: &str) -> Result<(String, Fields), LoadError> {
    config_of(files, path)?.ok_or_else(|| not_found(&format!("{path}/config.json")))
}

fn pooling(
    files: &ModelFiles,
    path: &str,
    modules: &mut Modules,
) -> Result<PoolingModule, LoadError> {
    let (file, mut fields) = require_config(files, path)?;
    let mut modes = Vec::new();
    for (flag, mode) in FLAGS {
        if fields.flag(flag)? == Some(true) {
            modes.push(mode.to_owned());
        }
    }
    // The newer form; it counts where both stand.
    let named = fields.take(
        "pooling_mode",
        "a way of pooling or a list of them",
        |value| match value {
            Value::String(mode) => Some(vec![mode.clone()]),
            Value::Array(modes) => modes
                .iter()
                .map(|mode| Some(mode.as_str()?.to_owned()))
                .collect(),
            _ => None,
        },
    )?;
    let modes = named.unwrap_or(modes);
    let pooling = match &modes[..] {
        [] => Pooling::Mean,
        [mode] => named_pooling(mode)
            .ok_or_else(|| fields.refuse("pooling_mode", format!("`{mode}` is not supported")))?,
        _ => {
            return Err(fields.refuse(
                "pooling_mode",
                format!("{} at once is not supported", modes.join(" and ")),
            ));
        }
    };
    let include_prompt = fields.flag("include_prompt")?.unwrap_or(true);
    let mut dims = None;
    for field in ["word_embedding_dimension", "embedding_dimension"] {
        dims = fields.size(field)?.map(|size| (size, field)).or(dims);
    }
    modules.read(&file, fields);
    Ok(PoolingModule {
        pooling,
        include_prompt,
        file,
        dims,
    })
}

fn named_pooling(mode: &str) -> Option<Pooling> {
    let mut all = Pooling::ALL.into_iter();
    all.find(|pooling| pooling.name() == mode)
}

fn dense(files: &ModelFiles, path: String, modules: &mut Modules) -> Result<DenseLayer, LoadError> {
    let (file, mut fields) = require_config(files, &path)?;
    let missing = |fields: &Fields, field| fields.refuse(field, "is missing");
    let inputs = fields
        .size("in_features")?
        .ok_or_else(|| missing(&fields, "in_features"))?;
    let outputs = fields
        .size("out_features")?
        .ok_or_else(|| missing(&fields, "out_features"))?;
    let bias = fields.flag("bias")?.unwrap_or(true);
    let act = fields
        .text("activation_function")?
        .unwrap_or_else(|| "Tanh".to_owned());
    let act = match act.rsplit('.').next() {
        Some("Identity") => None,
        Some("Tanh") => Some(Act::Tanh),
        Some("ReLU") => Some(Act::Relu),
        Some("GELU") => Some(Act::Gelu),
        Some("SiLU") => Some(Act::Silu),
        Some("Sigmoid") => Some(Act::Sigmoid),
        _ => return Err(fields.refuse("activation_function", format!("`{act}` is not supported"))),
    };
    if fields.flag("use_residual")? == Some(true) {
        return Err(fields.refuse("use_residual", "a layer beside itself is not supported"));
    }
    of_sentences(&mut fields)?;
    modules.read(&file, fields);
    let path = format!("{path}{LINEAR}");
    Ok(DenseLayer {
        path,
        inputs,
        outputs,
        bias,
        act,
    })
}

/// A module's configuration that says nothing but what it reads and writes.
fn sentence_embedding(
    files: &ModelFiles,
    path: &str,
    modules: &mut Modules,
) -> Result<(), LoadError> {
    if path.is_empty() {
        return Ok(());
    }
    if let Some((file, mut fields)) = config_of(files, path)? {
        of_sentences(&mut fields)?;
        modules.read(&file, fields);
    }
    Ok(())
}

/// Refuses a module that reads or writes anything but the vector of the text.
fn of_sentences(fields: &mut Fields) -> Result<(), LoadError> {
    for field in ["module_input_name", "module_output_name"] {
        if let Some(name) = fields
            .text(field)?
            .filter(|name| name != "sentence_embedding")
        {
            return Err(fields.refuse(
                field,
                format!("`{name}` is not supported, `sentence_embedding` is"),
            ));
        }
    }
    Ok(())
}
