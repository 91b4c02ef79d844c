//! `lattice plan`: the steps of a model.

use std::io::Write as _;
use std::process::ExitCode;

use lattice_inference::Model;
use lattice_inference::plan::Weight;

use crate::args::PlanArgs;

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let files = args.model.files()?;
    let model = Model::open(&files, &args.model.source.open_options())?;
    let weight_bytes = |weight: &Weight| model.weight_bytes(weight);
    write!(std::io::stdout(), "{}", model.plan.table(weight_bytes))?;
    Ok(ExitCode::SUCCESS)
}
