//! The flags of `lattice pull`, and what the environment says about the hub.

use clap::Args;
use lattice_hub::{HubError, HubOptions, ModelName, Proxy, Token};

use crate::args::{variable, within};
use crate::source::StoreArgs;

/// `lattice pull`
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A short name (lattice ls --all lists them), org/name, or org/name@revision
    pub(crate) model: String,
    /// The branch, tag or commit to get [default: main]
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,
    /// Which weight files, where a model comes in several; * stands for any text; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) file: Vec<String>,
    /// Use no network: say whether the model is here [also: HF_HUB_OFFLINE=1]
    #[arg(long)]
    pub(crate) offline: bool,
    /// Opens private models; other users of the machine can see it here, the environment is better [default: $HF_TOKEN]
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The hub, or a mirror of it [default: $HF_ENDPOINT, else huggingface.co]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Get it although the disk seems too small, or another program's cache has it
    #[arg(long)]
    pub(crate) force: bool,
    /// Files fetched at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = within::<1, 16>)]
    pub(crate) at_once: usize,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

impl PullArgs {
    pub(crate) fn name(&self) -> Result<ModelName, HubError> {
        let name: ModelName = self.model.parse()?;
        match &self.revision {
            None => Ok(name),
            Some(revision) => name.at(revision),
        }
    }

    /// Whether the network may not be used.
    pub(crate) fn is_offline(&self) -> bool {
        let variable = text("HF_HUB_OFFLINE").unwrap_or_default();
        let on = ["1", "true", "yes", "on"];
        self.offline || on.iter().any(|word| variable.eq_ignore_ascii_case(word))
    }

    pub(crate) fn hub_options(&self) -> Result<HubOptions, HubError> {
        let defaults = HubOptions::default();
        let endpoint = self.endpoint.clone().or_else(|| text("HF_ENDPOINT"));
        let endpoint = endpoint.unwrap_or(defaults.endpoint);
        let token = self.token.clone().or_else(|| text("HF_TOKEN"));
        Ok(HubOptions {
            token: token.map(|token| Token::new(&token)).transpose()?,
            proxy: proxy(endpoint.starts_with("https:")),
            endpoint,
            certificates: variable("SSL_CERT_FILE").map(Into::into),
            offline: self.is_offline(),
            at_once: self.at_once,
            ..defaults
        })
    }
}

/// The proxy that the environment names for this kind of address.
fn proxy(https: bool) -> Option<Proxy> {
    // HTTP_PROXY in capitals is what a web server makes of a request's header, so it counts for nothing.
    let names: &[&str] = match https {
        true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    let url = names.iter().find_map(|name| text(name))?;
    let bypass = text("no_proxy").or_else(|| text("NO_PROXY"));
    let bypass = bypass.unwrap_or_default();
    let bypass = bypass
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    Some(Proxy {
        url,
        bypass: bypass.map(str::to_owned).collect(),
    })
}

/// A variable that is set to text.
fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}
