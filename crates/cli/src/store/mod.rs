//! The models that are here: `lattice ls`, `rm`, `verify`.

pub(crate) mod ls;
pub(crate) mod rm;
pub(crate) mod verify;

pub(crate) use ls::LsArgs;
pub(crate) use rm::RmArgs;
pub(crate) use verify::VerifyArgs;
