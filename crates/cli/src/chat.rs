//! `lattice chat`: one answer.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use lattice_inference::Engine;
use lattice_inference::generate::Event;
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role};

use crate::args::ChatArgs;

pub(crate) fn run(args: ChatArgs) -> anyhow::Result<ExitCode> {
    let files = args.source.resolve(args.model.as_deref())?;
    let options = args.run.engine_options(&args.source, 2);
    let mut engine = Engine::open(&files, args.run.device.backend(), &options)?;
    let messages = [ChatMessage::new(
        Role::User,
        args.prompt.unwrap_or_default(),
    )];
    let mut request = engine.chat(&messages, &ChatOptions::default())?.request;
    request.sampler.temperature = args
        .sampler
        .temperature
        .unwrap_or(request.sampler.temperature);
    request.max_tokens = args.sampler.max_tokens;
    let mut out = std::io::stdout().lock();
    let answer = engine.generator.generate(request, |event| {
        if let Event::Token { text, .. } = event {
            let _ = write!(out, "{text}");
            let _ = out.flush();
        }
        ControlFlow::Continue(())
    })?;
    writeln!(out, "\n{:?}", answer.usage)?;
    Ok(ExitCode::SUCCESS)
}
